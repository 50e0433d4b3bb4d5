"""What runs beside an invocation that is killed or taken over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from adapter import TerminalError
from adapter.engine import commands as c
from adapter.engine.records import Status
from adapter.engine.types import RetryPolicy
from tests.unit.world import World, closure, dispatches_lost, never, settle, target, unpack, value


@pytest.mark.parametrize("then", ["fails", "waits", "ends"])
async def test_whoever_was_taken_for_dead_and_was_not_leaves_no_trace_of_that(then: str) -> None:
    world = World(2)
    tries = 0
    slow: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def refuse() -> bytes:
        raise ValueError("refused")

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        return await (refuse() if tries == 1 else slow)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("slow", step), unpack)
        if then == "fails":
            await ctx.issue(c.Run("refuse", refuse), unpack)
        if then == "waits":
            await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await world.clock.advance(1)
    assert (await world.meta(id)).failures == 1
    await world.clock.advance(75)
    with dispatches_lost(world):
        await world.engines[1].sweeper.sweep()
        await settle()
    assert (await world.meta(id)).failures == 2
    slow.set_result(b"")
    await settle()
    meta = await world.meta(id)
    expected = {
        "fails": (Status.BACKING_OFF, 1, "ValueError: refused"),
        "waits": (Status.SUSPENDED, 0, "ValueError: refused"),
        "ends": (Status.COMPLETED, 1, None),
    }
    assert (meta.status, meta.failures, meta.error) == expected[then]


async def test_who_runs_beside_a_call_that_is_killed_has_not_failed() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("first", closure(1)), unpack)
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call

    id = await world.send("S/parent")
    await settle()
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(8)
    for _ in range(20):
        await world.clock.advance(10)
        await world.engines[1].sweeper.sweep()
        await settle()
        meta = await world.meta(id)
        if not meta.live:
            break
    assert value(meta.outcome) == (409, "killed")


async def test_who_ended_beside_a_call_that_is_killed_and_is_not_stored_yet_has_not_failed() -> None:
    world = World(2)
    ids: list[str] = []

    async def slow() -> bytes:  # it ends just before its unit looks at its records
        await world.clock.sleep(2.98)
        return b"1"

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def other(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("slow", slow), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def parent(ctx: Any, _: Any) -> Any:
        killed = ctx.issue(c.Call(target("S/child"), b""), unpack)
        result = ctx.issue(c.Call(target("S/other"), b""), unpack)
        ids.append(killed.id)
        with suppress(TerminalError):
            await killed
        return await result

    id = await world.send("S/parent")
    await settle()
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(2.999)
    assert (await world.meta(id)).epoch == 1
    await world.clock.advance(5)
    meta = await world.meta(id)
    assert (meta.outcome and value(meta.outcome), meta.failures) == (1, 0)


async def test_who_has_only_written_its_journal_goes_on_at_once_beside_a_call_that_is_killed() -> None:
    world = World(2)
    ids: list[str] = []

    async def slow() -> bytes:
        await world.clock.sleep(0.1)
        return b"1"

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("slow", slow), unpack)
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call

    with dispatches_lost(world):
        id = await world.send("S/parent")
        await settle()
    task = asyncio.create_task(world.engine.resume(id, fresh=True))
    await world.clock.advance(1)
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(8)
    assert value((await world.meta(id)).outcome) == (409, "killed")
    assert task.done()
