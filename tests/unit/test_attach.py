"""The result of an invocation reaches all who attached to it, however soon its record expires."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter import gather
from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.ids import idempotent_id
from adapter.engine.ports import Delete, Put
from adapter.engine.records import Meta, Status, Waiter
from adapter.engine.transaction import MAX_NOTIFICATION
from adapter.engine.types import Outcome
from tests.unit.world import World, dispatches_lost, pack, settle, target, unpack, value


@pytest.mark.parametrize(("how", "told"), [("attach", True), ("attach", False), ("call", True)])
async def test_a_result_that_came_while_its_receiver_resumed_is_not_taken_for_expired(how: str, told: bool) -> None:
    """The process that completed the invocation may still be about to tell its waiters."""
    world = World(2)
    zero = timedelta(0)
    tell = asyncio.Event()

    @world.handler("S", idempotency_retention=zero, journal_retention=zero)
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        if how == "call":
            result = ctx.issue(c.Call(target("S/work"), b"", idempotency_key="k"), unpack)
        else:
            result = ctx.issue(c.Attach(idempotent_id(target("S/work"), "k")), unpack)
        tick = ctx.issue(c.Signal("tick"), unpack)
        await tick  # wakes it for another reason
        return await result

    work_id = idempotent_id(target("S/work"), "k")
    if how == "attach":
        await world.send("S/work", idempotency_key="k")
        await settle()
    id = await world.send("S/caller")
    await settle()
    await world.clock.advance(1)
    assert (await world.meta(id)).status is Status.SUSPENDED
    assert (await world.meta(work_id)).status is Status.SUSPENDED

    async def complete_meanwhile(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method, args[0]) == ("before", "peek", work_id):  # the resumed attempt looks at what it waits for
            world.store.hook = None
            with dispatches_lost(world):
                assert await world.engines[1].outbound.signal(work_id, "go", ok, commit_id="n") == "accepted"
            world.store.hook = None if told else hold_the_first
            await world.engines[1].resume(work_id)
            await settle()

    async def hold_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "commit") and isinstance(args[0][0], Delete):
            world.store.hook = None
            await tell.wait()

    ok = Outcome(b'"the result"')
    with dispatches_lost(world):
        assert await world.engines[1].outbound.signal(id, "tick", Outcome(b"1"), commit_id="t") == "accepted"
    world.store.hook = complete_meanwhile
    await world.engine.resume(id)
    await world.clock.advance(5)
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == "the result"
    tell.set()
    await settle()
    assert [each for each in world.store.records() if isinstance(each, Waiter)] == []


async def test_a_large_result_stays_as_it_was_when_a_later_run_under_the_same_id_ends() -> None:
    world = World()
    zero = timedelta(0)

    @world.handler("S", idempotency_retention=zero, journal_retention=zero)
    async def work(ctx: Any, size: int) -> str:
        return "x" * size

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    id = await world.send("S/listen")
    await world.clock.advance(1)
    receiver, storage = (await world.meta(id)).ref, world.engine.storage
    for size in (MAX_NOTIFICATION + 1, MAX_NOTIFICATION + 2):
        run = await world.send("S/work", size, idempotency_key="k")
        ref = (await world.meta(run)).ref
        await storage.commit([Put(Waiter(*ref, receiver, 0, "S", "")), lifecycle.attached(ref)], f"attach {size}")
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
    [notification] = await storage.notifications(receiver)
    assert len(notification.outcome.value or b"") == MAX_NOTIFICATION + 1 + len('""')


async def test_a_call_that_completes_while_its_caller_runs_a_step_is_stored_at_once() -> None:
    world = World(2)
    release = asyncio.Event()

    async def slow() -> bytes:
        await release.wait()
        return pack(None)

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        step = ctx.issue(c.Run("slow", slow), unpack)
        await gather(call, step)
        return call.id

    caller = await world.send("S/parent")
    await settle()
    [id] = [each.id for each in world.store.records() if isinstance(each, Meta) and each.target.handler == "child"]
    await world.engine.outbound.signal(id, "go", Outcome(pack("done")))
    await world.clock.advance(1)
    assert (await world.meta(id)).outcome == Outcome(pack("done"))
    assert (await world.meta(caller)).live
    release.set()
    await settle()
    assert not (await world.meta(caller)).live
