"""What many processes do at once to one item, in time: on a store with DynamoDB's latency and transaction conflicts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from adapter.engine.records import Ref
from adapter.local.conflicts import Conflicts
from bench.cases import FUNCTIONS
from bench.world import PricedStore, World

LATENCY = 0.005
"""Seconds that a request takes."""

PATIENCE = 28_500
"""Milliseconds that a client waits for its answer, as the API's entry does."""


class SlowStore(PricedStore):
    """A store whose requests take their time, and whose transactions collide.

    Args:
        latency: Draws the seconds that a request takes. A transaction is at work on its items for half of them.

    Attributes:
        commits: How many commits it was asked for.
    """

    def __init__(self, latency: Callable[[], float] = lambda: LATENCY) -> None:
        super().__init__(hook=self._travel, conflicts=Conflicts(self._work))
        self._latency = latency
        self.commits = 0

    async def _travel(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        commit = method == "commit"
        self.commits += commit and phase == "before"
        await asyncio.sleep(self._latency() / (4 if commit and len(args[0]) > 1 else 2))

    async def _work(self) -> None:
        await asyncio.sleep(self._latency() / 2)


class Fleet(World):
    """Processes that live on, beside those that each dispatch starts; timers fire when they are due."""

    def __init__(self, store: SlowStore) -> None:
        super().__init__(store, *FUNCTIONS)
        self.commits = lambda: store.commits

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        await super().schedule(ref, name, at)
        meta = await self.store.peek(ref.id)
        if meta is not None:
            target, deployment = meta.target.service, meta.deployment
            asyncio.get_running_loop().call_later(
                max(0, at - self.clock.now()) / 1000,
                lambda: asyncio.ensure_future(self.dispatch(ref, target, deployment, fresh=False)),
            )


@dataclass
class Seen:
    """What one run showed."""

    seconds: float = 0.0
    count: int = 0
    waits: list[float] = field(default_factory=list[float])
    """Seconds until each answer."""
    overtaken: int = 0
    """By how many later calls the unluckiest one was overtaken."""
    tries: float = 0.0
    """Commits for each child."""
    unanswered: int = 0

    def row(self) -> dict[str, Any]:
        """The columns of a table."""
        waits = sorted(self.waits) or [0.0]
        return {
            "s": round(self.seconds, 2),
            "per second": round(self.count / self.seconds, 1) if self.seconds else 0.0,
            "99 % within s": round(waits[int(len(waits) * 0.99) - 1], 2),
            "slowest s": round(waits[-1], 2),
            "overtaken by": self.overtaken,
            "tries": round(self.tries, 2),
            "unanswered": self.unanswered,
        }


@dataclass(frozen=True)
class Contention:
    """A row of the table.

    Attributes:
        name: What many do at once.
        run: Does it.
        least: The least that columns of `Seen.row` should show.
        most: The most that they should show.
        limit: The best figure that we see a way to, if it follows from requests that wait for each other.
    """

    name: str
    run: Callable[[Fleet], Awaitable[Seen]]
    least: Mapping[str, float] = field(default_factory=dict[str, float])
    most: Mapping[str, float] = field(default_factory=dict[str, float])
    limit: str = ""

    def row(self, seen: Seen) -> dict[str, Any]:
        """Return the row: its target, what was seen, and whether that meets the target. A missing answer does not."""
        row = seen.row()
        least = (row[column] >= limit for column, limit in self.least.items())
        most = (row[column] <= limit for column, limit in self.most.items())
        met = "yes" if all((*least, *most, not seen.unanswered)) else "no"
        return {
            "case": self.name,
            "limit": self.limit,
            "target": self._target,
            **row,
            "met": met if self._target else "",
        }

    @property
    def _target(self) -> str:
        least = (f"{column} ≥ {limit:g}" for column, limit in self.least.items())
        return ", ".join((*least, *(f"{column} ≤ {limit:g}" for column, limit in self.most.items())))


def _one_key(processes: int, calls: int) -> Callable[[Fleet], Awaitable[Seen]]:
    async def run(fleet: Fleet) -> Seen:
        key, seen = uuid4().hex, Seen(count=processes * calls)
        answers: list[tuple[float, int]] = []

        async def client() -> None:
            engine = fleet.process("Counter")
            for _ in range(calls):
                asked = time.perf_counter()
                try:
                    total = await fleet.call(f"Counter/{key}/add", 1, engine=engine, patience=PATIENCE)
                except AssertionError:
                    seen.unanswered += 1
                    continue
                seen.waits.append(time.perf_counter() - asked)
                answers.append((asked, total))

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(processes)))
        seen.seconds = time.perf_counter() - began
        seen.overtaken = _overtaken(answers)
        await fleet.settle()
        return seen

    return run


def _overtaken(answers: list[tuple[float, int]]) -> int:
    """Return the most calls that were asked for after a call and applied before it.

    Args:
        answers: When each call was asked for, and its place among those applied.
    """
    places = [place for _, place in sorted(answers)]
    return max((sum(later < place for later in places[at + 1 :]) for at, place in enumerate(places)), default=0)


async def _messages(fleet: Fleet) -> Seen:
    began = time.perf_counter()
    await fleet.call("Cases/objsends", [1000, 1], patience=600_000)
    await fleet.settle()
    return Seen(time.perf_counter() - began, 1000)


async def _fan_in(fleet: Fleet) -> Seen:
    before, began = fleet.commits(), time.perf_counter()
    await fleet.send("Cases/far", 1000)
    # A child begins with an UpdateItem, and ends with a commit; its caller makes a hundred children in each commit.
    return Seen(time.perf_counter() - began, 1000, tries=(fleet.commits() - before) / 1000)


CONTENTION = [
    Contention("one key, 1 process, 50 calls", _one_key(1, 50)),
    Contention("one key, 4 processes, 25 calls each", _one_key(4, 25)),
    Contention(
        "one key, 8 processes, 25 calls each", _one_key(8, 25), least={"per second": 100}, most={"99 % within s": 1}
    ),
    Contention("one key, 60 processes, 1 call each", _one_key(60, 1), most={"slowest s": 5}),
    # An owner reads and completes 48 messages at a time, in 63 requests. They wait for each other and for 23 commits.
    Contention("1,000 messages to one key", _messages, most={"s": 5}, limit=f"s {86 * LATENCY:g}"),
    # A commit makes 100 children, and another completes 25.
    Contention("fan-in of 1,000 remote calls", _fan_in, most={"tries": 2, "s": 3}, limit="tries 0.05"),
]
"""DESIGN's rows of time and scale, with 5 ms for each request to the store. Few processes have no target: each
client waits for its answer before it calls again, so their rate is that of the requests to the store."""
