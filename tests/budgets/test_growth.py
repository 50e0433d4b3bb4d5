"""What a piece of work costs grows no faster than its size, and a process keeps nothing of what it has done."""

from __future__ import annotations

import cProfile
import gc
import math
from dataclasses import replace
from typing import Final
from uuid import uuid4

import pytest

from adapter.local.memory import MemoryStore
from bench.cases import FUNCTIONS
from bench.growth import GROWTH, Growth, Work
from bench.world import World

DAY: Final = 24 * 3600 * 1000


class LongLived:
    """One process and its store, which forgets what has expired."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.stage = World(self.store, *FUNCTIONS)
        self.engine = self.stage.process("Bench")
        self.served = 0

    async def load(self, rounds: int = 20) -> None:
        """Serve requests of several kinds. Then let all of them expire."""
        for number in range(rounds):
            for path, input in (
                ("Bench/steps", 5), ("Bench/calls", 3), ("Bench/sends", 5), (f"Counter/{number % 7}/add", 1),
                ("Bench/objcalls", 5), ("Cases/fan", 5),
            ):  # fmt: skip
                await self.stage.call(path, input, uuid4().hex, engine=self.engine)
                self.served += 1
        await self.stage.settle()
        self.stage.clock.move_to(self.stage.clock.now() + 60 * DAY)
        self.engine.process.deadline = None
        for _ in range(2):
            await self.engine.sweeper.sweep()
            await self.engine.process.drain()
        self.store.expire(self.stage.clock.now())
        self.store._tokens.clear()  # of the last 10,000 transactions, which would grow until there are so many


@pytest.mark.parametrize("each", GROWTH, ids=lambda each: each.name)
async def test_requests_grow_no_faster_than_the_work(each: Growth) -> None:
    row = await replace(each, sizes=(10, 50, 250), seen={}).measure()
    assert row["slope of requests"] <= 1.1  # 1 is linear


@pytest.mark.parametrize("each", [each for each in GROWTH if "of one" in each.name or "queued" in each.name])
async def test_function_calls_grow_no_faster_than_the_work(each: Growth) -> None:
    calls: list[int] = []
    for size in (200, 1_600):
        profile = cProfile.Profile(builtins=False)
        with profile:
            await each.run(World(MemoryStore(), *FUNCTIONS), size, Work())
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert math.log(calls[1] / calls[0]) / math.log(1_600 / 200) <= 1.1, calls


async def test_a_process_keeps_nothing_of_what_it_has_done() -> None:
    process = LongLived()
    counts: list[int] = []
    for _ in range(6):
        await process.load(5)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert process.served == 180
    assert counts[-1] - counts[2] < 90  # one object for each request would be that
