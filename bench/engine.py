"""The CPU of the engine: what a step, a call and an object call cost in a process that has served before.

All runs in one process, with the store in memory: context, engine, store and asyncio. Its garbage collector is set up
as in each process that serves.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any, Final

from adapter.garbage import settle
from adapter.local.memory import MemoryStore
from bench.services import Bench, Counter
from bench.world import World

WORK: Final[Sequence[tuple[str, str, object, str, int, float | None]]] = (
    ("a handler without steps", "Bench/greet", "x", "", 1, None),
    ("a step", "Bench/steps", 100, "Bench/greet", 100, 0.1),
    ("a call to a service", "Bench/calls", 90, "Bench/greet", 90, None),
    ("an exclusive object call", "Counter/k/add", 1, "", 1, None),
)
"""Of each row: what it measures; a handler that does it and its input; a handler that does all but that; how often the
first one does it; the target in milliseconds."""


def engine_cpu(repeat: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of CPU of each; the fastest of several times."""
    return asyncio.run(_measure(repeat))


async def _measure(repeat: int) -> list[dict[str, Any]]:
    settle()
    world = World(MemoryStore(), (Bench, Counter))
    engine = world.process("Bench")
    rows: list[dict[str, Any]] = []

    async def cpu(path: str, input: object, times: int) -> float:
        fastest = float("inf")
        for _ in range(repeat):
            gc.collect()
            began = time.process_time()
            for _ in range(times):
                await world.call(path, input, engine=engine)
            fastest = min(fastest, (time.process_time() - began) / times * 1000)
        return fastest

    for name, path, input, base, count, target in WORK:
        taken = await cpu(path, input, 1 + 200 // count)
        besides = await cpu(base, "x", 200) if base else 0.0
        rows.append(
            {"work": name, "target ms": "" if target is None else target, "CPU ms": round((taken - besides) / count, 3)}
        )
    return rows
