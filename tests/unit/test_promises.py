"""Open promises end with their workflow, and all who wait for them are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ids import workflow_id
from adapter.engine.records import Status, Waiter
from adapter.engine.types import Kind, ObjectKey, Outcome
from tests.unit.world import World, pack, settle, unpack, value


@pytest.mark.parametrize("how", ["expires", "is purged"])
async def test_waiters_of_an_open_promise_are_told_when_its_workflow_is_over(how: str) -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW, workflow_retention=timedelta(hours=1))
    async def run(ctx: Any, _: Any) -> Any:
        return "done"

    @world.handler("W", Kind.SHARED)
    async def wait(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("never"), unpack)

    assert await world.call("W/k/run") == "done"
    waiting = await world.send("W/k/wait")
    await settle()
    await world.clock.advance(1)
    assert (await world.meta(waiting)).status == "suspended"
    if how == "is purged":
        assert await world.engine.control.purge(workflow_id("W", "k")) == "accepted"
    for _ in range(125):
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
        await settle()
    code, message = value((await world.meta(waiting)).outcome)
    assert (code, message) == (410, "W/k is over, and its promise was not completed")
    assert not [record for record in world.store.records() if isinstance(record, Waiter)]


async def test_an_open_promise_is_kept_for_as_long_as_its_workflow_runs() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("late"), unpack)

    id = await world.send("W/k/run")
    for _ in range(200):
        await world.clock.advance(24 * 3600)
        await world.engine.sweeper.sweep()
        await settle()
    assert await world.engine.promises.complete(ObjectKey("W", "k"), "late", Outcome(pack("kept"))) == "accepted"
    await settle()
    assert value((await world.meta(id)).outcome) == "kept"


@pytest.mark.parametrize("how", ["kill", "cancel"])
async def test_waiters_of_a_promise_are_told_if_its_workflow_ends_before_it_starts(how: str) -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW, workflow_retention=timedelta(hours=1))
    async def run(ctx: Any, _: Any) -> Any:
        return "done"

    @world.handler("W", Kind.SHARED)
    async def wait(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("never"), unpack)

    id = await world.send("W/k/run", delay=3600_000)
    waiting = await world.send("W/k/wait")
    await world.clock.advance(1)
    assert (await world.meta(waiting)).status is Status.SUSPENDED
    assert await getattr(world.engine.control, how)(id) == "accepted"
    for _ in range(12):
        await world.clock.advance(6 * 3600)
        await world.engine.sweeper.sweep()
        await settle()
    assert value((await world.meta(waiting)).outcome)[0] == 410
