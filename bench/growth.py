"""How the cost of a piece of work grows with its size."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from adapter.garbage import settle
from adapter.local.memory import MemoryStore
from bench.cases import world
from bench.world import World

SIZES: Final = (10, 100, 1_000, 10_000)


@dataclass
class Work:
    """What a piece of work took: the CPU of this process, and the requests."""

    cpu: float = 0.0
    requests: int = 0

    @contextmanager
    def measured(self, stage: World) -> Iterator[None]:
        """Count what the block does."""
        gc.collect()
        with stage.measured() as cost:
            began = time.process_time()
            yield
            self.cpu = time.process_time() - began
        self.requests = cost.requests


@dataclass(frozen=True)
class Growth:
    """A row of the table: one piece of work in several sizes.

    Attributes:
        name: What there are more and more of.
        run: Does it once.
        sizes: How many.
    """

    name: str
    run: Callable[[World, int, Work], Awaitable[None]]
    sizes: tuple[int, ...] = SIZES
    seen: dict[int, Work] = field(default_factory=dict[int, Work])

    async def measure(self) -> dict[str, Any]:
        """Return the row: milliseconds of CPU for each item, and the exponents by which CPU and requests grow."""
        for size in self.sizes:
            work = Work()
            await self.run(world(MemoryStore()), size, work)
            self.seen[size] = work
        row: dict[str, Any] = {"of": self.name}
        for size in SIZES:
            row[f"{size:,}: ms each"] = round(self.seen[size].cpu * 1000 / size, 3) if size in self.seen else ""
        last = self.seen[self.sizes[-1]]
        row["requests each"] = round(last.requests / self.sizes[-1], 3)
        # Of a hundred the fixed cost is small. 1 is linear: an item costs what it costs among few.
        row["slope of CPU"] = round(self._slope(lambda work: work.cpu), 2)
        row["slope of requests"] = round(self._slope(lambda work: work.requests), 2)
        return row

    def _slope(self, of: Callable[[Work], float]) -> float:
        first, last = self.sizes[1], self.sizes[-1]
        return math.log(of(self.seen[last]) / of(self.seen[first])) / math.log(last / first)


async def _steps(stage: World, n: int, work: Work) -> None:
    with work.measured(stage):
        await stage.call("Bench/steps", n)


async def _messages(stage: World, n: int, work: Work) -> None:
    with work.measured(stage):
        await stage.call("Bench/sends", n)
        await stage.settle()


async def _waiters(stage: World, n: int, work: Work) -> None:
    """n clients attach to one invocation, by its idempotency key, before it ends."""
    engine = stage.process("Cases")
    with work.measured(stage):
        waiting = [
            asyncio.create_task(stage.call("Cases/sleep", 1, "one", engine=engine, patience=60_000)) for _ in range(n)
        ]
        await asyncio.gather(*waiting)


async def _queued(stage: World, n: int, work: Work) -> None:
    with work.measured(stage):
        await stage.call("Cases/objsends", [n, 1])
        await stage.settle()


async def _spread(stage: World, n: int, work: Work) -> None:
    with work.measured(stage):
        await stage.call("Cases/objsends", [n, n])
        await stage.settle()


async def _keys(stage: World, n: int, work: Work) -> None:
    engine = stage.process("Counter")
    with work.measured(stage):
        for number in range(n):
            await stage.call(f"Counter/{number}/add", 1, engine=engine)


async def _live(stage: World, n: int, work: Work) -> None:
    """n sleeping invocations, and then a hundred that have nothing to do with them."""
    for _ in range(n):
        await stage.start("Cases/sleep", 3600)
    with work.measured(stage):
        for _ in range(n):
            await stage.call(f"Counter/{uuid4().hex}/add", 1)


GROWTH: Final = [
    Growth("steps of one invocation", _steps),
    Growth("messages of one invocation", _messages),
    Growth("clients that wait for one invocation", _waiters),
    Growth("invocations queued for one key", _queued),
    Growth("messages of one invocation to keys of their own", _spread),
    Growth("keys", _keys),
    Growth("live invocations beside", _live),
]


async def growth() -> list[dict[str, Any]]:
    """Return the table."""
    settle()
    rows: list[dict[str, Any]] = []
    for each in GROWTH:
        rows.append(await each.measure())
        print(rows[-1], flush=True)
    return rows
