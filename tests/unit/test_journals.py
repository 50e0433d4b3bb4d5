"""A journal of which something is missing is told from a shorter one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ports import Put
from adapter.engine.records import JournalSegment, Status
from adapter.engine.requests import Request
from adapter.engine.types import Outcome
from tests.unit.world import World, closure, pack, settle, target, unpack, value


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_missing_last_piece_is_noticed_and_the_invocation_goes_on_once_it_is_back(attempts: int) -> None:
    world = World()
    ran: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("pay", closure(lambda: ran.append(1))), unpack)
        await ctx.issue(c.Run("large", closure("x" * 1000)), unpack)
        for number in range(attempts):
            await ctx.issue(c.Signal(f"go {number}"), unpack)
            await ctx.issue(c.Run(f"large {number}", closure("x" * 1000)), unpack)
        return "paid"

    id = await world.send("S/work")
    await settle()
    for number in range(attempts - 1):
        assert await world.engine.outbound.signal(id, f"go {number}", Outcome(pack(1))) == "accepted"
        await settle()
    assert (await world.meta(id)).status is Status.SUSPENDED
    segments = [record for record in world.store.records() if isinstance(record, JournalSegment)]
    last = max(segments, key=lambda segment: segment.index)
    keys, _ = await world.store.dependents(id)
    await world.store.delete([key for key in keys if key.segment == last.index])
    assert await world.engine.outbound.signal(id, f"go {attempts - 1}", Outcome(pack(1))) == "accepted"
    await settle()
    meta = await world.meta(id)
    assert meta.live
    assert f"the journal has {len(segments)} segments by its record, and {len(segments) - 1} are there" in (
        meta.error or ""
    )

    await world.store.commit([Put(last)], "put back")
    await world.clock.advance(60)
    assert value((await world.meta(id)).outcome) == "paid"
    assert ran == [1]


async def test_segments_that_were_put_while_the_journal_was_read_are_not_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("pay", closure("x" * 1000)), unpack)
        await ctx.issue(c.Signal("go"), unpack)

    id = await world.send("S/work")
    await settle()
    meta = await world.meta(id)
    load, loads = world.store.load, list[int]()

    async def load_late(id: str, cursor: Any = None) -> Any:
        loads.append(1)
        page = await load(id, cursor)
        if len(loads) == 1:
            page.segments.pop()
        return page

    monkeypatch.setattr(world.store, "load", load_late)
    assert len(await world.engines[1].storage.journal(meta)) > 0
    assert len(loads) == 2


async def test_an_attempt_that_stood_still_meets_its_journal_though_many_runs_have_come_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapter.engine.storage.MAX_FORMER", 1)
    world = World(2)
    zero, continues = timedelta(0), asyncio.Event()
    begun: list[str] = []

    @world.handler("S", idempotency_retention=zero, journal_retention=zero)
    async def pay(ctx: Any, _: Any) -> Any:
        async def step() -> bytes:
            begun.append(ctx.meta.generation)
            return pack(None)

        await ctx.issue(c.Run("pay", step, at_most_once=True), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)

    async def stand_still(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and isinstance(args[0][0], Put):
            world.store.hook = None
            await continues.wait()

    async def run_once_more() -> None:
        await world.send("S/pay", process=1, idempotency_key="one")
        await settle()
        await world.clock.advance(80)  # the lease of the attempt that stands still ends, and its sleep
        await world.engines[1].sweeper.sweep()
        await settle()
        await world.clock.advance(11)
        await settle()

    world.store.hook = stand_still
    late = asyncio.create_task(world.engine.call(Request(target("S/pay"), b"null", idempotency_key="one"), until=0))
    await settle()
    assert world.store.hook is None
    for _ in range(3):
        await run_once_more()
    assert len(set(begun)) == len(begun) == 3
    continues.set()
    await late
    await settle()
    assert len(set(begun)) == len(begun)
