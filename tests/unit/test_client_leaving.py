"""Clients that leave an invocation that is suspended: what they send, and when they ask again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import tenacity

from adapter import Client, TerminalError, UnexpectedResponseError
from adapter.client import flows
from adapter.client.requests import Ask
from adapter.client.responses import Answer
from adapter.engine.ids import workflow_id
from tests.unit.test_client import ACCEPTED, Counter, Greeter, Server, SignUp, refused
from tests.unit.test_client_sync import sync_client

Use = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.client.retrying.BACKOFF", tenacity.wait_fixed(0.001))
    monkeypatch.setattr("adapter.leaving.FIRST_PAUSE", 0.001)


def left(**headers: str) -> httpx.Response:
    """The response of a server that does not wait."""
    content = {"invocationId": "inv_x", "status": "Accepted"}
    return httpx.Response(202, json=content, headers={"x-restate-id": "inv_x", **headers})


def result() -> httpx.Response:
    return httpx.Response(200, content=b"3")


@pytest.fixture(params=["Client", "SyncClient"])
def use(request: pytest.FixtureRequest) -> Use:
    """Return a function that makes a call with a client and returns its result."""

    async def with_client(server: Server, make: Callable[[Any], Any], **options: Any) -> Any:
        async with server.client(**options) as client:
            return await make(client)

    def in_thread(server: Server, make: Callable[[Any], Any], options: dict[str, Any]) -> Any:
        with sync_client(server, **options) as client:
            return client.result(make(client))

    async def with_sync_client(server: Server, make: Callable[[Any], Any], **options: Any) -> Any:
        return await asyncio.to_thread(in_thread, server, make, options)

    return with_client if request.param == "Client" else with_sync_client


def add(client: Any) -> Any:
    return client.object_client(Counter, "Mary").add(1)


async def test_who_waits_for_a_result_leaves() -> None:
    server = Server(result())
    async with server.client() as client:
        await add(client)
        await client.attach("inv_x", int)
        await client.generic_call(service="Counter", method="run", key="Mary", parameter=1)
    assert {request.headers.get("prefer") for request in server.requests} == {"respond-suspended"}


async def test_who_waits_for_nothing_does_not() -> None:
    server = Server(ACCEPTED)
    async with server.client() as client:
        client.object_send_client(Counter, "Mary").add(1)
        await client.flush()
        await client.output("inv_x")
        await client.cancel("inv_x")
        await client.send_signal("inv_x", "go")
    assert len(server.requests) == 4
    assert {request.headers.get("prefer") for request in server.requests} == {None}


async def test_what_was_left_is_asked_for(use: Use, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(left(), left(), left(), result())
    assert await use(server, add) == 3
    assert server.paths == ["/base/path/Counter/Mary/add"] + ["/base/path/restate/invocation/inv_x/attach"] * 3
    assert [request.method for request in server.requests] == ["POST", "GET", "GET", "GET"]
    assert {request.headers["prefer"] for request in server.requests} == {"respond-suspended"}
    assert "idempotency-key" not in server.requests[1].headers
    assert caplog.messages == []


async def test_a_message_is_awaited_so_as_well(use: Use) -> None:
    server = Server(left(), left(), result())
    assert await use(server, lambda client: client.object_send_client(Counter, "Mary").add(1)) == 3
    assert [request.headers.get("prefer") for request in server.requests] == [None] + ["respond-suspended"] * 2


async def test_an_invocation_is_attached_to_so_as_well(use: Use) -> None:
    server = Server(left(), result())
    assert await use(server, lambda client: client.attach("inv_x", int)) == 3
    assert server.paths == ["/base/path/restate/invocation/inv_x/attach"] * 2


async def test_the_server_says_when_to_ask(use: Use) -> None:
    server = Server(left(**{"retry-after": "1"}), result())
    began = time.monotonic()
    assert await use(server, add) == 3
    assert time.monotonic() - began >= 1


def pauses(*answers: httpx.Response) -> list[float]:
    """Return how long a call pauses before each request after the first one."""
    flow = flows.calling(Ask("POST", "Counter/Mary/add", "inv_x"), own_key=True)
    next(flow)
    return [flow.send(Answer(answer, False)).after for answer in answers]


def test_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.leaving.FIRST_PAUSE", 0.1)
    assert pauses(*[left()] * 7) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert pauses(*(left(**{"retry-after": text}) for text in ("1", "29", "31", "99999999"))) == [1, 29, 30, 30]
    assert pauses(left(**{"retry-after": "soon"})) == [0.1]


async def test_a_workflow_that_an_earlier_try_started_is_left_as_well(use: Use) -> None:
    server = Server(
        httpx.ReadTimeout("lost"), refused(409, "ran already"), left(), httpx.Response(200, content=b"true")
    )
    assert await use(server, lambda client: client.workflow_client(SignUp, "Mary").run("x")) is True
    assert server.paths[2] == f"/base/path/restate/invocation/{workflow_id('SignUp', 'Mary')}/attach"
    assert server.paths[3] == "/base/path/restate/invocation/inv_x/attach"


async def test_lost_answers_meanwhile(use: Use, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(left(), httpx.ReadTimeout("lost"), httpx.Response(502), left(), refused(504, "continues"), result())
    assert await use(server, add) == 3
    assert len(caplog.messages) == 2  # for each request that was lost, once


@pytest.mark.parametrize("code", [404, 410, 500])
async def test_errors_meanwhile(use: Use, code: int) -> None:
    with pytest.raises(TerminalError, match="declined") as caught:
        await use(Server(left(), refused(code, "declined", "invocation")), add)
    assert caught.value.code == code


@pytest.mark.parametrize("response", [httpx.Response(202, text="queued"), httpx.Response(202, json={"job": 7})])
async def test_a_foreign_202_is_no_result(response: httpx.Response) -> None:
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(lambda request: response)) as http,
        Client("https://example.com", http=http) as client,
    ):
        with pytest.raises(UnexpectedResponseError):
            await add(client)


async def test_the_timeout_is_of_all_requests_together(use: Use, later: Callable[[float], None]) -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        later(900)
        return left()

    server = Server(slow)
    with pytest.raises(TimeoutError, match=r"no result in 3600 s; inv_x continues"):
        await use(server, add, timeout=3600)
    assert len(server.requests) == 4


async def test_no_pause_is_longer_than_what_is_left(use: Use) -> None:
    server = Server(left(**{"retry-after": "3600"}))
    with pytest.raises(TimeoutError, match=r"no result in 0\.3 s; inv_x continues"):
        await use(server, add, timeout=0.3)
    assert len(server.requests) == 1


def test_leaving_the_block_ends_a_pause() -> None:
    asked = threading.Event()

    def respond(request: httpx.Request) -> httpx.Response:
        asked.set()
        return left(**{"retry-after": "3600"})

    with sync_client(respond) as client:
        call = client.service_client(Greeter).greet("x")
        asked.wait(60)
    with pytest.raises(TimeoutError, match="the client was closed; inv_x continues"):
        client.result(call, timeout=60)
