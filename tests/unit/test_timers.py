"""A timer of another machine's clock may be early. What it wakes is run at its time, whatever happens until then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter import select
from adapter.engine import commands as c
from adapter.engine.records import Status
from adapter.engine.types import Kind, Outcome, Target
from tests.unit.world import World, settle, unpack, value


def sleeping(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register ``S/sleep``, which listens to signals and sleeps for ten seconds. Timers fire when a test says so."""

    @world.handler("S")
    async def sleep(ctx: Any, _: Any) -> Any:
        end = ctx.issue(c.Sleep(10_000), unpack)
        await select(end, ctx.issue(c.Signal("a"), unpack))
        await end
        return "awake"

    async def schedule(*_: Any) -> None: ...

    for timers in world.timers:
        monkeypatch.setattr(timers, "schedule", schedule)


async def test_an_early_timer_finds_that_another_process_has_suspended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2)
    sleeping(world, monkeypatch)
    id = await world.send("S/sleep")
    await world.clock.advance(9)
    early = world.engines[1].process.spawn(world.engines[1].resume(id), repeated_by="TIMER")  # type: ignore[arg-type]
    await settle()

    world.engine.process.deadline = world.clock.now() + 500  # it may not wait for the end of the sleep
    await world.engine.outbound.signal(id, "a", Outcome(b"1"))
    await settle()
    meta = await world.meta(id)
    assert (meta.status, meta.epoch) == (Status.SUSPENDED, 2)
    await world.clock.advance(2)

    assert early.done()
    assert value((await world.meta(id)).outcome) == "awake"


async def test_an_early_timer_begins_no_attempt_for_a_signal_that_the_last_one_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    sleeping(world, monkeypatch)
    id = await world.send("S/sleep")
    await settle()
    for n in range(2):
        await world.engine.outbound.signal(id, "a", Outcome(b"1"), commit_id=str(n))
        await settle()
    before = await world.meta(id)
    assert (before.status, before.seen) == (Status.SUSPENDED, 2)

    await world.clock.advance(9)
    world.engine.process.spawn(world.engine.resume(id), repeated_by="TIMER")  # type: ignore[arg-type]
    await settle()

    assert (await world.meta(id)).epoch == before.epoch
    await world.clock.advance(2)
    assert value((await world.meta(id)).outcome) == "awake"


async def test_an_attempt_suspends_although_a_notification_has_made_its_record_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was there when the attempt began, and was counted only after that."""
    world = World()
    sleeping(world, monkeypatch)
    counted = asyncio.Event()

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        await select(ctx.issue(c.Sleep(10_000), unpack), ctx.issue(c.Signal("a"), unpack))
        await ctx.issue(c.Call(Target("O", "hold", "k"), b"null"), unpack)

    async def late(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "count_notifications") and not counted.is_set():
            await counted.wait()
        if (phase, method) == ("before", "heads") and not counted.is_set():
            counted.set()
            await settle()

    id = await world.send("S/ask")
    await settle()
    world.store.hook = late
    said = asyncio.create_task(world.engine.outbound.signal(id, "a", Outcome(b"1")))
    await settle()
    await world.engine.resume(id)
    await said
    await settle()

    meta = await world.meta(id)
    assert (meta.status, meta.seen, meta.notifications) == (Status.SUSPENDED, 1, 1)
