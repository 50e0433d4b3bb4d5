"""A program's steps: how long they take, how often they fail, and how they are cut short."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zlib import crc32

from adapter.engine import commands as c
from adapter.engine.pending import Pending
from adapter.engine.types import RetryPolicy
from adapter.errors import TerminalError
from tests.simulation import edges, further
from tests.simulation.plan import Op
from tests.simulation.values import Hiccup, Unprintable, encode

if TYPE_CHECKING:
    from tests.simulation.program import Program

BASE = (KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit, Unprintable)
"""Unusual errors that a step raises: four that are no ``Exception``, and one without a text. The step fails as with any
other."""


def start(program: Program, op: Op, path: str) -> Any:
    """Start a step."""
    initial = timedelta(milliseconds=3000 if op.n == 100 else 20)
    retry = RetryPolicy(initial, attempts=None) if op.how == "retry" else None
    if op.how == "exhaust":
        limited = program.node.id % 2
        retry = RetryPolicy(initial, attempts=2) if limited else RetryPolicy(initial, duration=timedelta(seconds=1))
    operation: list[Pending[Any]] = []
    seen = list(program.trace)

    async def closure() -> bytes:
        number = program.step_begins(operation[0], path, seen, op.how)
        program.world.waits.runs_step(program.ref, op.n / 1000)
        if op.how == "defer" and "further" in program.world.reach:
            await further.between(program.process)
        began = program.world.loop.time()
        try:
            if op.how == "slow" and program.world.runs.stumbles(program.attempt.id, path, op.times):
                await edges.outlast(program, began)
            await program.process.work(op.n / 1000)
            for _ in range(program.world.random.randrange(16)):  # what ends at one time ends in any order
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if edges.is_aborted(program, began):
                program.world.waits.fails(program.ref)
                program.step_fails(operation[0])
            elif op.how != "defer":  # which may be run again
                program.step_is_cut(operation[0])
            raise
        if op.how == "exhaust":
            program.world.waits.works(program.ref, 10)
            program.world.runs.stumbles(program.attempt.id, path, 0)
            program.step_fails(operation[0])
            raise Hiccup(path)
        if op.how != "slow" and program.world.runs.stumbles(program.attempt.id, path, op.times):
            program.step_fails(operation[0])
            if retry is not None:
                program.world.waits.works(program.ref, 2 * initial.total_seconds() * 2**op.times)
            if op.how == "base":
                program.world.waits.fails(program.ref)
                raise BASE[crc32(path.encode()) % len(BASE)](Hiccup.__doc__)
            program.hiccup(path)
        program.world.runs.finished.add((program.ref, path))
        if op.how == "terminal":
            raise TerminalError(f"step {path}", code=422)
        return encode(f"{program.node.id}{path}#{number}{'~' * op.size}")

    if op.how == "once":
        retry = RetryPolicy.NONE
    run = c.Run(op.name, closure, retry, at_most_once=op.how == "once", deferred=op.how == "defer")
    stored = len(program.attempt.operations) < len(program.attempt._issued)
    operation.append(program.issue(run))
    if op.how == "defer" and not stored:  # what had its number before a rewind is forgotten
        program.step_fails(operation[0])
    return operation[0]
