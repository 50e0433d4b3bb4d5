"""A cancellation or a resume that was accepted takes effect, whatever the store and the process do next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ports import Conflict, Unavailable, Update
from adapter.engine.records import Status
from adapter.engine.types import RetryPolicy
from tests.unit.world import World, dispatches_lost, settle, target, unpack, value


async def sweep_for(world: World, minutes: int) -> None:
    for _ in range(minutes):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
        await settle()


async def test_a_cancellation_reaches_a_call_though_the_store_is_throttled_for_half_a_minute() -> None:
    world = World(2)
    calls: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        calls.append(call.id)
        await call

    async def throttle(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "peek" and args[0] == calls[0]:
            raise Unavailable("throttled")

    caller = await world.send("S/parent")
    await world.clock.advance(1)
    assert (await world.meta(caller)).status is Status.SUSPENDED
    world.store.hook = throttle
    assert await world.engines[1].control.cancel(caller) == "accepted"
    await world.clock.advance(30)
    world.store.hook = None
    await sweep_for(world, 60)
    assert value((await world.meta(caller)).outcome) == (409, "cancelled")


@pytest.mark.parametrize("seen", ["before", "after"])
async def test_a_cancellation_that_comes_in_the_last_attempt_is_kept_though_the_process_ends(seen: str) -> None:
    """The cancellation is put while the step runs; it is counted before, or after, the attempt has failed."""
    world = World(2)
    fail, count = asyncio.Event(), asyncio.Event()

    async def step() -> bytes:
        await fail.wait()
        raise ValueError("unlucky")

    async def hold_the_count(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "count_notifications":
            await count.wait()

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    if seen == "after":
        world.store.hook = hold_the_count
    cancelling = asyncio.create_task(world.engines[1].control.cancel(id))
    await settle()
    with dispatches_lost(world):
        fail.set()
        await settle()
        count.set()
        await settle()
    assert await cancelling == "accepted"
    world.store.hook = None
    world.engine.process.abort()  # the process ends
    await settle()
    await sweep_for(world, 60)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")


@pytest.mark.parametrize("how", ["resume", "cancel"])
async def test_a_pause_that_is_applied_late_does_not_undo_what_an_operator_did_since(how: str) -> None:
    world = World(2)
    broken = True
    late: list[tuple[Any, ...]] = []

    async def step() -> bytes:
        if broken:
            raise ValueError("unlucky")
        return b"1"

    @world.handler("S", retry=RetryPolicy(attempts=2))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", step), unpack)
        await ctx.issue(c.Sleep(1), unpack)
        return "done"

    async def lose(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        change = args[0][0] if (phase, method) == ("before", "commit") and not late else None
        if isinstance(change, Update) and change.set.get("status") is Status.PAUSED:
            late.append(args)
            raise Unavailable("timed out")

    with dispatches_lost(world):
        id = await world.send("S/work")
        await settle()
    world.store.hook = lose
    attempt = asyncio.create_task(world.engine.resume(id, fresh=True))
    await world.clock.advance(3)
    assert attempt.done()
    world.store.hook = None
    assert late
    assert (await world.meta(id)).status is Status.PAUSED  # the second copy was applied
    broken = False
    with dispatches_lost(world):
        operate = world.engine.control.resume if how == "resume" else world.engine.control.cancel
        assert await operate(id) == "accepted"
        await settle()
    with suppress(Conflict):
        await world.store.commit(*late[0])  # the first copy is applied now
    arriving = asyncio.create_task(world.engines[1].resume(id))
    await sweep_for(world, 30)
    assert arriving.done()
    assert value((await world.meta(id)).outcome) == ("done" if how == "resume" else (409, "cancelled"))
