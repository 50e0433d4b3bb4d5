"""Calls, sends, idempotency keys: what is answered when all is well."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from adapter.engine.ids import idempotent_id
from adapter.engine.types import Target
from tests.ingress.conftest import Greeter, Stack, error


async def test_call(stack: Stack) -> None:
    response = await stack.http.post("/Greeter/greet", json="Mary")
    assert (response.status_code, response.json()) == (200, "Hello Mary")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-restate-id"].startswith("inv_")


@pytest.mark.parametrize("prefix", ["", "/restate/call"])
async def test_call_of_each_kind(stack: Stack, prefix: str) -> None:
    assert (await stack.http.post(f"{prefix}/Counter/Mary/add", json=2)).json() == 2
    assert (await stack.http.post(f"{prefix}/Counter/Mary/total")).json() == 2
    assert (await stack.http.post(f"{prefix}/SignUp/Mary/run", json="Mary")).json() == "welcome Mary"
    assert (await stack.http.post(f"{prefix}/SignUp/Mary/id")).json() == "Mary"


async def test_content_types(stack: Stack) -> None:
    nothing = await stack.http.post("/Greeter/nothing")
    assert (nothing.status_code, nothing.content) == (200, b"")
    assert "content-type" not in nothing.headers
    echo = await stack.http.post("/Greeter/echo", content=b"\xff\x00")
    assert (echo.content, echo.headers["content-type"]) == (b"\xff\x00", "application/octet-stream")
    silence = await stack.http.post("/Greeter/echo")
    assert (silence.content, silence.headers["content-type"]) == (b"", "application/octet-stream")
    table = await stack.http.post("/Greeter/table")
    assert (table.text, table.headers["content-type"]) == ("a,b", "text/csv")


async def test_headers_for_the_handler(stack: Stack) -> None:
    sent = [
        ("X-Tenant", "a"), ("x-tenant", "b"), ("TraceParent", "00-1"), ("Authorization", "Bearer t"), ("Cookie", "c=1"),
        ("X-Forwarded-For", "1.2.3.4"), ("X-Amzn-Trace-Id", "Root=1"), ("Connection", "close"), ("Host", "h"),
    ]  # fmt: skip
    assert (await stack.http.post("/Greeter/headers", headers=sent)).json() == {
        "x-tenant": "a, b",
        "traceparent": "00-1",
    }


@pytest.mark.parametrize("path", ["/Counter/Mary/add/send", "/restate/send/Counter/Mary/add"])
async def test_send(stack: Stack, path: str) -> None:
    response = await stack.http.post(path, json=3)
    assert response.status_code == 202
    id = response.headers["x-restate-id"]
    assert response.json() == {"invocationId": id, "status": "Accepted"}
    attached = await stack.http.get(f"/restate/invocation/{id}/attach")
    assert (attached.json(), attached.headers["x-restate-id"]) == (3, id)


async def test_send_with_an_idempotency_key(stack: Stack) -> None:
    Greeter.runs = 0
    answers = [await stack.http.post("/Greeter/count/send", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.json()["status"] for answer in answers] == ["Accepted", "PreviouslyAccepted"]
    assert answers[0].headers["x-restate-id"] == answers[1].headers["x-restate-id"]
    call = await stack.http.post("/Greeter/count", headers={"Idempotency-Key": "k"})
    assert call.json() == 1


async def test_delayed_send(stack: Stack) -> None:
    later = (await stack.http.post("/Greeter/greet/send?delay=1h", json="Mary")).json()["invocationId"]
    assert (await stack.http.get(f"/restate/invocation/{later}/output")).status_code == 470
    began = stack.clock.now()
    id = (await stack.http.post("/Greeter/greet/send?delay=PT0.2S", json="Mary")).json()["invocationId"]
    assert (await stack.http.get(f"/restate/invocation/{id}/attach")).json() == "Hello Mary"
    assert stack.clock.now() - began >= 200


async def test_delayed_send_to_a_workflow(stack: Stack) -> None:
    await stack.http.post("/SignUp/Mary/run/send?delay=1ms", json="Mary")
    assert (await stack.http.get("/restate/workflow/SignUp/Mary/attach")).json() == "welcome Mary"


async def test_a_terminal_error_has_its_own_code(stack: Stack) -> None:
    response = await stack.http.post("/Greeter/fail", json=418)
    assert error(response) == (418, "as you wish")
    assert "x-restate-id" in response.headers


async def test_an_error_names_its_source(stack: Stack) -> None:
    failed = await stack.http.post("/Greeter/fail", json=404)
    attached = await stack.http.get(f"/restate/invocation/{failed.headers['x-restate-id']}/attach")
    unknown = await stack.http.post("/Greeter/grumble")
    patience, stack.patience = stack.patience, 20
    late = await stack.http.post("/Greeter/wait", json=3600)
    stack.patience = patience
    for response, status, source in (
        (failed, 404, "invocation"),
        (attached, 404, "invocation"),
        (unknown, 404, "ingress"),
        (late, 504, "ingress"),
    ):
        assert response.status_code == status
        assert response.headers["x-restate-error-source"] == response.json()["source"] == source
    assert "x-restate-error-source" not in (await stack.http.post("/Greeter/count")).headers


async def test_attach_and_output(stack: Stack) -> None:
    keyed = {"idempotency-key": "a/b"}
    await stack.http.post("/Greeter/greet", json="Mary", headers=keyed)
    await stack.http.post("/Counter/Mary/add", json=4, headers=keyed)
    await stack.http.post("/SignUp/Mary/run", json="Mary")
    for what in ("attach", "output"):
        for path, value in {
            "invocation/Greeter/greet/a%2Fb": "Hello Mary",
            "invocation/Greeter/greet/a/b": "Hello Mary",
            "invocation/Counter/Mary/add/a%2Fb": 4,
            "workflow/SignUp/Mary": "welcome Mary",
        }.items():
            assert (await stack.http.get(f"/restate/{path}/{what}")).json() == value
        assert (await stack.decoded("GET", f"/restate/invocation/Counter/Mary/add/a/b/{what}")).json() == 4
    failed = await stack.http.post("/Greeter/fail", json=410)
    for what in ("attach", "output"):
        assert (await stack.http.get(f"/restate/invocation/{failed.headers['x-restate-id']}/{what}")).status_code == 410


async def test_health(stack: Stack) -> None:
    assert (await stack.http.get("/restate/health")).json() == {"status": "ok"}
    assert stack.store.usage.requests == 0


async def test_a_service_elsewhere(stack: Stack) -> None:
    assert (await stack.http.post("/Far/away/send", json=1)).status_code == 202
    assert (await stack.http.post("/Far/own/send")).status_code == 404
    assert (await stack.http.post("/Further/away/send")).status_code == 404


async def test_a_thousand_at_once_on_one_key(stack: Stack) -> None:
    answers = await asyncio.gather(*(stack.http.post("/Counter/busy/add", json=1) for _ in range(1000)))
    assert sorted(answer.json() for answer in answers) == list(range(1, 1001))
    assert (await stack.http.post("/Counter/busy/total")).json() == 1000


async def test_thirty_at_once_with_one_idempotency_key(stack: Stack) -> None:
    Greeter.runs = 0
    key = {"idempotency-key": "one"}
    answers = await asyncio.gather(*(stack.http.post("/Greeter/count", headers=key) for _ in range(30)))
    assert {answer.json() for answer in answers} == {1}
    assert len({answer.headers["x-restate-id"] for answer in answers}) == 1
    assert Greeter.runs == 1


@pytest.mark.parametrize(
    "key", ["a/b", "a//b", "/a", "a/", "a?b", "100%", "100%25", "%2F", "zoë 漢字", "a+b", ".", "..", "add"]
)
async def test_keys(stack: Stack, key: str) -> None:
    """Encoded on a plain server, decoded behind API Gateway: the same key, decoded once."""
    quoted = "".join(f"%{byte:02X}" for byte in key.encode())
    for prefix in ("", "/restate/call"):
        plain = await stack.http.post(
            httpx.URL("http://test").copy_with(raw_path=f"{prefix}/Counter/{quoted}/key".encode())
        )
        assert plain.json() == key
        assert (await stack.decoded("POST", f"{prefix}/Counter/{key}/key")).json() == key


@pytest.mark.parametrize("key", ["Mary", "a/b", "a?b", "100%", "%2F", "a+b & c=d", "..", "add", "send"])
async def test_keys_in_the_query(stack: Stack, key: str) -> None:
    for prefix in ("", "/restate/call"):
        assert (await stack.http.post(f"{prefix}/Counter/key", params={"key": key})).json() == key
    assert (await stack.http.post("/Mailbox/send", params={"key": key})).json() == f"send to {key}"
    for service, path, body in (
        ("Counter", "/Counter/add/send", b"1"),
        ("Counter", "/restate/send/Counter/add", b"1"),
        ("Mailbox", "/Mailbox/add/send", b""),
    ):
        query, headers = {"key": key, "delay": "1h"}, {"idempotency-key": "k"}
        sent = await stack.http.post(path, content=body, params=query, headers=headers)
        assert sent.json()["invocationId"] == idempotent_id(Target(service, "add", key), "k")


async def test_a_key_is_given_once(stack: Stack) -> None:
    for path in ("/Counter/Mary/add?key=Mary", "/Counter/add?key=a&key=b", "/restate/send/Counter/Mary/add?key=a"):
        refused = await stack.http.post(path, json=1)
        assert error(refused) == (400, "the key is given once: in the path, or as ?key=")
    assert (await stack.http.post("/Counter/add?key=", json=1)).status_code == 400
    refused = await stack.http.post("/Counter/add?key=%ff", json=1)
    assert error(refused) == (400, "the query is not UTF-8")
    # A service has no keys, and may be sent what somebody else calls so.
    assert (await stack.http.post("/Greeter/greet?key=7", json="Mary")).json() == "Hello Mary"


async def test_a_handler_called_send(stack: Stack) -> None:
    async def post(path: str) -> object:
        responses = await stack.http.post(path), await stack.decoded("POST", path)
        assert responses[0].status_code == responses[1].status_code
        return responses[0].json() if responses[0].status_code == 200 else responses[0].json()["status"]

    assert await post("/Mailbox/x/send") == "send to x"
    assert await post("/Mailbox/add/send") == "send to add"
    assert await post("/Mailbox/x/send/send") == "Accepted"
    assert await post("/Mailbox/x/add/send") == "Accepted"
    assert await post("/restate/call/Mailbox/x/add/send") == "send to x/add"
    # An encoded slash is told from a slash where the path arrives as it was sent.
    assert (await stack.http.post("/Mailbox/x%2Fadd/send")).json() == "send to x/add"
