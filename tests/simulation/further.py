"""What handlers do beyond the engine's commands: batches, polls, ``finally`` blocks, errors that ask to wait.

- ``later``: an attempt fails, and the error says when to try again.
- ``finally``: a step in a ``finally`` block. It has no effect when a suspended handler is dropped.
- ``poll``: a step is repeated until its result is as wanted (`Context.wait_until`).
- ``map``: pieces of work, only so many at a time, some of which may fail (`map_items`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from adapter.batches import map_items
from adapter.context import Context
from adapter.engine.types import RetryPolicy
from adapter.errors import RetryableError

if TYPE_CHECKING:
    from tests.simulation.plan import Op
    from tests.simulation.program import Program


async def perform(program: Program, op: Op, path: str) -> None:
    """Do what an operation says."""
    match op.kind:
        case "later":
            if program.world.stumbles(program.attempt.id, path, op.times):
                program.world.waits.fails(program.ref)
                program.world.waits.works(program.ref, op.n / 1000)
                program.world.failed_at[program.ref] = program.process.engine.process.now()
                raise RetryableError(f"{path} asks to wait {op.n}", retry_after=timedelta(milliseconds=op.n))
        case "finally":
            try:
                await program.body(op.branches[0], f"{path}/0")
            finally:
                await program.body(op.branches[1], f"{path}/1")
        case "poll":
            await _poll(program, op, path)
        case "map":
            await _map(program, op, path)
        case _:
            raise AssertionError(op)


def asked_to_wait(error: str) -> int | None:
    """Return the milliseconds that an error asked to wait for.

    >>> asked_to_wait("RetryableError: .0 asks to wait 1000")
    1000
    """
    found = re.search(r"asks to wait (\d+)$", error)
    return int(found[1]) if found else None


async def _poll(program: Program, op: Op, path: str) -> None:
    world, ref = program.world, program.ref

    async def look() -> int:
        await program.process.work(0)
        times = world.polls.setdefault((ref, path), [])
        smooth = not world.faulty and not world.lambdas
        if times and smooth and world.loop.time() - times[-1] < op.n / 1000 - 0.002:
            world.violation(f"{ref.id} asks again at {path} after {world.loop.time() - times[-1]} s, not {op.n} ms")
        times.append(world.loop.time())
        return len(times)

    world.waits.works(ref, op.times * (op.n / 1000 + 1))
    every = RetryPolicy(timedelta(milliseconds=op.n), factor=1)
    found = await Context(program.attempt).wait_until("poll", look, until=lambda count: count >= op.times, every=every)
    program.see(path, "polled", found)
    if found < op.times:
        world.violation(f"{ref.id} is told {found} at {path}, and waits for {op.times}")


async def _map(program: Program, op: Op, path: str) -> None:
    active = 0

    async def work(number: int) -> int:
        nonlocal active
        active += 1
        if active > op.n:
            program.world.violation(f"{program.ref.id} works on {active} items at {path}, and not on {op.n}")
        try:
            await program.body(op.branches[number], f"{path}/{number}")
        finally:
            active -= 1
        return number

    count = len(op.branches)
    batch = await map_items(range(count), work, max_concurrency=op.n, tolerated_failures=count)
    program.see(path, "mapped", [type(outcome).__name__ for outcome in batch.outcomes])
