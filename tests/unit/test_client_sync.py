"""The client for code without an event loop: what is its own. It shares the rest with `Client` (test_client.py)."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import tenacity

from adapter import Ready, SyncClient, TerminalError, UnexpectedResponseError, Unready
from adapter.engine.ids import workflow_id
from tests.unit.test_client import URL, Counter, Greeter, Server, SignUp, refused


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.client.retrying.BACKOFF", tenacity.wait_fixed(0.001))


def accepted() -> httpx.Response:
    content = {"invocationId": "inv_x", "status": "Accepted"}
    return httpx.Response(202, json=content, headers={"x-restate-id": "inv_x"})


def sync_client(server: Any, **options: Any) -> SyncClient:
    return SyncClient(URL, http=httpx.Client(transport=httpx.MockTransport(server)), **options)


def test_calls() -> None:
    server = Server(httpx.Response(200, content=b"3"))
    with sync_client(server) as client:
        call = client.object_client(Counter, "a?b").add(1, idempotency_key="x", headers={"Trace": "1"})
        assert client.result(call) == client.result(call, timeout=1) == 3
        assert call.done
    assert server.paths == ["/base/path/Counter/add?key=a%3Fb"]
    assert {"idempotency-key": "x", "trace": "1"}.items() <= server.requests[0].headers.items()


def test_calls_are_under_way_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def respond(request: httpx.Request) -> httpx.Response:
        together.wait(60)  # none is answered before all have come
        return httpx.Response(200, content=request.content, headers={"x-restate-id": "inv_x"})

    with sync_client(respond) as client:
        calls = [client.object_client(Counter, "Mary").add(n) for n in range(3)]
        assert [client.result(call) for call in calls] == [0, 1, 2]


def test_what_was_lost_is_repeated_and_a_terminal_error_is_not() -> None:
    server = Server(httpx.ReadTimeout("lost"), httpx.Response(502), refused(500, "declined", "invocation"))
    with sync_client(server) as client:
        call = client.service_client(Greeter).greet("x")
        for _ in range(2):
            with pytest.raises(TerminalError, match="declined") as caught:
                client.result(call)
            assert caught.value.code == 500
    assert len(server.requests) == 3
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


def test_a_workflow_that_an_earlier_try_started_is_attached_to() -> None:
    server = Server(httpx.ReadTimeout("lost"), refused(409, "ran already"), httpx.Response(200, content=b"true"))
    with sync_client(server) as client:
        assert client.result(client.workflow_client(SignUp, "Mary").run("x")) is True
    assert server.paths[2] == f"/base/path/restate/invocation/{workflow_id('SignUp', 'Mary')}/attach"


def test_repeating_ends() -> None:
    with (
        sync_client(Server(httpx.ConnectError("refused")), timeout=0.5) as client,
        pytest.raises(TimeoutError, match=r"no answer in 0\.5 s, last ConnectError refused"),
    ):
        client.result(client.service_client(Greeter).greet("x"))


def test_leaving_the_block_waits_until_all_is_stored() -> None:
    stored: list[str] = []
    left = threading.Event()

    def respond(request: httpx.Request) -> httpx.Response:
        left.wait(60)
        time.sleep(0.01)
        stored.append(request.url.path)
        return accepted()

    with sync_client(respond) as client:
        sent = [client.object_send_client(Counter, "Mary").add(n) for n in range(3)]
        assert not any(each.done for each in sent)
        left.set()
    assert len(stored) == 3


def test_a_send_that_is_refused_is_raised_by_flush_once() -> None:
    with sync_client(Server(refused(404, "unknown service"))) as client:
        sent = client.object_send_client(Counter, "Mary").add(1)
        with pytest.raises(TerminalError, match="unknown service"):
            client.flush()
        client.flush()
        with pytest.raises(TerminalError, match="unknown service"):
            client.result(sent)
    with (
        pytest.raises(UnexpectedResponseError),
        sync_client(Server(httpx.Response(404, text="<html>"))) as client,
    ):
        client.object_send_client(Counter, "Mary").add(1)


def test_the_result_of_what_was_sent() -> None:
    server = Server(accepted(), refused(504, "still running"), httpx.Response(200, content=b"3"))
    with sync_client(server) as client:
        sent = client.object_send_client(Counter, "Mary").add(1)
        assert client.result(sent) == client.result(sent) == 3
        assert sent.id == "inv_x"
    assert server.paths[1:] == ["/base/path/restate/invocation/inv_x/attach"] * 2


def test_results_awakeables_signals_and_cancellation() -> None:
    server = Server(
        refused(470, "not ready"), refused(404, "there is no invocation"), httpx.Response(200, content=b"3"),
        httpx.Response(202), httpx.Response(202), refused(409, "completed before"),
        httpx.Response(202, json={"invocationId": "inv_x", "status": "accepted"}),
    )  # fmt: skip
    with sync_client(server) as client:
        asked = [client.result(client.output("inv_x", int)) for _ in range(3)]
        assert asked == [Unready.NOT_READY, Unready.NOT_FOUND, Ready(3)]
        assert client.result(client.send_signal("inv_x", "go", 1)) is True
        assert client.result(client.resolve_awakeable("awk_x", 1)) is True
        assert client.result(client.resolve_awakeable("awk_x", 1)) is False
        assert client.result(client.cancel("inv_x")) is True


def test_giving_up_waiting_does_not_give_up_the_call() -> None:
    release = threading.Event()

    def respond(request: httpx.Request) -> httpx.Response:
        release.wait(60)
        return httpx.Response(200, content=b"3", headers={"x-restate-id": "inv_x"})

    with sync_client(respond) as client:
        call = client.object_client(Counter, "Mary").add(1)
        with pytest.raises(TimeoutError):
            client.result(call, timeout=0.01)
        release.set()
        assert client.result(call) == 3


def test_leaving_gives_up_what_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.client.retrying.BACKOFF", tenacity.wait_fixed(60))
    asked = threading.Event()

    def respond(request: httpx.Request) -> httpx.Response:
        asked.set()
        return httpx.Response(502)

    with sync_client(respond) as client:
        call = client.object_client(Counter, "Mary").add(1)
        asked.wait(60)
    with pytest.raises(TimeoutError, match="last 502 Bad Gateway"):
        client.result(call, timeout=60)


def test_its_calls_are_not_awaited() -> None:
    async def main(client: SyncClient) -> None:
        with pytest.raises(TypeError, match=re.escape("use client.result(call), or Client in async code")):
            await client.object_client(Counter, "Mary").add(1)

    with sync_client(Server(httpx.Response(200, content=b"3"))) as client:
        asyncio.run(main(client))
        for other in (3, None, object()):
            with pytest.raises(TypeError, match="takes what a SyncClient's methods return"):
                client.result(other)  # type: ignore[arg-type]


@pytest.fixture
def threads() -> Iterator[set[threading.Thread]]:
    before = set(threading.enumerate())
    yield before
    deadline = time.monotonic() + 60
    while left := {each for each in threading.enumerate() if each not in before}:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_it_leaves_no_thread_behind(threads: set[threading.Thread]) -> None:
    with sync_client(Server(httpx.Response(200, content=b"3"))) as client:
        for _ in range(5):
            client.result(client.object_client(Counter, "Mary").add(1))
        assert set(threading.enumerate()) - threads
