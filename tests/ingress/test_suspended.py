"""`Prefer: respond-suspended`: a client leaves an invocation that is suspended, and asks for its result later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import pytest

from adapter import (
    Client,
    Context,
    ObjectContext,
    RetryPolicy,
    Service,
    SyncClient,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    gather,
    handler,
)
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.ports import Unavailable
from adapter.engine.records import Unreadable
from adapter.engine.types import Target
from tests.ingress.conftest import Greeter, SignUp, Stack, error
from tests.ingress.waiting import Box, Rite, Slow

T = TypeVar("T")

LEAVES = {"prefer": "respond-suspended"}

HOUR = 3600


class MovedClock:
    """The machine's clock, plus what it was moved by."""

    def __init__(self) -> None:
        self._moved = 0
        self._moves = asyncio.Event()

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self._moved

    async def sleep(self, seconds: float) -> None:
        end = self.now() + seconds * 1000
        while (left := end - self.now()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moves.wait(), left / 1000)

    def move(self) -> None:
        """Let it be an hour later."""
        self._moved += HOUR * 1000
        moves, self._moves = self._moves, asyncio.Event()
        moves.set()


async def nap(ctx: Context, name: str) -> str:
    await ctx.sleep(timedelta(seconds=HOUR))
    if name == "nobody":
        raise TerminalError("nobody is gone", code=410)
    return name


class Naps(Service):
    begun = 0

    @handler
    async def sleep(self, ctx: Context, name: str) -> str:
        return await nap(ctx, name)

    @handler
    async def ask(self, ctx: Context, name: str) -> str:
        return await ctx.service_client(Naps).sleep(name)

    @handler
    async def ask_twice(self, ctx: Context, name: str) -> str:
        return await ctx.service_client(Naps).ask(name)

    @handler
    async def ask_for_long(self, ctx: Context, name: str) -> str:
        async with asyncio.timeout(2 * HOUR):
            return await ctx.service_client(Naps).sleep(name)

    @handler
    async def ask_both(self, ctx: Context, name: str) -> str:
        naps = ctx.service_client(Naps)
        return (await gather(naps.sleep(name), naps.sleep(name)))[0]

    @handler(journal_retention=timedelta(0), idempotency_retention=timedelta(0))
    async def forget(self, ctx: Context, name: str) -> str:
        return await nap(ctx, name)

    @handler
    async def compute(self, ctx: Context, name: str) -> str:
        await asyncio.sleep(0.5)
        return name

    @handler(retry=RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1)))
    async def stumble(self, ctx: Context, name: str) -> None:
        raise ValueError("out of luck")

    @handler
    async def fetch(self, ctx: Context, name: str) -> None:
        policy = RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1))
        await ctx.run("fetch", _fails, retry=policy)


async def _fails() -> None:
    raise ValueError("out of luck")


class Bed(VirtualObject):
    @handler
    async def sleep(self, ctx: ObjectContext, name: str) -> str:
        return await nap(ctx, name)


class Night(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, name: str) -> str:
        return await nap(ctx, name)


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    monkeypatch.setattr("adapter.leaving.LONGEST_PAUSE", 0.05)
    stack = Stack(Naps, Bed, Night, Slow, Box, Rite, Greeter, SignUp, clock=MovedClock())
    stack.patience = 10**9
    yield stack
    await stack.close()


def pending(response: httpx.Response, status: str = "Accepted") -> str:
    """Check the response of a client that leaves. Return the invocation's id."""
    id = response.headers["x-restate-id"]
    assert (response.status_code, response.json()) == (202, {"invocationId": id, "status": status})
    assert response.headers["preference-applied"] == "respond-suspended"
    return id


def move(stack: Stack) -> None:
    """Let it be an hour later."""
    assert isinstance(stack.clock, MovedClock)
    stack.clock.move()


async def moved(stack: Stack, asking: Awaitable[T]) -> T:
    """Return what an answer is, while hours pass."""
    task = asyncio.ensure_future(asking)
    while not task.done():
        move(stack)
        await asyncio.wait({task}, timeout=0.05)
    return task.result()


async def attached(stack: Stack, id: str) -> httpx.Response:
    """Ask for a result until it is there, while hours pass."""
    return await moved(stack, _attached(stack, id))


async def _attached(stack: Stack, id: str) -> httpx.Response:
    while True:
        response = await stack.http.get(f"/restate/invocation/{id}/attach", headers=LEAVES)
        if response.status_code != 202:
            return response
        assert pending(response, "PreviouslyAccepted") == id
        await asyncio.sleep(0.01)


# --- calls ---


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "k"}])
async def test_a_fast_call_is_answered_with_its_result(stack: Stack, key: dict[str, str]) -> None:
    called = await stack.http.post("/Greeter/greet", json="Mary", headers=LEAVES | key)
    assert (called.status_code, called.json()) == (200, "Hello Mary")
    assert called.headers["preference-applied"] == "respond-suspended"
    assert "retry-after" not in called.headers
    assert error(await stack.http.post("/Greeter/fail", json=418, headers=LEAVES | key))[0] == 418


async def test_a_workflow_runs_once(stack: Stack) -> None:
    assert (await stack.http.post("/SignUp/a/run", json="a", headers=LEAVES)).json() == "welcome a"
    assert error(await stack.http.post("/SignUp/a/run", json="a", headers=LEAVES))[0] == 409


@pytest.mark.parametrize("path", ["/Naps/sleep", "/Bed/a/sleep", "/Night/a/run"])
async def test_a_call_that_sleeps_is_left(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="Mary", headers=LEAVES)
    assert HOUR - 60 <= int(called.headers["retry-after"]) <= HOUR
    answer = await attached(stack, pending(called))
    assert (answer.status_code, answer.json()) == (200, "Mary")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("path", ["/Naps/ask", "/Naps/ask_twice"])
async def test_a_call_that_waits_for_one_that_sleeps(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="Mary", headers=LEAVES)
    id = pending(called)
    again = await stack.http.get(f"/restate/invocation/{id}/attach", headers=LEAVES)
    assert pending(again, "PreviouslyAccepted") == id
    for response in called, again:
        assert HOUR - 60 <= int(response.headers["retry-after"]) <= HOUR
    answer = await attached(stack, id)
    assert (answer.status_code, answer.json()) == (200, "Mary")


@pytest.mark.parametrize("path", ["/Naps/ask_for_long", "/Naps/ask_both"])
async def test_nothing_says_which_of_several_ends_first(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="Mary", headers=LEAVES)
    id = pending(called)
    assert "retry-after" not in called.headers
    assert (await attached(stack, id)).json() == "Mary"


@pytest.mark.parametrize("error", [Unavailable, Unreadable])
async def test_what_is_called_cannot_be_read(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    id = pending(await stack.http.post("/Naps/ask", json="Mary", headers=LEAVES))
    find = stack.engine.storage.find

    async def own(asked: str, *, patient: bool = True) -> Any:
        if asked != id:
            raise error("down")
        return await find(asked, patient=patient)

    monkeypatch.setattr(stack.engine.storage, "find", own)
    again = await stack.http.get(f"/restate/invocation/{id}/attach", headers=LEAVES)
    assert pending(again, "PreviouslyAccepted") == id
    assert "retry-after" not in again.headers


@pytest.mark.parametrize("path", ["/Naps/sleep", "/Bed/a/sleep", "/Night/a/run"])
async def test_the_error_of_a_handler_that_was_left(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="nobody", headers=LEAVES)
    assert error(await attached(stack, pending(called))) == (410, "nobody is gone")


@pytest.mark.parametrize("path", ["/Naps/sleep", "/Bed/a/sleep"])
async def test_a_repeated_call_meets_the_invocation_that_was_left(stack: Stack, path: str) -> None:
    key = {"idempotency-key": "k"}
    id = pending(await stack.http.post(path, json="Mary", headers=LEAVES | key))
    again = await stack.http.post(path, json="Mary", headers=LEAVES | key)
    assert pending(again, "PreviouslyAccepted") == id
    assert HOUR - 60 <= int(again.headers["retry-after"]) <= HOUR


async def test_a_workflow_that_was_left_is_told_of(stack: Stack) -> None:
    pending(await stack.http.post("/Night/a/run", json="Mary", headers=LEAVES))
    again = await stack.http.post("/Night/a/run", json="Mary", headers=LEAVES)
    assert error(again)[0] == 409
    assert again.headers["x-restate-id"] == workflow_id("Night", "a")


@pytest.mark.parametrize("path", ["/Slow/wait", "/Box/a/wait", "/Rite/a/run"])
async def test_nothing_says_when_a_signal_comes(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="Mary", headers=LEAVES)
    id = pending(called)
    assert "retry-after" not in called.headers
    assert (await stack.http.post(f"/restate/invocation/{id}/signals/go", json=None)).status_code == 202
    assert (await attached(stack, id)).json() == "Mary"


async def test_a_call_that_waits_for_its_key_is_left(stack: Stack) -> None:
    pending(await stack.http.post("/Bed/a/sleep", json="Mary", headers=LEAVES))
    called = await stack.http.post("/Bed/a/sleep", json="Mary", headers=LEAVES)
    pending(called)
    assert "retry-after" not in called.headers


@pytest.mark.parametrize("path", ["/Naps/stumble", "/Naps/fetch"])
async def test_a_call_that_is_tried_again_later_is_left(stack: Stack, path: str) -> None:
    called = await stack.http.post(path, json="Mary", headers=LEAVES)
    pending(called)
    assert HOUR / 2 < int(called.headers["retry-after"]) <= 2 * HOUR


async def test_a_paused_invocation_is_an_error(stack: Stack) -> None:
    called = await stack.http.post("/Greeter/stumble", headers=LEAVES)
    id = called.headers["x-restate-id"]
    if called.status_code == 202:
        called = await attached(stack, id)
    assert (called.status_code, called.json()["metadata"]["status"]) == (500, "paused")
    again = await stack.http.get(f"/restate/invocation/{id}/attach", headers=LEAVES)
    assert (again.status_code, again.json()["metadata"]["status"]) == (500, "paused")


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("respond-suspended, wait=0", "wait=0"), ("respond-async, Respond-Suspended", "respond-async")],
)
async def test_other_preferences_go_before_it(stack: Stack, prefer: str, applied: str) -> None:
    called = await stack.http.post("/Greeter/greet", json="Mary", headers={"prefer": prefer})
    assert (called.status_code, called.headers["preference-applied"]) == (202, applied)


@pytest.mark.parametrize("prefer", ["Respond-Suspended", "handling=lenient, respond-suspended;x"])
async def test_ways_to_write_it(stack: Stack, prefer: str) -> None:
    pending(await stack.http.post("/Naps/sleep", json="Mary", headers={"prefer": prefer}))


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "k"}])
async def test_a_result_that_would_be_gone_is_waited_for(stack: Stack, key: dict[str, str]) -> None:
    called = await moved(stack, stack.http.post("/Naps/forget", json="Mary", headers=LEAVES | key))
    assert (called.status_code, called.json()) == (200, "Mary")
    assert "preference-applied" not in called.headers
    id = (await stack.http.post("/Naps/forget/send", json="John", headers=key)).json()["invocationId"]
    answer = await moved(stack, stack.http.get(f"/restate/invocation/{id}/attach", headers=LEAVES))
    assert (answer.status_code, answer.json()) == (200, "John")


async def test_a_request_that_took_as_long_as_one_can(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.patience = 100
    pending(await stack.http.post("/Naps/compute", json="Mary", headers=LEAVES | {"idempotency-key": "k"}))

    async def absent(id: str, *, patient: bool = True) -> None:
        return None

    monkeypatch.setattr(stack.engine.storage, "find", absent)
    late = await stack.http.post("/Naps/compute", json="Mary", headers=LEAVES)
    assert error(late)[0] == 504  # nothing is stored yet, so there is nothing to ask for


async def test_a_store_that_does_not_say_what_became_of_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    find = stack.engine.storage.find

    async def unavailable(id: str, *, patient: bool = True) -> Any:
        raise Unavailable("down")

    monkeypatch.setattr(stack.engine.storage, "find", unavailable)
    called = await stack.http.post("/Naps/sleep", json="Mary", headers=LEAVES)
    assert error(called)[0] == 504
    monkeypatch.setattr(stack.engine.storage, "find", find)
    assert (await attached(stack, called.headers["x-restate-id"])).json() == "Mary"


# --- attaching ---


async def test_all_forms_of_attach_leave(stack: Stack) -> None:
    http = stack.http
    for path, headers in (("/Night/a/run", {}), ("/Bed/a/sleep", {"idempotency-key": "k"})):
        pending(await http.post(path, json="Mary", headers=LEAVES | headers))
    night, bed = workflow_id("Night", "a"), idempotent_id(Target("Bed", "sleep", "a"), "k")
    described = {"service": "Bed", "key": "a", "handler": "sleep", "idempotencyKey": "k"}

    def body(target: str, **parts: str) -> Callable[[], Awaitable[httpx.Response]]:
        return lambda: http.post("/restate/attach", json={"target": target, **parts}, headers=LEAVES)

    def path(path: str) -> Callable[[], Awaitable[httpx.Response]]:
        return lambda: http.get(path, headers=LEAVES)

    for id, ask in (
        (night, path(f"/restate/invocation/{night}/attach")),
        (night, path(f"/restate/attach/{night}")),
        (night, path("/restate/workflow/Night/a/attach")),
        (bed, path("/restate/invocation/Bed/a/sleep/k/attach")),
        (night, body("invocation", invocationId=night)),
        (night, body("workflow", workflowName="Night", workflowKey="a")),
        (bed, body("idempotentInvocation", **described)),
    ):
        response = await ask()
        assert pending(response, "PreviouslyAccepted") == id
        assert HOUR - 60 <= int(response.headers["retry-after"]) <= HOUR


async def test_a_delayed_message_says_when_to_ask(stack: Stack) -> None:
    sent = await stack.http.post("/Greeter/greet/send?delay=90m", json="Mary")
    response = await stack.http.get(f"/restate/invocation/{sent.json()['invocationId']}/attach", headers=LEAVES)
    pending(response, "PreviouslyAccepted")
    assert 5000 <= int(response.headers["retry-after"]) <= 5400


async def test_output_does_not_wait_anyway(stack: Stack) -> None:
    id = pending(await stack.http.post("/Naps/sleep", json="Mary", headers=LEAVES))
    output = await stack.http.get(f"/restate/invocation/{id}/output", headers=LEAVES)
    assert error(output) == (470, "not ready")


# --- our clients ---


class Recorder:
    """Passes requests on to the ingress, and remembers the responses."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.http = stack.http
        self.responses: list[httpx.Response] = []
        self.lost = 0
        """How many of the next responses are lost."""
        self.moves = True
        """Whether the time comes for what was left."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        passed = {name: value for name, value in request.headers.items() if name != "host"}
        response = await self.http.request(
            request.method, request.url.raw_path.decode(), content=await request.aread(), headers=passed
        )
        self.responses.append(response)
        if self.moves and "retry-after" in response.headers:
            move(self._stack)
        if self.lost:
            self.lost -= 1
            raise httpx.ReadTimeout("lost")
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return httpx.Response(response.status_code, content=response.content, headers=headers)

    @property
    def statuses(self) -> list[int]:
        return [response.status_code for response in self.responses]


@pytest.fixture
def recorder(stack: Stack) -> Recorder:
    return Recorder(stack)


@pytest.fixture(params=["Client", "SyncClient"])
async def use(request: pytest.FixtureRequest, recorder: Recorder) -> Any:
    """Return a function that makes a call with a client and returns its result."""
    loop = asyncio.get_running_loop()

    async def with_client(make: Callable[[Any], Any], patience: float = 60) -> Any:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(recorder)) as http,
            Client("http://test", http=http, timeout=patience) as client,
        ):
            return await make(client)

    def in_thread(make: Callable[[Any], Any], patience: float) -> Any:
        def pass_on(request: httpx.Request) -> httpx.Response:
            return asyncio.run_coroutine_threadsafe(recorder(request), loop).result()

        with (
            httpx.Client(transport=httpx.MockTransport(pass_on)) as http,
            SyncClient("http://test", http=http, timeout=patience) as client,
        ):
            return client.result(make(client))

    async def with_sync_client(make: Callable[[Any], Any], patience: float = 60) -> Any:
        return await asyncio.to_thread(in_thread, make, patience)

    return with_client if request.param == "Client" else with_sync_client


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "service": lambda client, name: client.service_client(Naps).sleep(name),
    "idempotency key": lambda client, name: client.service_client(Naps).sleep(name, idempotency_key="k"),
    "object": lambda client, name: client.object_client(Bed, "a").sleep(name),
    "workflow": lambda client, name: client.workflow_client(Night, "a").run(name),
    "generic": lambda client, name: client.generic_call(service="Naps", method="sleep", parameter=name),
    "generic workflow": lambda client, name: client.generic_call(
        service="Night", method="run", key="a", parameter=name
    ),
    "send": lambda client, name: client.object_send_client(Bed, "a").sleep(name),
}


async def test_one_request_for_a_fast_call(recorder: Recorder, use: Any) -> None:
    assert await use(lambda client: client.service_client(Greeter).greet("Mary")) == "Hello Mary"
    assert recorder.statuses == [200]
    assert recorder.responses[0].headers["preference-applied"] == "respond-suspended"


@pytest.mark.parametrize("call", CALLS)
async def test_clients_ask_again(recorder: Recorder, use: Any, call: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await use(lambda client: CALLS[call](client, "Mary")) == "Mary"
    statuses = recorder.statuses[1:] if call == "generic workflow" else recorder.statuses
    assert statuses[0] == 202
    assert statuses[-1] == 200
    assert len(statuses) <= 10
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


@pytest.mark.parametrize("call", CALLS)
async def test_clients_raise_the_error_of_what_they_left(use: Any, call: str) -> None:
    with pytest.raises(TerminalError, match="nobody is gone") as caught:
        await use(lambda client: CALLS[call](client, "nobody"))
    assert caught.value.code == 410


@pytest.mark.parametrize("call", CALLS)
async def test_lost_answers(recorder: Recorder, use: Any, call: str) -> None:
    recorder.lost = 1
    assert await use(lambda client: CALLS[call](client, "Mary")) == "Mary"


async def test_clients_give_up_in_time(recorder: Recorder, use: Any) -> None:
    recorder.moves = False
    with pytest.raises(TimeoutError, match=r"no (answer|result) in 0\.5 s.*; inv_\w+ "):
        await use(lambda client: client.service_client(Naps).sleep("Mary"), patience=0.5)
    assert set(recorder.statuses) == {202}


async def test_clients_attach(stack: Stack, use: Any) -> None:
    id = pending(await stack.http.post("/Slow/wait", json="Mary", headers=LEAVES))
    attaching = asyncio.ensure_future(use(lambda client: client.attach(id, str)))
    await asyncio.sleep(0.05)
    assert (await stack.http.post(f"/restate/invocation/{id}/signals/go", json=None)).status_code == 202
    assert await attaching == "Mary"


async def test_a_server_that_does_not_know_the_preference(stack: Stack, recorder: Recorder, use: Any) -> None:
    pass_on = recorder.http.request

    async def ignore(method: str, path: str, *, content: bytes, headers: dict[str, str]) -> httpx.Response:
        headers.pop("prefer", None)
        return await pass_on(method, path, content=content, headers=headers)

    recorder.http.request = ignore  # type: ignore[method-assign,assignment]
    assert await moved(stack, use(lambda client: client.service_client(Naps).sleep("Mary"))) == "Mary"
    assert recorder.statuses == [200]
