"""Several operations that a program waits for together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter import combinators
from adapter.errors import TerminalError
from tests.simulation import calls
from tests.simulation.plan import Op
from tests.simulation.values import digest

if TYPE_CHECKING:
    from tests.simulation.program import Program


async def fan(program: Program, op: Op, path: str) -> None:
    """Start calls, and then wait for each in turn."""
    started = [(branch[0], calls.start(program, branch[0], path)) for branch in op.branches]
    for inner, call in started:
        await calls.result(program, inner, path, call)


async def select(program: Program, op: Op, path: str) -> None:
    """Wait for the first of several, and perhaps for the others."""
    pendings = await program.operations(op, path)
    won = await program.first(pendings)
    program.see(path, "selected", won)
    if [pending.done for pending in pendings].index(True) != won:
        program.world.violation(f"{program.attempt.id} was given operation {won} at {path}, which is not the first")
    await program.end(op.branches[won][0], f"{path}/{won}.0", pendings[won])
    for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
        if number != won and op.how == "await":
            await program.end(branch[0], f"{path}/{number}.0", pending)
        elif number != won and branch[0].how == "cancelled":
            await program.cancel(pending)
            program.see(f"{path}/{number}.0", "cancels")


async def as_completed(program: Program, op: Op, path: str) -> None:
    """Look at each of several as it completes."""
    pendings = await program.operations(op, path)
    left = list(range(len(pendings)))
    async for pending in combinators.as_completed(*pendings):
        number = pendings.index(pending)
        program.see(path, "completed", number)
        left.remove(number)
        await program.end(op.branches[number][0], f"{path}/{number}.0", pending)
    if left:
        program.world.violation(f"{program.attempt.id} did not see {left} of {path} complete")


async def all_of(program: Program, op: Op, path: str) -> None:
    """Wait for all of several, or the first that fails, and then for each."""
    pendings = await program.operations(op, path)
    try:
        await program.together(pendings)
    except TerminalError as error:
        program.see(path, "gathered", digest(error.message))
    for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
        await program.end(branch[0], f"{path}/{number}.0", pending)


async def timeout(program: Program, op: Op, path: str) -> None:
    """Wait for something for so long at most, and perhaps for longer after all."""
    inner, at = op.branches[0][0], f"{path}/0.0"
    pending = await program.begin(inner, at)
    try:
        program.world.waits.works(program.ref, op.n / 1000)
        with program.world.runs.within(program, path, op.n / 1000):
            await asyncio.wait_for(asyncio.shield(pending) if op.how == "shield" else pending, op.n / 1000)
    except TimeoutError:
        program.see(path, "timeout")
        if not op.how:
            return
    except TerminalError as error:
        program.see(path, "ended", digest(error.message))
    await program.end(inner, at, pending)
