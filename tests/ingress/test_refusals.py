"""Everything that is refused: the documented status and message, and nothing stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import httpx
import pytest

from adapter import Context, Service, handler
from adapter.engine.ports import Misconfigured, Unavailable
from adapter.engine.records import Unreadable
from adapter.engine.types import MAX_PAYLOAD
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.ingress.conftest import Stack, error
from tests.ingress.waiting import Slow

REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    # what there is not
    ("POST", "/", {}, 404, "no such path"),
    ("POST", "/Greeter", {}, 404, "no such path"),
    ("GET", "/restate/anything", {}, 404, "no such path"),
    ("POST", "/Nobody/greet", {}, 404, "there is no service 'Nobody'"),
    ("POST", "/Greeter/grumble", {}, 404, "service 'Greeter' has no handler 'grumble'; it has any, "),
    ("POST", "/Greeter/secret", {}, 404, "service 'Greeter' has no handler 'secret'; it has any, "),
    ("POST", "/Greeter/secret/send", {}, 404, "service 'Greeter' has no handler 'send'"),
    ("POST", "/Hidden/run_all", {}, 404, "there is no service 'Hidden'"),
    ("GET", "/Nobody/greet", {}, 404, "there is no service 'Nobody'"),
    # methods
    ("GET", "/Greeter/greet", {}, 405, "GET is not allowed here: use POST"),
    ("PUT", "/Counter/Mary/add", {}, 405, "PUT is not allowed here: use POST"),
    ("GET", "/Counter/Mary/add/send?delay=soon", {}, 405, "GET is not allowed here: use POST"),
    ("GET", "/Counter/Mary/add?delay=1s", {}, 405, "GET is not allowed here: use POST"),
    ("POST", "/restate/health", {}, 405, "POST is not allowed here: use GET"),
    ("POST", "/restate/workflow/SignUp/x/attach", {}, 405, "POST is not allowed here: use GET"),
    # input
    ("POST", "/Greeter/greet", {"content": b"{"}, 400, "invalid input: Invalid JSON"),
    ("POST", "/Greeter/greet", {"content": b'"\xff"'}, 400, "invalid input: Invalid JSON"),
    ("POST", "/Greeter/greet", {"json": 7}, 400, "invalid input: Input should be a valid string"),
    ("POST", "/Greeter/greet", {}, 400, "invalid input: the body is empty, and Greeter.greet needs an input"),
    ("POST", "/Greeter/count", {"json": 7}, 400, "invalid input: Greeter.count takes none"),
    (
        "POST", "/Greeter/order", {"json": [{"sku": "a", "amount": 1}, {"sku": "b", "amount": "x"}]}, 400,
        "invalid input: 1.amount: Input should be a valid integer",
    ),
    ("POST", "/Greeter/echo", {"content": bytes(MAX_PAYLOAD + 1)}, 413, f"a body has up to {MAX_PAYLOAD} bytes"),
    ("POST", "/Far/away", {"content": b"{"}, 400, "invalid input: Invalid JSON"),
    ("POST", "/Far/away/send", {"content": b'"\xff"'}, 400, "invalid input: Invalid JSON"),
    ("POST", "/Far/idle", {"json": 1}, 400, "invalid input: Far.idle takes none, and the body is not empty"),
    # keys
    ("POST", "/Counter/add", {"json": 1}, 400, "'Counter' needs a key: /Counter/KEY/add"),
    ("POST", "/Counter/add/send", {"json": 1}, 400, "'Counter' needs a key: /Counter/KEY/add"),
    ("POST", "/Counter//add", {"json": 1}, 400, "'Counter' needs a key"),
    ("POST", "/Greeter/Mary/greet", {"json": "x"}, 400, "'Greeter' is a service: it takes no key, as in /"),
    ("POST", f"/Counter/{'x' * 513}/add", {"json": 1}, 400, "a key has up to 512 bytes in UTF-8, not 513"),
    ("POST", f"/Counter/{'%C3%AB' * 257}/add", {"json": 1}, 400, "a key has up to 512 bytes in UTF-8, not 514"),
    ("POST", "/Counter/%FF/add", {"json": 1}, 400, "the path is not UTF-8"),
    # idempotency keys
    ("POST", "/Greeter/count", {"headers": {"idempotency-key": "x" * 513}}, 400, "an idempotency key has 1 to 512"),
    ("POST", "/Greeter/count", {"headers": {"idempotency-key": ""}}, 400, "an idempotency key has 1 to 512 bytes"),
    ("POST", "/Greeter/count", {"headers": [(b"idempotency-key", b"\xff")]}, 400, "Idempotency-Key is not UTF-8"),
    (
        "POST", "/Greeter/count", {"headers": [("idempotency-key", "a"), ("idempotency-key", "b")]}, 400,
        "Idempotency-Key is given once",
    ),
    ("POST", "/Greeter/count", {"headers": {"x-large": "x" * 9000}}, 431, "headers have up to 8192 bytes"),
    # delays
    *(
        ("POST", f"/Greeter/count/send?delay={delay}", {}, 400, "delay is ")
        for delay in ("-1s", "-1", "soon", "", "1x", "PT", "P1Y", "PT-1S", "1e9s", "101000w", "9" * 40 + "s")
    ),
    ("POST", "/Greeter/count/send?delay=1s&delay=2s", {}, 400, "delay is given once"),
    ("POST", "/Greeter/count?delay=1s", {}, 400, "a call has no delay"),
    # results
    ("GET", "/restate/invocation/inv_x/attach", {}, 400, "'inv_x' is not an invocation id"),
    ("GET", f"/restate/invocation/inv_{'a' * 32}/attach", {}, 404, "there is no invocation inv_"),
    ("GET", f"/restate/invocation/inv_{'a' * 32}/output", {}, 404, "there is no invocation inv_"),
    ("GET", "/restate/invocation/Greeter/count/k/output", {}, 404, "there is no invocation of Greeter/count with"),
    ("GET", "/restate/invocation/Greeter/secret/k/output", {}, 404, "service 'Greeter' has no handler 'secret'"),
    ("GET", "/restate/workflow/SignUp/x/output", {}, 404, "there is no workflow SignUp/x"),
    ("GET", "/restate/workflow/Counter/x/output", {}, 404, "'Counter' is not a workflow"),
    ("GET", "/restate/workflow/Nobody/x/output", {}, 404, "there is no service 'Nobody'"),
    ("GET", "/restate/workflow/SignUp/output", {}, 400, "'SignUp' needs a key"),
    # the store
    ("POST", "/Down/run", {}, 503, "the store is unavailable; try again"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "options", "code", "message"), REFUSED, ids=[f"{r[0]} {r[1][:60]}" for r in REFUSED]
)
async def test_refused(stack: Stack, method: str, path: str, options: dict[str, Any], code: int, message: str) -> None:
    response = await stack.http.request(method, path, **options)
    assert error(response) == (code, error(response)[1])
    assert error(response)[1].startswith(message)
    assert stack.stored == 0
    if code == 405:
        assert response.headers["allow"] in message
    assert (await stack.http.post("/Greeter/greet", json="x")).status_code == 200


async def test_an_unknown_service_is_answered_with_those_that_are_public() -> None:
    class Secret(Service):
        @handler(private=True)
        async def keep(self, ctx: Context) -> None: ...

    async with (
        running(Registry(Secret, Slow), MemoryStore()) as app,  # the server of `adapter dev`
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        for name in ("Slwo", "Secret"):
            said = error(await http.post(f"/{name}/wait", json="x"))
            assert said == (404, f"there is no service '{name}'; the public ones are Slow")


async def test_a_body_over_the_limit_without_a_length(stack: Stack) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield bytes(1024 * 1024)

    assert error(await stack.http.post("/Greeter/echo", content=body()))[0] == 413
    assert stack.stored == 0


async def test_a_workflow_that_ran_already(stack: Stack) -> None:
    first = await stack.http.post("/SignUp/Mary/run", json="Mary")
    again = await stack.http.post("/SignUp/Mary/run", json="Mary")
    id = first.headers["x-restate-id"]
    assert error(again) == (
        409, f"workflow SignUp/Mary ran already, or is running: attach with GET /restate/invocation/{id}/attach"
    )  # fmt: skip
    assert again.headers["x-restate-id"] == id
    send = await stack.http.post("/SignUp/Mary/run/send", json="Mary")
    assert (send.status_code, send.json()["status"]) == (202, "PreviouslyAccepted")


async def test_a_request_that_outlives_its_time() -> None:
    stack = Stack(Slow)
    key = {"idempotency-key": "k"}
    await stack.http.post("/Slow/wait/send", json="Mary", headers=key)  # or the time may be over before it is stored
    patience, stack.patience = stack.patience, 20
    called = await stack.http.post("/Slow/wait", json="Mary", headers=key)
    id = called.headers["x-restate-id"]
    for response in (called, await stack.http.get(f"/restate/invocation/{id}/attach")):
        assert response.headers["x-restate-id"] == id
        assert error(response) == (
            504,
            f"{id} continues, but has no result yet: attach with GET /restate/invocation/{id}/attach",
        )
    stack.patience = patience
    assert (await stack.http.post(f"/restate/invocation/{id}/signals/go", json=None)).status_code == 202
    assert (await stack.http.get(f"/restate/invocation/{id}/attach")).json() == "Mary"
    await stack.close()


async def test_a_client_of_an_invocation_that_is_paused_is_answered_at_once(stack: Stack) -> None:
    called = await asyncio.wait_for(stack.http.post("/Greeter/stumble"), 60)
    id = called.headers["x-restate-id"]
    attached = await asyncio.wait_for(stack.http.get(f"/restate/invocation/{id}/attach"), 60)
    for response in (called, attached):
        assert response.json() == {
            "message": f"{id} is paused after 3 failed attempts: ValueError: out of luck. Resume it with "
            f"`adapter invocations resume {id}`, then attach with GET /restate/invocation/{id}/attach",
            "code": 500,
            "metadata": {"status": "paused", "attempts": "3"},
            "source": "invocation",
        }
        assert response.status_code == 500


async def test_a_private_invocation_is_not_read_from_outside(stack: Stack) -> None:
    assert (await stack.http.post("/Greeter/tell")).json() == "secret"
    from adapter.engine.ids import idempotent_id
    from adapter.engine.types import Target

    id = idempotent_id(Target("Greeter", "secret"), "told")
    assert await stack.engine.storage.find(id) is not None
    for what in ("attach", "output"):
        assert error(await stack.http.get(f"/restate/invocation/{id}/{what}"))[0] == 404


async def test_a_store_that_is_unavailable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(
        phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        raise Unavailable("down")

    async def at_once(tries: int) -> None:
        if tries > 8:
            raise Unavailable("down")

    monkeypatch.setattr(stack.engine.storage, "back_off", at_once)
    stack.store.hook = down
    for method, path in (("GET", f"/restate/invocation/inv_{'a' * 32}/output"), ("POST", "/Greeter/count/send")):
        response = await stack.http.request(method, path)
        assert error(response) == (503, "the store is unavailable; try again")
        assert response.headers["retry-after"] == "1"
    stack.store.hook = None


async def test_a_function_that_may_not_use_its_tables(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what to do. The client, who may be anybody, is not told of roles and tables."""

    async def refuse(
        phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        raise Misconfigured("DynamoDB refuses this function: PutItem: AccessDeniedException: role r: allow it")

    stack.store.hook = refuse
    response = await stack.http.post("/Greeter/count/send")
    stack.store.hook = None
    assert error(response) == (500, "the function is not set up correctly: its log says what to do")
    (line,) = [record for record in caplog.records if "AccessDenied" in record.getMessage()]
    assert line.getMessage().endswith("allow it")
    assert line.exc_info is None


async def test_something_stored_that_cannot_be_read(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(
        phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        if method == "heads" and args[0][0].key == "Mary":
            raise Unreadable("item Counter/Mary/head (version 2): deploy newer code")

    stack.store.hook = broken
    for path in ("/Counter/Mary/add", "/Counter/Mary/add/send"):
        assert error(await stack.http.post(path, json=1)) == (
            500, "something stored cannot be read: item Counter/Mary/head (version 2): deploy newer code"
        )  # fmt: skip
    assert caplog.text.count("the request met item Counter/Mary/head") == 2
    assert (await stack.http.post("/Counter/Joe/add", json=1)).json() == 1
