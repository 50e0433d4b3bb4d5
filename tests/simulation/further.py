"""What handlers do beyond the engine's commands: batches, polls, ``finally`` blocks, errors that ask to wait.

- ``later``: an attempt fails, and the error says when to try again.
- ``finally``: a step in a ``finally`` block. It has no effect when a suspended handler is dropped.
- ``poll``: a step is repeated until its result is as wanted (`Context.wait_until`).
- ``map``: pieces of work, only so many at a time, some of which may fail (`map_items`).
- ``asks``: a step fails, and its error says when to try again.
- ``beats``: an awakeable that fails when no heartbeat arrives in time.
- ``defers``: deferred steps in a row, or at the same time. A process may end between two of them.
- ``turn``: the time says which of two ways a handler goes (`tests.simulation.moments`).

In half of these runs a codec encodes all values of handlers and clients (`Nonces`), and some restarts begin with the
results of the first commands (`plan.Act.first`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from adapter.batches import map_items
from adapter.context import Context
from adapter.engine import commands as c
from adapter.engine.ids import heartbeat, parse_awakeable
from adapter.engine.pending import Pending
from adapter.engine.records import Ref
from adapter.engine.types import Outcome, RetryPolicy
from adapter.errors import RetryableError, TimedOutError

if TYPE_CHECKING:
    from adapter.engine.engine import Engine
    from tests.simulation.plan import Op
    from tests.simulation.process import Process
    from tests.simulation.program import Program
    from tests.simulation.world import World

CERTAIN = 20_000
"""Milliseconds of a time-out that heartbeats keep from ending where nothing goes wrong: they are noticed in 3 s."""

BETWEEN = 10
"""How much more often a process ends in a deferred step than at a request."""


class Nonces:
    """A codec that encodes a value differently each time."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def encode(self, data: bytes, /) -> bytes:
        """Put random bytes in front, and turn the data around."""
        return self._random.randbytes(3) + data[::-1]

    def decode(self, data: bytes, /) -> bytes:
        """Decode what `encode` returned."""
        return data[:2:-1]


async def perform(program: Program, op: Op, path: str) -> None:
    """Do what an operation says."""
    match op.kind:
        case "later":
            if program.world.runs.stumbles(program.attempt.id, path, op.times):
                program.world.waits.fails(program.ref)
                program.world.waits.works(program.ref, op.n / 1000)
                program.world.runs.failed_at.setdefault(_attempt(program), program.process.engine.process.now())
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
        case "asks":
            program.see(path, "asked", await _ask(program, op, path))
        case "beats":
            await _beats(program, op, path)
        case "defers" if op.how == "gather":
            steps = [await program.begin(branch[0], f"{path}/{n}.0") for n, branch in enumerate(op.branches)]
            for n, (step, branch) in enumerate(zip(steps, op.branches, strict=True)):
                await program.end(branch[0], f"{path}/{n}.0", step)
        case "turn":
            way = await program.issue(c.Now()) % 2
            program.see(path, "turns", way)
            await program.body(op.branches[way], f"{path}/{way}")
        case "defers":
            for n, branch in enumerate(op.branches):
                await program.body(branch, f"{path}/{n}")
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
        times = world.runs.polls.setdefault((ref, path), [])
        smooth = not world.faulty and not world.lambdas
        # The clock that the wait ends by may be another process's than that which it began by.
        if times and smooth and world.loop.time() - times[-1] < op.n / 1000 - world.disagreement - 0.002:
            world.violation(f"{ref.id} asks again at {path} after {world.loop.time() - times[-1]} s, not {op.n} ms")
        times.append(world.loop.time())
        return len(times)

    world.waits.works(ref, op.times * (op.n / 1000 + 1))
    every = RetryPolicy(timedelta(milliseconds=op.n), factor=1)
    found = await Context(program.issuer).wait_until("poll", look, until=lambda count: count >= op.times, every=every)
    program.see(path, "polled", found)
    if found < op.times:
        world.violation(f"{ref.id} is told {found} at {path}, and waits for {op.times}")


async def between(process: Process) -> None:
    """Let the process end in a deferred step, where it makes no request."""
    if process.world.chance(BETWEEN * process.world.faults.kill):
        process.kill("in a deferred step")
    await process.gate()


def _smooth(world: World) -> bool:
    return not world.faulty and not world.lambdas and not world.operators.acted


def _attempt(program: Program) -> tuple[Ref, int]:
    return program.ref, max(program.attempt.meta.epoch, 1)


async def _ask(program: Program, op: Op, path: str) -> Any:
    """Run a step that fails a few times, and asks to wait."""
    world, ref = program.world, program.ref
    operation: list[Pending[Any]] = []
    seen = list(program.trace)
    alone = not any(other.times for other in world.plan.reached(program.node.id) if other is not op)

    async def closure() -> bytes:
        number = world.runs.step_begins(program, operation[0].n, path, seen, "")
        early = world.runs.asked_until.get((ref, path), 0.0) - world.loop.time()
        if early > 0.002 + world.disagreement and alone and _smooth(world) and not world.store.is_cancelled(ref):
            world.violation(f"{ref.id} tries its step at {path} again {early} s before the time that it asked for")
        await program.process.work(0)
        if world.runs.stumbles(program.attempt.id, path, op.times):
            world.runs.step_fails(program, operation[0].n)
            world.waits.fails(ref)
            world.waits.works(ref, op.n / 1000)
            world.runs.failed_at[_attempt(program)] = program.process.engine.process.now()
            world.runs.asked_until[ref, path] = world.loop.time() + op.n / 1000
            raise RetryableError(f"{path} asks to wait {op.n}", retry_after=timedelta(milliseconds=op.n))
        world.runs.finished.add((ref, path))
        return to_json(f"{program.node.id}{path}#{number}")

    retry = RetryPolicy(timedelta(milliseconds=20), attempts=None) if op.how == "retry" else None
    operation.append(program.issue(c.Run("ask", closure, retry)))
    return await operation[0]


async def _beats(program: Program, op: Op, path: str) -> None:
    """Wait for an awakeable whose heartbeats come in time, and then its value, or then nothing."""
    world, ref = program.world, program.ref
    since = world.runs.watched.setdefault((ref, path), world.loop.time())
    world.waits.works(ref, (op.times + 1) * op.n / 1000)
    awakeable = Context(program.issuer).awakeable(heartbeat=timedelta(milliseconds=op.n))

    async def closure() -> bytes:
        await program.process.work(0)
        world.outsiders.attend(ref, path, _attend(world, awakeable.id, op, path))
        return b""

    await program.issue(c.Run("tell", closure))
    try:
        value = await awakeable
    except TimedOutError:
        program.see(path, "timed out")
        waited = world.loop.time() - since
        if waited < op.n / 1000 - world.disagreement - 0.002 and not program.attempt.meta.copied:
            world.violation(f"{ref.id} is told after {waited} s that no heartbeat came in {op.n} ms, at {path}")
        smooth = _smooth(world) and world.jitter <= 0.02 and not world.conflict
        if op.how != "silent" and op.n >= CERTAIN and smooth:
            world.violation(f"{ref.id} is told that no heartbeat came, at {path}, and {op.times} did")
        return
    program.see(path, "beaten", value)
    if op.how == "silent" or value != path:
        world.violation(f"{ref.id} is given {value} at {path}")


async def _attend(world: World, awakeable: str, op: Op, path: str) -> None:
    """Send heartbeats, each in half the time, and perhaps the value."""
    parsed = parse_awakeable(awakeable)
    assert parsed is not None
    id = parsed[0].id

    def beat(engine: Engine) -> Coroutine[Any, Any, Any]:
        return engine.outbound.signal(id, heartbeat(awakeable), Outcome(b""))

    def complete(engine: Engine) -> Coroutine[Any, Any, Any]:
        return engine.outbound.complete(awakeable, world.coder.outcome(Outcome(to_json(path))))

    for number in range(op.times + 1):
        await asyncio.sleep(op.n / 2000)
        last = number == op.times
        if not last or op.how != "silent":
            world.note(None, "was told", awakeable, await world.clients.insist(complete if last else beat))


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
