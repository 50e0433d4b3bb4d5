"""What `Client` refuses to send, and responses that are not ours."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import Client, SyncClient, UnexpectedResponseError
from tests.unit.test_client import ACCEPTED, URL, Counter, Greeter, Server

XML = '<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(404, text=XML, headers={"content-type": "application/xml"}), "Check the URL"),
        (httpx.Response(200, html="<!doctype html><title>A page</title>"), "Check the URL"),
        (httpx.Response(200, json={"hello": "world"}), "Check the URL"),
        (httpx.Response(204), "Check the URL"),
        (httpx.Response(404, json={"message": "Not Found"}), "It says: Not Found"),
        (httpx.Response(400, json=["odd"]), "Check the URL"),
        (
            httpx.Response(302, headers={"location": "https://www.example.com/"}),
            "redirects to https://www.example.com/",
        ),
        (httpx.Response(403, json={"message": "Forbidden"}), "give auth=SigV4()"),
        (httpx.Response(401, text="who are you?"), "give auth=SigV4()"),
    ],
)
async def test_a_url_that_is_not_ours_has_an_error_of_its_own(answer: httpx.Response, said: str) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        client = Client("https://example.com", http=http)
        for asked in (
            client.object_client(Counter, "Mary").add(1),
            client.object_send_client(Counter, "Mary").add(1),
            client.attach("inv_x"),
            client.output("inv_x"),
            client.cancel("inv_x"),
            client.send_signal("inv_x", "go", 1),
        ):
            with pytest.raises(UnexpectedResponseError, match=re.escape(said)) as caught:
                await asked
            assert caught.value.status == answer.status_code
            assert str(caught.value).startswith(("GET https://example.com/", "POST https://example.com/"))
            assert len(str(caught.value)) < 600
        with pytest.raises(UnexpectedResponseError):
            await client.flush()


@pytest.mark.parametrize(
    "url", ["no-url", "localhost:8080", "ftp://example.com", "https://", "https://a/?b=c", "http:/a"]
)
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    for made in (Client, SyncClient):
        with pytest.raises(ValueError, match=r"^url "):
            made(url)


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0), float("nan"), "5", True, None])
def test_what_is_no_timeout_is_refused_at_once(timeout: Any) -> None:
    for made in (Client, SyncClient):
        with pytest.raises((TypeError, ValueError), match=r"^timeout is "):
            made(URL, timeout=timeout)


@pytest.mark.parametrize("duration", [3, 3.0, timedelta(seconds=3)])
async def test_timeouts_are_seconds_or_timedeltas(duration: float | timedelta) -> None:
    server = Server(httpx.Response(200, content=b"3"))
    async with server.client(timeout=duration) as client:
        assert await client.object_client(Counter, "Mary").add(1) == 3
    assert 2 < server.requests[0].extensions["timeout"]["read"] <= 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-own", "a\nb"), ("x-own", "a\r\nx-other: b"), ("x-own", "é"), ("x-own", " a"), ("x-own", "a "),
        ("x-own", "\x00"), ("x own", "a"), ("", "a"), ("x-é", "a"), ("x:own", "a"), ("Host", "a"),
        ("content-length", "1"), ("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"),
        ("Idempotency-Key", "k"),
    ],
)  # fmt: skip
async def test_a_header_that_would_not_arrive_is_refused_before_anything_is_sent(name: str, value: str) -> None:
    server = Server(ACCEPTED)
    async with server.client() as client:
        with pytest.raises(ValueError, match="header"):
            client.service_client(Greeter).greet("x", headers={name: value})
        with pytest.raises(ValueError, match="header"):
            client.service_send_client(Greeter).greet("x", headers={name: value})
    assert server.requests == []


@pytest.mark.parametrize("key", ["é", " k", "k ", "a\nb", "\x7f"])
async def test_an_idempotency_key_that_would_not_arrive_is_refused_before_anything_is_sent(key: str) -> None:
    server = Server(ACCEPTED)
    async with server.client() as client:
        with pytest.raises(ValueError, match=r"^idempotency_key cannot be sent .* urllib\.parse\.quote"):
            client.service_client(Greeter).greet("x", idempotency_key=key)
    assert server.requests == []


async def test_headers_of_any_printable_text_are_sent() -> None:
    server = Server(httpx.Response(200, content=b'"x"'))
    value = "".join(map(chr, range(0x21, 0x7F))) + " ~"
    async with server.client() as client:
        await client.service_client(Greeter).greet("x", headers={"X-Own": value, "empty": ""}, idempotency_key=value)
    sent = server.requests[0].headers
    assert (sent["x-own"], sent["empty"], sent["idempotency-key"]) == (value, "", value)
