"""Signed requests, against a signature made by the book: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from botocore.exceptions import NoCredentialsError

from adapter import Client, Context, Service, SigV4, SyncClient, handler

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

API = "https://id.execute-api.eu-central-1.amazonaws.com"


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return name


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def check_signature(request: httpx.Request, region: str, service: str) -> None:
    """Compare a request's signature with one computed here."""
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\S+?)/(\d{8})/(\S+?)/(\S+?)/aws4_request, SignedHeaders=(\S+), Signature=(\S+)",
        request.headers["authorization"],
    )
    assert match is not None
    key_id, date, *scope, names, signature = match.groups()
    assert (key_id, scope) == (KEY_ID, [region, service])
    path, _, query = request.url.raw_path.decode().partition("?")
    canonical = "\n".join([
        request.method,
        quote(path, safe="/~"),
        "&".join(sorted(query.split("&"))),
        *(f"{name}:{request.headers[name]}" for name in names.split(";")),
        "",
        names,
        hashlib.sha256(request.content).hexdigest(),
    ])  # fmt: skip
    time = request.headers["x-amz-date"]
    assert time.startswith(date)
    scoped = f"{date}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", time, scoped, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.new(key, text.encode(), "sha256").hexdigest() == signature
    assert {"host", "x-amz-date"} <= set(names.split(";"))


def answering(requests: list[httpx.Request]) -> Callable[[httpx.Request], httpx.Response]:
    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            return httpx.Response(502)  # the repeated one is signed as well
        return httpx.Response(200, content=request.content, headers={"x-restate-id": "inv_x"})

    return respond


@pytest.mark.parametrize(
    ("url", "options", "region", "service"),
    [
        (API, {}, "eu-central-1", "execute-api"),
        ("https://id.execute-api.cn-north-1.amazonaws.com.cn/stage", {}, "cn-north-1", "execute-api"),
        ("https://id.lambda-url.us-west-2.on.aws", {}, "us-west-2", "lambda"),
        ("https://api.example.com", {"region": "ap-south-1"}, "ap-south-1", "execute-api"),
        ("http://127.0.0.1:4566", {"region": "us-east-1"}, "us-east-1", "execute-api"),
    ],
)
async def test_requests_are_signed(url: str, options: dict[str, Any], region: str, service: str) -> None:
    requests: list[httpx.Request] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answering(requests))) as http:
        client = Client(url, http=http, auth=SigV4(**options))
        call = client.generic_call(service="Cart", method="add", key="a b?", parameter="zoë", headers={"x-own": "1"})
        assert await call == "zoë"
    with httpx.Client(transport=httpx.MockTransport(answering(requests))) as sync:
        client = SyncClient(url, http=sync, auth=SigV4(**options))
        assert client.result(client.service_client(Greeter).greet("Mary")) == "Mary"
        client.close()
    assert len(requests) == 3
    for request in requests:
        check_signature(request, region, service)


async def test_a_session_token_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    requests: list[httpx.Request] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answering(requests))) as http:
        await Client("https://api.example.com", http=http, auth=SigV4()).service_client(Greeter).greet("Mary")
    for request in requests:
        assert request.headers["x-amz-security-token"] == "token"
        assert "x-amz-security-token" in request.headers["authorization"]
        check_signature(request, "eu-west-3", "execute-api")


async def test_what_is_missing_is_named_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[httpx.Request] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answering(requests))) as http:
        with pytest.raises(ValueError, match=r"no AWS region is known for api\.example\.com: give SigV4\(region=…\)"):
            await Client("https://api.example.com", http=http, auth=SigV4()).service_client(Greeter).greet("Mary")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(NoCredentialsError):
            await Client(API, http=http, auth=SigV4()).service_client(Greeter).greet("Mary")
    assert requests == []


async def test_other_authentication_is_httpxs(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[httpx.Request] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answering(requests)), auth=("own", "x")) as http:
        await Client(API, http=http).service_client(Greeter).greet("Mary")
        await Client(API, http=http, auth=("Mary", "secret")).service_client(Greeter).greet("Mary")
    assert [request.headers["authorization"] for request in requests] == [
        *[httpx.BasicAuth("own", "x")._auth_header] * 2,
        httpx.BasicAuth("Mary", "secret")._auth_header,
    ]
