"""Messages that were dispatched together: one process runs them at the same time, and commits their ends together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ports import Update, Usage
from adapter.engine.records import Meta, Ref, Status
from adapter.engine.together import Together
from adapter.engine.types import Target
from tests.unit.world import World, closure, pack, settle, unpack


@pytest.fixture
def world() -> World:
    world = World(2)

    @world.handler("S")
    async def send(ctx: Any, names: list[str]) -> None:
        for name in names:
            ctx.issue(c.Send(Target("S", name), pack(name)), unpack)

    @world.handler("S")
    async def quick(ctx: Any, _: Any) -> str:
        return "done"

    return world


def records(world: World, handler: str) -> list[Meta]:
    metas = (each for each in world.store.records() if isinstance(each, Meta))
    return [meta for meta in metas if meta.target.handler == handler]


def statuses(world: World, handler: str) -> list[Status]:
    return [meta.status for meta in records(world, handler)]


async def test_a_batch_is_read_at_once_and_completed_at_once(world: World) -> None:
    world.store.usage = Usage()
    await world.call("S/send", ["quick"] * 50)
    await settle()
    assert statuses(world, "quick") == [Status.COMPLETED] * 50
    assert world.store.usage.requests == 1 + 2 + 2  # the sender's, and those of two batches


async def test_a_long_one_holds_up_no_other(world: World) -> None:
    may_end = asyncio.Event()

    @world.handler("S")
    async def long(ctx: Any, _: Any) -> Any:
        async def step() -> bytes:
            await may_end.wait()
            return pack("done")

        return await ctx.issue(c.Run("step", step), unpack)

    await world.call("S/send", ["quick", "long", "quick"])
    await settle()
    assert (statuses(world, "quick"), statuses(world, "long")) == ([Status.COMPLETED] * 2, [Status.RUNNING])
    may_end.set()
    await settle()
    assert statuses(world, "long") == [Status.COMPLETED]


async def test_one_that_waits_in_its_code_holds_up_the_others_for_a_moment(world: World) -> None:
    may_end = asyncio.Event()

    @world.handler("S")
    async def long(ctx: Any, _: Any) -> Any:
        async def step() -> bytes:
            await may_end.wait()
            return pack("done")

        return await ctx.issue(c.Run("step", step, deferred=True), unpack)

    await world.call("S/send", ["quick", "long", "quick"])
    await settle()
    await world.clock.advance(0.019)
    assert statuses(world, "quick") == [Status.READY] * 2
    await world.clock.advance(0.001)
    assert (statuses(world, "quick"), statuses(world, "long")) == ([Status.COMPLETED] * 2, [Status.READY])
    await world.clock.advance(0.1)
    assert statuses(world, "long") == [Status.RUNNING]  # a crash does not lose its attempt any more
    may_end.set()
    await settle()
    assert statuses(world, "long") == [Status.COMPLETED]


async def test_an_attempt_that_is_not_claimed_reads_its_record_and_goes_on(world: World) -> None:
    ran: list[int] = []
    may_end = asyncio.Event()

    @world.handler("S")
    async def long(ctx: Any, _: Any) -> Any:
        async def step() -> bytes:
            ran.append(1)
            await may_end.wait()
            return pack("done")

        return await ctx.issue(c.Run("step", step, deferred=True), unpack)

    id = await world.send("S/long")
    await settle()
    await world.engine.resume(id)  # which has the session read the record
    await settle()
    may_end.set()
    await settle()
    assert (ran, statuses(world, "long")) == ([1], [Status.COMPLETED])


async def test_what_a_conflict_keeps_from_ending_together_ends_on_its_own(world: World) -> None:
    async def kill(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and len(args[0]) == 3:
            world.store.hook = None
            assert await world.engines[1].control.kill(records(world, "quick")[1].id) == "accepted"

    await world.send("S/send", ["quick"] * 3)
    world.store.hook = kill
    await settle()
    assert world.store.hook is None
    outcomes = [meta.outcome for meta in records(world, "quick") if meta.outcome is not None]
    assert statuses(world, "quick") == [Status.COMPLETED] * 3
    assert sorted(each.failure.code if each.failure else 0 for each in outcomes) == [0, 0, 409]


async def test_a_process_that_dies_in_a_batch_loses_nothing_and_repeats_no_step(world: World) -> None:
    ran: list[int] = []
    may_end = asyncio.Event()

    @world.handler("S")
    async def twice(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("one", closure(lambda: ran.append(len(ran)))), unpack)
        await ctx.issue(c.Run("two", wait), unpack)

    async def wait() -> bytes:
        await may_end.wait()
        return pack(None)

    await world.call("S/send", ["twice"] * 5)
    await settle()
    assert ran == [0, 1, 2, 3, 4]
    world.engine.process.abort()
    may_end.set()
    for _ in range(5):
        await world.clock.advance(70)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert statuses(world, "twice") == [Status.COMPLETED] * 5
    assert ran == [0, 1, 2, 3, 4]


async def test_a_handler_may_ask_for_a_process_for_each_message(world: World) -> None:
    batches: list[int] = []

    @world.handler("S", batch=1)
    async def heavy(ctx: Any, _: Any) -> None: ...

    dispatch = world.dispatchers[0].dispatch

    async def noted(*args: Any) -> None:
        batches.append(args[-1])
        await dispatch(*args)

    world.dispatchers[0].dispatch = noted  # type: ignore[method-assign]
    await world.call("S/send", ["heavy"] * 3 + ["quick"])
    await settle()
    assert batches == [1, 1, 1, 25]
    assert statuses(world, "heavy") == [Status.COMPLETED] * 3


async def test_two_ends_that_change_one_item_are_not_in_one_commit() -> None:
    world = World()
    together = Together(world.engine.process, world.engine.storage, ["inv_a", "inv_b"])
    granted = Update(Ref("inv_c", "g"), {"status": Status.READY})

    first = asyncio.ensure_future(together.commit("inv_a", [granted], 100))
    await asyncio.sleep(0)
    second = await together.commit("inv_b", [granted], 100)

    assert not second
    assert not await first  # it is the only one left, so it is committed on its own, too
