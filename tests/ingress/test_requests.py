"""How requests may be written: methods, media types, preferences, paths, numbers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapter import Context, Serde, Service, handler
from tests.ingress.conftest import Greeter, Stack, error
from tests.ingress.waiting import Box, Rite, Slow

# --- methods and paths ---


async def test_get_calls_a_handler_without_input(stack: Stack) -> None:
    Greeter.runs = 0
    for path in ("/Greeter/count", "/restate/call/Greeter/count"):
        assert (await stack.http.get(path)).status_code == 200
    assert Greeter.runs == 2
    assert (await stack.http.get("/Counter/Mary/total")).json() == 0
    key = {"idempotency-key": "k"}
    assert {(await stack.http.get("/Greeter/count", headers=key)).json() for _ in range(2)} == {3}


@pytest.mark.parametrize("path", ["/Greeter/greet", "/Greeter/count/send", "/restate/send/Greeter/count", "/Far/away"])
async def test_get_does_nothing_else(stack: Stack, path: str) -> None:
    response = await stack.http.get(path)
    assert error(response) == (405, "GET is not allowed here: use POST")
    assert response.headers["allow"] == "POST"
    assert stack.stored == 0


async def test_other_methods_are_told_of_get(stack: Stack) -> None:
    response = await stack.http.put("/Greeter/count")
    assert error(response) == (405, "PUT is not allowed here: use POST, GET")
    assert response.headers["allow"] == "POST, GET"


async def test_a_slash_at_the_end_of_a_path_changes_nothing(stack: Stack) -> None:
    for decoded in (False, True):

        async def post(path: str, body: bytes = b"", decoded: bool = decoded) -> Any:
            sent = await (stack.decoded("POST", path, body=body) if decoded else stack.http.post(path, content=body))
            assert sent.is_success, sent.text
            return sent.json()

        assert await post("/Greeter/greet/", b'"Mary"') == "Hello Mary"
        assert await post("/Counter/Mary/key/") == "Mary"
        assert await post("/restate/call/Counter/a/b/key/") == "a/b"
        assert (await post("/Greeter/greet/send/", b'"Mary"'))["status"] == "Accepted"
    assert (await stack.http.get("/restate/health/")).status_code == 200
    assert error(await stack.http.post("/Greeter/"))[0] == 404
    assert error(await stack.http.post("/Counter//add", json=1))[0] == 400


# --- idempotency keys and delays ---


@pytest.mark.parametrize("path", ["/SignUp/Mary/run", "/SignUp/Mary/run/send", "/restate/send/SignUp/Mary/run"])
async def test_a_workflows_run_takes_no_idempotency_key(stack: Stack, path: str) -> None:
    refused = await stack.http.post(path, json="Mary", headers={"idempotency-key": "k"})
    assert error(refused) == (
        400, "SignUp.run takes no Idempotency-Key: the workflow's id makes it run once. Leave the header out"
    )  # fmt: skip
    assert stack.stored == 0
    assert (await stack.http.post("/SignUp/Mary/id", headers={"idempotency-key": "k"})).json() == "Mary"


async def test_a_delayed_send_says_when_it_is_handled(stack: Stack) -> None:
    began = stack.clock.now()

    async def execution_time(query: str, key: str) -> float | None:
        sent = await stack.http.post(f"/Greeter/count/send{query}", headers={"idempotency-key": key})
        time = sent.json().get("executionTime")
        return None if time is None else datetime.fromisoformat(time).timestamp() * 1000

    first = await execution_time("?delay=1h", "a")
    assert first is not None
    assert 0 <= first - began - timedelta(hours=1) / timedelta(milliseconds=1) < 10_000
    repeated = await execution_time("?delay=2h", "a")  # the first request's delay counts
    assert repeated is not None
    assert 0 <= repeated - first < 10_000
    assert await execution_time("", "b") is None


# --- preferences ---


@pytest.fixture
async def slow() -> AsyncIterator[Stack]:
    stack = Stack(Slow, Box, Rite)
    yield stack
    await stack.close()


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", "respond-async"),
        ("wait=0", "wait=0"),
        ("Respond-Async, wait=0", "respond-async, wait=0"),
        ('handling=lenient, wait="0"; foo', "wait=0"),
    ],
)
@pytest.mark.parametrize("path", ["/Slow/wait", "/Box/a/wait", "/Rite/a/run"])
async def test_a_client_that_prefers_so_is_answered_at_once(slow: Stack, path: str, prefer: str, applied: str) -> None:
    called = await slow.http.post(path, json="Mary", headers={"prefer": prefer})
    id = called.headers["x-restate-id"]
    assert (called.status_code, called.json()) == (202, {"invocationId": id, "status": "Accepted"})
    assert called.headers["preference-applied"] == applied
    assert await slow.engine.storage.find(id) is not None
    attached = await slow.http.get(f"/restate/invocation/{id}/attach", headers={"prefer": prefer})
    assert (attached.status_code, attached.json()) == (202, {"invocationId": id, "status": "PreviouslyAccepted"})
    assert (await slow.http.post(f"/restate/invocation/{id}/signals/go", json=None)).status_code == 202
    assert (await slow.http.get(f"/restate/invocation/{id}/attach")).json() == "Mary"


async def test_a_client_may_wait_for_a_while_and_then_get_the_id(slow: Stack) -> None:
    began = slow.clock.now()
    called = await slow.http.post("/Slow/wait", json="Mary", headers={"prefer": "wait=1"})
    assert (called.status_code, called.headers["preference-applied"]) == (202, "wait=1")
    assert 1000 <= slow.clock.now() - began < slow.patience
    slow.patience = 20  # the request's limit comes first
    called = await slow.http.post("/Slow/wait", json="Mary", headers={"prefer": "wait=60"})
    assert called.status_code == 202


async def test_a_result_in_time_is_the_answer(stack: Stack) -> None:
    for _ in range(2):
        called = await stack.http.post(
            "/Greeter/greet", json="Mary", headers={"prefer": "wait=60", "idempotency-key": "k"}
        )
        assert (called.status_code, called.json()) == (200, "Hello Mary")
        assert called.headers["preference-applied"] == "wait=60"
    assert error(await stack.http.post("/Greeter/fail", json=418, headers={"prefer": "wait=60"}))[0] == 418
    assert (await stack.http.post("/SignUp/a/run", json="a", headers={"prefer": "wait=60"})).json() == "welcome a"
    assert error(await stack.http.post("/SignUp/a/run", json="a", headers={"prefer": "wait=60"}))[0] == 409


@pytest.mark.parametrize(
    "prefer",
    [
        "",
        "wait",
        "wait=soon",
        "wait=-1",
        "wait=1.5",
        "return=minimal",
        ", ,=;",
        'x="a, wait=0, \\", wait=0"',
        '"wait=0',
    ],
)
async def test_other_preferences_are_ignored(stack: Stack, prefer: str) -> None:
    called = await stack.http.post("/Greeter/headers", headers={"prefer": prefer})
    assert (called.status_code, called.json()) == (200, {})
    assert "preference-applied" not in called.headers


# --- media types ---


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "TEXT/PLAIN;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
@pytest.mark.parametrize("path", ["/Greeter/greet", "/Greeter/greet/send", "/Far/away", "/restate/call/Greeter/greet"])
async def test_json_that_any_web_page_could_post_is_refused(stack: Stack, path: str, media_type: str) -> None:
    refused = await stack.http.post(path, content=b'"Mary"', headers={"content-type": media_type})
    status, message = error(refused)
    assert status == 415
    assert message.endswith(
        f"takes JSON, not {media_type.partition(';')[0].lower()}: send the header content-type: application/json"
    )
    assert stack.stored == 0


async def test_a_page_cannot_post_json_without_a_media_type(stack: Stack) -> None:
    page = {"origin": "https://evil.example"}
    assert error(await stack.http.post("/Greeter/greet", content=b'"Mary"', headers=page)) == (
        415,
        "Greeter.greet takes JSON, not a body without a media type: send the header content-type: application/json",
    )
    assert stack.stored == 0
    typed = page | {"content-type": "application/json; charset=utf-8"}
    assert (await stack.http.post("/Greeter/greet", content=b'"Mary"', headers=typed)).json() == "Hello Mary"


async def test_other_media_types_are_taken(stack: Stack) -> None:
    for headers in ({}, {"content-type": "application/vnd.greeting+json"}):
        assert (await stack.http.post("/Greeter/greet", content=b'"Mary"', headers=headers)).json() == "Hello Mary"
    text = {"content-type": "text/plain"}
    assert (await stack.http.post("/Greeter/echo", content=b"text", headers=text)).content == b"text"
    assert (await stack.http.post("/Greeter/count", headers=text)).status_code == 200


# --- numbers ---

NO_NUMBERS = ["NaN", "[Infinity]", '{"a": -Infinity}', "1e400", "-1E+400", "1" * 310 + ".0", "[1, 18e307]"]


@pytest.mark.parametrize("body", NO_NUMBERS)
@pytest.mark.parametrize("path", ["/Far/away/send", "/Greeter/any", "/Greeter/any/send", "/restate/lookup"])
async def test_what_is_no_json_is_refused(stack: Stack, path: str, body: str) -> None:
    refused = await stack.http.post(path, content=body.encode())
    assert error(refused)[0] == 400
    assert re.match(r"invalid input: (Invalid JSON: |.* is not JSON|a number is too large)", error(refused)[1])
    assert "18e307" not in error(refused)[1]
    assert stack.stored == 0


@pytest.mark.parametrize("body", ['"NaN"', '"1e400"', "1e300", "1e-400", "12E+3", "1" * 4000, '["\\"Infinity"]'])
async def test_what_only_looks_like_it_is_taken(stack: Stack, body: str) -> None:
    assert (await stack.http.post("/Greeter/any", content=body.encode())).status_code == 200


class Lines(Serde[list[str]]):
    """JSON of the handler's own kind: one value in each line."""

    content_type = "application/json"

    def serialize(self, value: list[str], /) -> bytes:
        return "\n".join(value).encode()

    def deserialize(self, data: bytes, /) -> list[str]:
        return data.decode().split("\n")


class Log(Service):
    @handler(input_serde=Lines())
    async def write(self, ctx: Context, lines: list[str]) -> int:
        return len(lines)


async def test_a_handlers_own_format_is_its_own_to_judge() -> None:
    stack = Stack(Log)
    json = {"content-type": "application/json"}
    assert (await stack.http.post("/Log/write", content=b"NaN\n1e400", headers=json)).json() == 2
    await stack.close()


async def test_values_from_outside_that_are_called_json_are_json(slow: Stack) -> None:
    id = (await slow.http.post("/Slow/wait/send", json="Mary")).json()["invocationId"]
    signal, json = f"/restate/invocation/{id}/signals/go", {"content-type": "application/json"}
    assert error(await slow.http.post(signal, content=b"NaN", headers=json))[0] == 400
    awakeable = f"/restate/awakeables/awk_{'a' * 48}1"
    assert error(await slow.http.post(f"{awakeable}/resolve", content=b"[", headers=json))[0] == 400
    assert error(await slow.http.post(f"{awakeable}/reject", content=b"[", headers=json))[0] == 404
    assert (await slow.http.post(signal, content=b"\xff")).status_code == 202
