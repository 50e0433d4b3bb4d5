"""The record of a suspended invocation holds the last segment of its journal if that is small."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.journal import AttemptStarted, CommandIssued, ResultDelivered
from adapter.engine.ports import Update
from adapter.engine.record_delta import MAX_LIVE_JOURNAL
from adapter.engine.records import JournalSegment, Meta, Status
from adapter.engine.types import Outcome
from tests.unit.world import World, closure, pack, settle, unpack, value


class Stages:
    """A handler with a step before each signal, and how often each step ran."""

    def __init__(self, signals: int, size: int = 1) -> None:
        self.world = World()
        self.ran: list[int] = []

        @self.world.handler("S")
        async def work(ctx: Any, _: Any) -> Any:
            for number in range(signals):
                await ctx.issue(
                    c.Run(f"step {number}", closure(lambda number=number: self._step(number, size))), unpack
                )
                await ctx.issue(c.Signal(f"go {number}"), unpack)
            return "done"

    def _step(self, number: int, size: int) -> str:
        self.ran.append(number)
        return "x" * size

    async def begin(self) -> str:
        id = await self.world.send("S/work")
        await settle()
        return id

    async def go(self, id: str, number: int) -> None:
        assert await self.world.engine.outbound.signal(id, f"go {number}", Outcome(pack(1))) == "accepted"
        await settle()

    def stored(self) -> list[str]:
        return [record.data for record in self.world.store.records() if isinstance(record, JournalSegment)]

    async def steps(self, id: str) -> list[str]:
        """The steps whose results are in the journal, as an operator reads it."""
        entries = await self.world.engine.storage.journal(await self.world.meta(id))
        names = {entry.n: entry.name for entry in entries if isinstance(entry, CommandIssued)}
        results = [names[entry.n] for entry in entries if isinstance(entry, ResultDelivered)]
        return [name for name in results if name.startswith("step")]


async def listening(signals: int) -> tuple[World, str]:
    """Return an invocation that waits for signals, one after the other, and its world."""
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        for number in range(signals):
            await ctx.issue(c.Signal(f"go {number}"), unpack)

    id = await world.send("S/work")
    await settle()
    return world, id


async def test_a_small_journal_lies_in_the_record() -> None:
    world, id = await listening(3)
    for number in range(3):
        meta = await world.meta(id)
        assert (meta.status, meta.segments) == (Status.SUSPENDED, 1)
        assert len(await world.engine.storage.journal(meta)) == 1 + 2 * number
        assert await world.engine.outbound.signal(id, f"go {number}", Outcome(pack(1))) == "accepted"
        await settle()
    assert not [record for record in world.store.records() if isinstance(record, JournalSegment)]
    assert len(await world.engine.storage.journal(await world.meta(id))) == 6


async def test_a_segment_repeats_the_one_in_the_record_and_is_read_once() -> None:
    stages = Stages(3)
    id = await stages.begin()
    for number in range(3):
        await stages.go(id, number)
    assert (await stages.world.meta(id)).status is Status.COMPLETED
    assert stages.ran == [0, 1, 2]
    assert await stages.steps(id) == ["step 0", "step 1", "step 2"]


async def test_a_large_journal_does_not() -> None:
    stages = Stages(1, MAX_LIVE_JOURNAL)
    id = await stages.begin()
    assert (await stages.world.meta(id)).inline_journal is None
    assert sum("x" * MAX_LIVE_JOURNAL in data for data in stages.stored()) == 1


async def test_a_journal_that_has_grown_is_put_and_leaves_the_record() -> None:
    world, id = await listening(12)
    inline, stored = set[bool](), 0
    for number in range(12):
        meta = await world.meta(id)
        inline.add(meta.inline_journal is not None)
        stored = sum(isinstance(record, JournalSegment) for record in world.store.records())
        assert meta.segments == stored + (meta.inline_journal is not None)
        assert await world.engine.outbound.signal(id, f"go {number}", Outcome(pack(1))) == "accepted"
        await settle()
    assert (await world.meta(id)).status is Status.COMPLETED
    assert inline == {True, False}
    assert 0 < stored < 4


@pytest.mark.parametrize("times", [1, 2])
async def test_what_an_operator_does_keeps_it(times: int) -> None:
    stages = Stages(2)
    id = await stages.begin()
    for _ in range(times):
        assert await stages.world.engine.control.pause(id) == "accepted"
        assert await stages.steps(id) == ["step 0"]
        assert await stages.world.engine.control.resume(id) == "accepted"
        await settle()
        assert (await stages.world.meta(id)).status is Status.SUSPENDED
    await stages.go(id, 0)
    await stages.go(id, 1)
    assert value((await stages.world.meta(id)).outcome) == "done"
    assert stages.ran == [0, 1]
    assert await stages.steps(id) == ["step 0", "step 1"]


@pytest.mark.parametrize("moment", ["suspended", "goes on", "has gone on"])
async def test_a_marker_of_an_operator_follows_what_ran_before(moment: str) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        for number in range(2):
            await ctx.issue(c.Sleep(5000), unpack)
            await ctx.issue(c.Run(f"step {number}", closure(number)), unpack)

    client = world.start("S/work") if moment != "suspended" else None
    if client is None:
        await world.send("S/work")
    await world.clock.advance(7 if moment == "has gone on" else 2)
    [meta] = [record for record in world.store.records() if isinstance(record, Meta)]
    stored = any(isinstance(record, JournalSegment) for record in world.store.records())
    assert (meta.status is Status.SUSPENDED) == (moment == "suspended")
    assert (meta.inline_journal is not None, stored) == (True, moment == "has gone on")

    assert await world.engine.control.pause(meta.id) == "accepted"
    entries = await world.engine.storage.journal(await world.meta(meta.id))
    assert [entry.epoch for entry in entries if isinstance(entry, AttemptStarted)] == [2]
    assert isinstance(entries[-1], AttemptStarted)
    assert await world.engine.control.resume(meta.id) == "accepted"
    await world.clock.advance(20)
    assert (await world.meta(meta.id)).status is Status.COMPLETED
    if client is not None:
        await client


async def test_a_killed_invocation_shows_it() -> None:
    stages = Stages(2)
    id = await stages.begin()
    assert await stages.world.engine.control.kill(id) == "accepted"
    assert await stages.steps(id) == ["step 0"]


async def test_a_damaged_one_can_be_killed() -> None:
    stages = Stages(2)
    id = await stages.begin()
    meta = await stages.world.meta(id)
    await stages.world.store.commit([Update(meta.ref, {"inline_journal": "2.[damaged"})], "damage")
    await stages.go(id, 0)
    assert "damaged" in ((await stages.world.meta(id)).error or "")
    assert await stages.world.engine.control.kill(id) == "accepted"
    assert (await stages.world.meta(id)).status is Status.COMPLETED


async def test_a_restart_copies_it() -> None:
    stages = Stages(2)
    id = await stages.begin()
    restarted = await stages.world.engine.control.restart(id, first=1)
    assert restarted is not None
    await settle()
    assert await stages.steps(restarted.id) == ["step 0"]
    assert stages.ran == [0]


async def test_an_attempt_after_a_lost_one_puts_it_before_its_marker() -> None:
    stages = Stages(2)
    id = await stages.begin()
    lost = lifecycle.claim(
        await stages.world.meta(id), stages.world.engine.process.times(), deployment=None, segments=None
    )
    await stages.world.store.commit([lost.change], "lost")
    inline = lost.meta.inline_journal
    await stages.world.clock.advance(3600)
    await stages.world.engine.sweeper.sweep()
    await settle()
    meta = await stages.world.meta(id)
    assert (meta.status, meta.inline_journal) == (Status.SUSPENDED, None)
    assert stages.stored()[-2] == inline
    assert await stages.steps(id) == ["step 0"]
    await stages.go(id, 0)
    await stages.go(id, 1)
    assert stages.ran == [0, 1]
    assert await stages.steps(id) == ["step 0", "step 1"]


async def test_an_attempt_that_begins_late_does_not_take_what_was_suspended_for_what_ran() -> None:
    """The interleaving:

    1. An attempt is about to suspend its invocation by one plain write, which keeps the due time. Its process freezes.
    2. The lease ends. A sweeper's dispatch reaches a process that reads the record, and freezes before it claims it.
    3. The first process writes: epoch and due time are as before. The journal is in the record.
    4. The second process writes its claim, which moved a journal of former code out of the record: this one was lost,
       and the step ran again with another result.
    """
    world = World(2)
    ran: list[int] = []
    suspend, claim = asyncio.Event(), asyncio.Event()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        number = await ctx.issue(c.Run("step", closure(lambda: ran.append(1) or len(ran))), unpack)
        await ctx.issue(c.Signal("go"), unpack)
        return number

    async def freeze(phase: str, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
        if (phase, method) != ("before", "commit") or not isinstance(args[0][0], Update):
            return
        status, epoch = args[0][0].set.get("status"), args[0][0].epoch
        if status is Status.SUSPENDED and not suspend.is_set():
            await suspend.wait()
        elif status is Status.RUNNING and epoch and not claim.is_set():
            await claim.wait()

    world.store.hook = freeze
    id = await world.send("S/work")
    await world.clock.advance(1)
    assert (ran, (await world.meta(id)).status) == ([1], Status.RUNNING)
    await world.clock.advance(120)
    late = asyncio.create_task(world.engines[1].resume(id))
    await settle()
    suspend.set()
    await settle()
    assert (await world.meta(id)).status is Status.SUSPENDED
    claim.set()
    await late
    await settle()

    assert await world.engine.outbound.signal(id, "go", Outcome(b"0"), commit_id="n") == "accepted"
    await world.clock.advance(5)
    assert (value((await world.meta(id)).outcome), ran) == (1, [1])


async def test_the_first_segment_of_an_attempt_that_goes_on_lies_in_the_record() -> None:
    world = World()
    ran: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(5000), unpack)
        await ctx.issue(c.Run("after", closure(lambda: ran.append("after"))), unpack)
        return "done"

    client = world.start("S/work")
    await world.clock.advance(2)
    [id] = [record.id for record in world.store.records() if isinstance(record, Meta)]
    meta = await world.meta(id)
    assert (meta.status, meta.segments, meta.stored_segments) == (Status.RUNNING, 1, 0)
    assert not any(isinstance(record, JournalSegment) for record in world.store.records())
    await world.clock.advance(4)
    assert (await client).outcome == Outcome(pack("done"))
    assert ran == ["after"]
