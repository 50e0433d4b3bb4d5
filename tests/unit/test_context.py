from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from adapter import (
    Awakeable,
    Context,
    Invocation,
    ObjectContext,
    ObjectSharedContext,
    Ready,
    RetryPolicy,
    TerminalError,
    TimedOutError,
    Unready,
    WorkflowContext,
    WorkflowSharedContext,
    gather,
)
from adapter.engine import commands as c
from adapter.engine.types import Failure, Kind, Outcome, Target
from tests.unit.issuer import FakeIssuer


class Order(BaseModel):
    id: str
    amount: int = 1


@dataclass
class Point:
    x: int


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer(Kind.EXCLUSIVE, "Mary")


@pytest.fixture
def ctx(issuer: FakeIssuer) -> ObjectContext:
    return ObjectContext(issuer)


# --- steps ---


def load(id: str) -> Order:
    return Order(id=id)


async def fetch(id: str) -> Order:
    return Order(id=id)


class Loader:
    tag: str = "a class with annotations of its own"

    def __call__(self, id: str) -> Order:
        return Order(id=id)

    def load(self, id: str) -> list[Point]:
        return [Point(len(id))]

    async def fetch(self, id: str) -> Point | None:
        return None


@pytest.mark.parametrize(
    ("fn", "result"),
    [
        (load, Order(id="x")),
        (fetch, Order(id="x")),
        (Loader(), Order(id="x")),
        (Loader().load, [Point(1)]),
        (Loader().fetch, None),
        (partial(load), Order(id="x")),
        (partial(fetch), Order(id="x")),
        (lambda id: {"id": id}, {"id": "x"}),
        (str.upper, "X"),
        (len, 1),
        (str, "x"),
    ],
)
async def test_a_step_gives_what_is_read_back(ctx: Context, fn: Any, result: Any) -> None:
    assert await ctx.run("step", fn, "x") == result


async def test_a_step_is_read_back_as_type_says(ctx: Context) -> None:
    assert await ctx.run("typed", lambda: {"id": "x"}, type=Order) == Order(id="x")
    assert await ctx.run("raw", lambda: b"\xff", type=bytes) == b"\xff"
    with pytest.raises(
        TerminalError, match=r"of step 'wrong' in Test.test cannot .* is of type str and does not fit int: "
    ):
        await ctx.run("wrong", lambda: "x", type=int)


async def test_plain_functions_run_in_a_thread(ctx: Context) -> None:
    assert await ctx.run("thread", threading.get_ident) != threading.get_ident()


async def test_a_step_is_one_command_with_its_policy(issuer: FakeIssuer, ctx: Context) -> None:
    policy = RetryPolicy(attempts=2)
    ctx.run("load", load, "x", retry=policy)
    [command] = issuer.commands
    assert isinstance(command, c.Run)
    assert (command.name, command.retry) == ("load", policy)
    assert await command.closure() == b'{"id":"x","amount":1}'


async def test_errors_of_a_step_are_the_engines(ctx: Context) -> None:
    def decline() -> None:
        raise TerminalError("declined", code=402)

    with pytest.raises(TerminalError, match="declined"):
        await ctx.run("decline", decline)


async def test_what_is_no_step(issuer: FakeIssuer, ctx: Any) -> None:
    with pytest.raises(TypeError, match=r"calls the function itself: pass run\('fetch', fetch, …\)"):
        ctx.run("fetch", fetch("x"))
    for wrong in (lambda: ctx.run(load), lambda: ctx.run(load, "x")):
        with pytest.raises(TypeError, match=r"takes the step's name first: run\('load', load, …\)"):
            wrong()
    with pytest.raises(TypeError, match=r"run\('load'\) is given no function"):
        ctx.run("load")
    with pytest.raises(TypeError, match="not a value of type int"):
        ctx.run("load", 5)
    with pytest.raises(
        TypeError, match=r"run\('load', load, …\): got an unexpected keyword argument 'retries'; the step's"
    ):
        ctx.run("load", load, "x", retries=3)
    with pytest.raises(TypeError, match="retry is of type RetryPolicy, not int"):
        ctx.run("load", load, "x", retry=3)

    def unresolved() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        ...

    with pytest.raises(TypeError, match=r"unresolved cannot be resolved: name 'Missing'.*type="):
        ctx.run("unresolved", unresolved)
    assert issuer.commands == []


# --- time and chance ---


async def test_now_is_in_utc_and_exact_to_the_millisecond(ctx: Context) -> None:
    assert await ctx.now() == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert (await ctx.now()).tzinfo is UTC


async def test_sleep(issuer: FakeIssuer, ctx: Any) -> None:
    assert await ctx.sleep(timedelta(days=365)) is None
    await ctx.sleep(timedelta(microseconds=1), name="blink")
    assert issuer.commands == [c.Sleep(365 * 86_400_000), c.Sleep(1, "blink")]
    with pytest.raises(ValueError, match="duration is negative"):
        ctx.sleep(timedelta(seconds=-1))
    with pytest.raises(TypeError, match=r"duration is a timedelta, such as .*, not int"):
        ctx.sleep(5)


def test_chance_is_the_invocations() -> None:
    first, again = Context(FakeIssuer()), Context(FakeIssuer())
    assert (first.uuid(), first.random.random()) == (again.uuid(), again.random.random())
    assert first.uuid().version == 4
    assert first.uuid() != first.uuid()


def test_names_of_headers_are_in_lower_case(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.headers = {"X-Tenant": "Acme"}
    assert ctx.request.headers == {"x-tenant": "Acme"}


def test_request(ctx: ObjectContext) -> None:
    assert ctx.request.id == "inv_test"
    assert ctx.request.target == Target("Test", "test", "Mary")
    assert ctx.request.headers == {"trace": "1"}
    assert ctx.request.idempotency_key == "order 7"
    assert ctx.key == "Mary"


# --- state ---


async def test_state_comes_back_as_asked_for(ctx: ObjectContext) -> None:
    assert await ctx.get("order", Order) is None
    ctx.set("order", Order(id="x"))
    ctx.set("points", [Point(1)])
    ctx.set("raw", b"\xff")
    ctx.set("nothing", None)
    assert await ctx.get("order", Order) == Order(id="x")
    assert await ctx.get("order") == {"id": "x", "amount": 1}
    assert await ctx.get("points", list[Point]) == [Point(1)]
    assert await ctx.get("raw", bytes) == b"\xff"
    assert await ctx.get("nothing", int | None) is None
    assert await ctx.state_keys() == ["nothing", "order", "points", "raw"]
    ctx.clear("order")
    assert await ctx.get("order", Order) is None
    ctx.clear_all()
    assert await ctx.state_keys() == []


@pytest.mark.parametrize("name", ["", "x" * 513, "é" * 257])
def test_names_of_state_entries_have_limits(ctx: ObjectContext, name: str) -> None:
    for use in (ctx.get, ctx.clear, lambda name: ctx.set(name, 1)):
        with pytest.raises(ValueError, match="name has 1 to 512 bytes"):
            use(name)


def test_only_owners_of_a_key_write_state() -> None:
    writing, reading = {"set", "clear", "clear_all"}, {"key", "get", "state_keys"}
    for context in (ObjectContext, WorkflowContext):
        assert writing | reading <= set(dir(context))
    for shared in (ObjectSharedContext, WorkflowSharedContext):
        assert reading <= set(dir(shared))
        assert not writing & set(dir(shared))
    assert not (writing | reading) & set(dir(Context))


# --- other invocations ---


async def test_attach_and_cancel(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[c.Attach] = b'{"id":"x"}'
    assert await ctx.attach("inv_1", Order) == Order(id="x")
    assert await ctx.attach("inv_1") == {"id": "x"}
    issuer.results[c.Cancel] = b'"accepted"'
    assert await ctx.cancel("inv_1") is True
    assert issuer.commands[1:] == [c.Attach("inv_1"), c.Cancel("inv_1")]


@pytest.mark.parametrize(
    ("said", "output"),
    [
        (c.NOT_READY, Unready.NOT_READY),
        (c.NOT_FOUND, Unready.NOT_FOUND),
        (c.READY + b"5", Ready(5)),
        (c.READY, Ready(None)),
    ],
)
async def test_output(issuer: FakeIssuer, ctx: Context, said: bytes, output: object) -> None:
    issuer.results[c.Output] = said
    assert await ctx.output("inv_1", int | None) == output
    assert issuer.commands == [c.Output("inv_1")]


# --- results from outside ---


@pytest.mark.parametrize(("said", "first"), [(b'"accepted"', True), (b'"already"', False), (b'"not found"', False)])
async def test_who_was_first_is_told(issuer: FakeIssuer, ctx: WorkflowContext, said: bytes, first: bool) -> None:
    for command in (c.Complete, c.SendSignal, c.CompletePromise, c.Cancel):
        issuer.results[command] = said
    promise = WorkflowContext(issuer).promise("p", Order)
    assert [
        await ctx.resolve_awakeable("awk_1", Point(1)),
        await ctx.reject_awakeable("awk_1", "no", code=402),
        await ctx.send_signal("inv_1", "go", b"x"),
        await ctx.cancel("inv_1"),
        await promise.resolve(Order(id="x")),
        await promise.reject("no"),
    ] == [first] * 6
    assert issuer.commands == [
        c.Complete("awk_1", Outcome(b'{"x":1}')),
        c.Complete("awk_1", Outcome(failure=Failure(402, "no"))),
        c.SendSignal("inv_1", "go", Outcome(b"x")),
        c.Cancel("inv_1"),
        c.CompletePromise("p", Outcome(b'{"id":"x","amount":1}')),
        c.CompletePromise("p", Outcome(failure=Failure(500, "no"))),
    ]


async def test_a_promise_is_asked_for_when_it_is_awaited(issuer: FakeIssuer) -> None:
    promise = WorkflowSharedContext(issuer).promise("p", Order)
    assert (issuer.commands, promise.done) == ([], False)
    issuer.results[c.GetPromise] = b'{"id":"x"}'
    assert await promise == Order(id="x") == await promise
    assert promise.done
    assert await promise.peek() is None
    issuer.results[c.PeekPromise] = b'{"id":"x"}'
    assert await promise.peek() == Order(id="x")
    assert issuer.commands == [c.GetPromise("p"), c.PeekPromise("p"), c.PeekPromise("p")]


async def test_awakeables_and_signals_are_read_as_asked_for(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results |= {c.Awakeable: b'{"x":1}', c.Signal: b'{"x":2}'}
    awakeable = ctx.awakeable(Point)
    assert isinstance(awakeable, Awakeable)
    assert await awakeable == Point(1)
    assert await ctx.awakeable() == {"x": 1}
    assert await ctx.signal("go", Point) == Point(2)
    assert issuer.commands[2:] == [c.Signal("go")]


def test_what_cannot_be_an_id_or_a_name_is_refused(issuer: FakeIssuer, ctx: Any) -> None:
    workflow: Any = WorkflowContext(issuer)
    for use in (ctx.attach, ctx.output, ctx.resolve_awakeable, ctx.signal, workflow.promise):
        with pytest.raises(ValueError, match="has 1 to 512 bytes"):
            use("")
        with pytest.raises(TypeError, match="is a string"):
            use(5)
    for use in (partial(ctx.reject_awakeable, "awk_1"), workflow.promise("p").reject):
        with pytest.raises(ValueError, match="code is an HTTP error status"):
            use("no", code=200)
    assert issuer.commands == []


async def test_a_timeout_that_is_not_needed(ctx: Context) -> None:
    async with ctx.timeout(timedelta(seconds=5)):
        await ctx.now()
    with pytest.raises(TimedOutError, match=r"not done within 0:00:00\.001"):
        async with ctx.timeout(timedelta(milliseconds=1)):
            await asyncio.sleep(5)
    with pytest.raises(TimeoutError, match="own"):
        async with ctx.timeout(timedelta(seconds=5)):
            raise TimeoutError("own")
    with pytest.raises(ValueError, match="duration is negative"):
        async with ctx.timeout(-timedelta(seconds=5)):
            ...


# --- combinators ---


async def test_gather_keeps_the_order_given(ctx: ObjectContext) -> None:
    ctx.set("total", 1)
    both = await gather(ctx.get("total", int), ctx.run("load", load, "x"))
    assert both == (1, Order(id="x"))
    total, none = await asyncio.gather(ctx.get("total", int), ctx.get("none", int))
    assert (total, none) == (1, None)


async def test_gather_takes_no_list(ctx: Any) -> None:
    with pytest.raises(TypeError, match=r"one by one, as in gather\(\*calls\), not a value of type list"):
        await gather([ctx.get("total", int)])  # type: ignore[list-item]


def test_what_is_not_awaited_is_not_true(ctx: ObjectContext) -> None:
    with pytest.raises(TypeError, match="was not awaited"):
        _ = 1 if ctx.get("total", int) else 2


async def test_gather_fails_with_the_first_failure(ctx: Context) -> None:
    async def decline() -> None:
        raise TerminalError("declined")

    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with pytest.raises(TerminalError, match="declined"):
        await gather(never, ctx.run("decline", decline))
    never.cancel()


def test_invocations_are_told_by_type(ctx: Context) -> None:
    assert isinstance(ctx.generic_call(service="A", method="b"), Invocation)


@pytest.mark.parametrize("id", ["", None, 5])
def test_what_can_be_no_id_is_not_cancelled(ctx: Context, id: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ctx.cancel(id)
