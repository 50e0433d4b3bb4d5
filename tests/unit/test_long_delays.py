"""Messages that are delayed, and handlers that sleep, for longer than items are kept without a renewal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.records import Status
from adapter.engine.types import Kind, ObjectKey, Outcome
from tests.unit.test_lifetimes import DAY, live
from tests.unit.world import World, pack, settle, unpack, value


@pytest.mark.parametrize("size", [5, 300_000])
async def test_a_signal_to_a_delayed_message_is_kept_until_it_starts(size: int) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return len(await ctx.issue(c.Signal("go"), unpack))

    id = await world.send("S/work", delay=60 * DAY * 1000)
    assert await world.engine.outbound.signal(id, "go", Outcome(pack("x" * size))) == "accepted"
    await live(world, 61)
    assert value((await world.meta(id)).outcome) == size


@pytest.mark.parametrize("first", ["the promise", "the workflow"])
async def test_a_promise_is_kept_until_its_delayed_workflow_starts(first: str) -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW, workflow_retention=timedelta(days=10))
    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("p"), unpack)

    id = await world.send("W/k/run", delay=60 * DAY * 1000) if first == "the workflow" else ""
    assert await world.engine.promises.complete(ObjectKey("W", "k"), "p", Outcome(pack("kept"))) == "accepted"
    if first == "the promise":
        await live(world, 1)
        id = await world.send("W/k/run", delay=60 * DAY * 1000)
    await live(world, 61)
    assert value((await world.meta(id)).outcome) == "kept"


async def test_a_delayed_message_that_was_paused_for_a_moment_starts_when_it_is_due() -> None:
    world = World()
    ran: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        ran.append(world.clock.now())

    due = world.clock.now() + DAY * 1000
    id = await world.send("S/work", delay=DAY * 1000)
    assert await world.engine.control.pause(id) == "accepted"
    assert await world.engine.control.resume(id) == "accepted"
    assert (await world.meta(id)).status is Status.SCHEDULED
    await world.clock.advance(DAY)
    assert ran == [due]


async def test_a_delayed_message_that_is_paused_until_after_its_time_starts_when_it_is_resumed() -> None:
    world = World()
    ran: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        ran.append(world.clock.now())

    id = await world.send("S/work", delay=DAY * 1000)
    assert await world.engine.control.pause(id) == "accepted"
    await live(world, 40)
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engine.control.resume(id) == "accepted"
    await settle()
    assert ran == [world.clock.now()]


async def test_a_long_sleep_costs_a_renewal_in_fifteen_days() -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100 * DAY * 1000), unpack)

    await world.send("S/wait")
    await world.clock.advance(1)
    before = world.store.usage.write_units
    await live(world, 95)
    assert world.store.usage.write_units - before < 50
