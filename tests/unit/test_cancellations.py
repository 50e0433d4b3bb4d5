"""Cancellations that came at an unlucky moment, and were lost once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from adapter import TerminalError, gather, select
from adapter.engine import commands as c
from adapter.engine.ids import idempotent_id
from adapter.engine.process import Repeat
from adapter.engine.records import Status
from adapter.engine.types import Kind, RetryPolicy
from tests.unit.world import World, closure, dispatches_lost, never, settle, target, unpack, value


async def crash_before_telling(world: World, caller: str, call: str) -> None:
    """The first process goes on with a caller that was cancelled, and ends before it has asked its call to end."""
    dying: list[int] = []

    async def die(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "peek" and args[0] == call:
            world.store.hook = None
            dying.append(1)
            await asyncio.get_running_loop().create_future()

    with dispatches_lost(world):
        assert await world.engines[1].control.cancel(caller) == "accepted"
        await settle()
    world.store.hook = die
    task = asyncio.create_task(world.engine.resume(caller))
    await settle()
    world.store.hook = None
    assert dying
    world.engine.process.abort()
    task.cancel()
    await settle()
    for _ in range(60):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
        await settle()


def caller_of_child(world: World, wait: Callable[[Any, Any], Awaitable[Any]]) -> list[str]:
    """Register ``S/parent``, which waits in some way for its call, which waits for ever; gives the calls' ids."""
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await wait(ctx, call)

    return ids


async def test_a_step_in_which_something_was_cancelled_has_failed() -> None:
    world = World()
    tries = 0

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError
        return b"1"

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 1


async def test_a_cancellation_reaches_a_call_that_is_not_stored_yet_and_then_waits_for_its_key() -> None:
    world = World(2)
    ran: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        ran.append("work")

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/work"), b""), unpack)

    await world.send("O/k/hold")
    await settle()
    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.engines[1].resume(id)
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    await world.clock.advance(100)
    assert not ran


@pytest.mark.parametrize("dies", [False, True])
async def test_a_cancellation_reaches_a_call_to_another_function_that_is_not_stored_yet(
    dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    calls: list[str] = []

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("Elsewhere/work"), b"", kind=Kind.SERVICE), unpack)
        calls.append(call.id)
        await call

    async def die(*_: Any, **__: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(world.engine.deployment, "_kinds", lambda target: Kind.SERVICE)
    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
        assert await world.engine.control.cancel(id) == "accepted"
        if dies:  # as soon as the call is stored
            monkeypatch.setattr(world.engine.control, "cancel", die)
        task = asyncio.create_task(world.engine.resume(id))
        await settle()
        task.cancel()
        world.engine.process.abort()
    assert [note.id for note in await world.engine.storage.notifications((await world.meta(calls[0])).ref)] == ["x"]


async def test_a_cancellation_reaches_a_call_whose_first_attempt_fails_before_it_is_stored() -> None:
    world = World()
    tries: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        tries.append(ctx.id)
        if len(tries) == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Sleep(1_000_000), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("S/work"), b""), unpack)

    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
        assert await world.engine.control.cancel(id) == "accepted"
    await world.engine.resume(id)
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    assert value((await world.meta(tries[0])).outcome) == (409, "cancelled")


async def test_a_request_with_an_idempotency_key_that_waits_for_its_key_is_cancelled_at_once() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    await world.send("O/k/hold")
    await settle()
    task = world.start("O/k/hold", idempotency_key="second")
    await settle()
    id = idempotent_id(target("O/k/hold"), "second")
    assert (await world.meta(id)).status is Status.QUEUED
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(1)
    assert task.done()
    assert value(task.result().outcome) == (409, "cancelled")


async def test_a_cancellation_is_done_to_its_end_when_the_attempt_that_asked_for_it_fails() -> None:
    world = World()
    calls: set[str] = set()
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        return await failing

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("O/k/hold"), b""), unpack)
        calls.add(call.id)
        await gather(ctx.issue(c.Cancel(call.id), unpack), ctx.issue(c.Run("step", step), unpack))

    async def fail_then(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        ending = method == "commit" and any("outcome" in getattr(change, "set", ()) for change in args[0])
        if phase == "after" and ending and not failing.done():
            failing.set_exception(ValueError("unlucky"))
            await settle()

    await world.send("O/k/hold")
    await settle()
    world.store.hook = fail_then
    id = await world.send("S/caller")
    await settle()
    await settle()
    assert (await world.meta(id)).status is Status.BACKING_OFF
    cancelled = await world.meta(calls.pop())
    assert (cancelled.status, value(cancelled.outcome)) == (Status.COMPLETED, (409, "cancelled"))


async def test_a_cancellation_that_comes_while_the_last_attempt_fails_is_not_lost() -> None:
    world = World(2)
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        return await failing

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    assert await world.engines[1].control.cancel(id) == "accepted"
    failing.set_exception(ValueError("unlucky"))
    await world.clock.advance(0.1)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")


async def test_who_is_cancelled_and_paused_before_seeing_that_goes_on_when_cancelled_again() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await settle()
    with dispatches_lost(world):
        assert await world.engine.control.cancel(id) == "accepted"
        await settle()
        assert await world.engine.control.pause(id) == "accepted"
    assert await world.engine.control.cancel(id) == "accepted"
    await settle()
    assert value((await world.meta(id)).outcome) == (409, "cancelled")


async def test_who_fails_without_seeing_its_cancellation_is_not_woken_by_that_again_and_again() -> None:
    world = World()
    attempts = 0

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await ctx.issue(c.Run(f"step {attempts}", closure(1)), unpack)  # not what the journal holds
        await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(60)
    assert ((await world.meta(id)).status, attempts) == (Status.PAUSED, 2)


async def test_a_crash_of_a_cancelled_caller_does_not_keep_its_call_from_being_cancelled() -> None:
    world = World(2)
    ids = caller_of_child(world, lambda ctx, call: call)
    id = await world.send("S/parent")
    await settle()
    assert (await world.meta(id)).status is Status.SUSPENDED
    child = ids[0]
    assert (await world.meta(child)).status is Status.SUSPENDED
    await crash_before_telling(world, id, child)
    again = await world.engines[1].control.cancel(id)
    await world.clock.advance(60)
    await world.engines[1].sweeper.sweep()
    await settle()
    assert (again, (await world.meta(child)).status, (await world.meta(id)).status) == (
        "already",
        Status.COMPLETED,
        Status.COMPLETED,
    )


async def test_a_crash_of_a_cancelled_caller_that_had_ended_does_not_either() -> None:
    world = World(2)
    ids = caller_of_child(world, lambda ctx, call: select(call, ctx.issue(c.Sleep(1_000_000), unpack)))
    id = await world.send("S/parent")
    await settle()
    await crash_before_telling(world, id, ids[0])
    assert ((await world.meta(id)).status, (await world.meta(ids[0])).status) == (Status.COMPLETED, Status.COMPLETED)


@pytest.mark.parametrize("sleep", ["durable", "asyncio"])
async def test_a_cancellation_is_not_lost_to_a_call_that_makes_the_best_of_it(sleep: str) -> None:
    world = World()

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Sleep(10_000), unpack)
        except TerminalError:
            return "cleaned up"

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("S/child"), b""), unpack)
        await (asyncio.sleep(100_000) if sleep == "asyncio" else ctx.issue(c.Sleep(100_000_000), unpack))
        return "done"

    id = await world.send("S/parent")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(1000)
    meta = await world.meta(id)
    assert not meta.live, meta.status


async def test_a_cancellation_is_not_lost_to_a_call_that_is_over_by_then() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return "done"

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call
        await ctx.issue(c.Sleep(100_000_000), unpack)
        return "done"

    id = await world.send("S/parent")
    await settle()
    with dispatches_lost(world):  # the process that is to see the cancellation comes a moment late
        await world.clock.advance(9.9)
        assert await world.engine.control.cancel(id) == "accepted"
        world.engine.process.spawn(world.engine.resume(ids[0]), repeated_by=Repeat.DISPATCH)
        await world.clock.advance(0.2)
    assert not (await world.meta(ids[0])).live
    await world.clock.advance(20)
    await world.engine.sweeper.sweep()
    await world.clock.advance(20)
    meta = await world.meta(id)
    again = await world.engine.control.cancel(id)
    assert (meta.status, again) == (Status.COMPLETED, "already")


async def test_a_cancellation_ends_a_sleep_of_asyncio() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await asyncio.sleep(100_000)

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(20)
    meta = await world.meta(id)
    assert not meta.live, meta.status


async def test_a_cancellation_ends_a_task_that_sleeps() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        t = asyncio.create_task(asyncio.sleep(100_000))
        await asyncio.wait({t})

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(20)
    meta = await world.meta(id)
    assert not meta.live, meta.status


@pytest.mark.parametrize("how", ["an operator", "a crash"])
async def test_who_is_stopped_in_its_first_step_and_then_cancelled_can_undo_it(how: str) -> None:
    """That the step has begun is in no journal yet."""
    world = World(2)
    ran: list[str] = []

    async def charge() -> bytes:
        ran.append("charged")
        return await never()

    async def refund() -> bytes:
        ran.append("refunded")
        return b""

    @world.handler("S", retry=RetryPolicy(attempts=2))
    async def order(ctx: Any, _: Any) -> Any:
        if how == "a crash" and len(ran) == 1:
            ran.append("failed")
            raise ValueError("unlucky")
        try:
            await ctx.issue(c.Run("charge", charge), unpack)
        except TerminalError:
            await ctx.issue(c.Run("refund", refund), unpack)
            raise

    world.start("S/order", idempotency_key="k")
    id = idempotent_id(target("S/order"), "k")
    await settle()
    if how == "an operator":
        assert await world.engines[1].control.pause(id) == "accepted"
    else:
        world.engine.process.abort()
        await settle()
        await world.clock.advance(75)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engines[1].control.cancel(id) == "accepted"
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    assert ran[-1] == "refunded"
