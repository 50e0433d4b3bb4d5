"""The tasks of a program, as asyncio has them: each runs a branch of it."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from adapter.errors import TerminalError
from tests.simulation.plan import Op
from tests.simulation.values import digest

if TYPE_CHECKING:
    from tests.simulation.program import Program


async def gather(program: Program, op: Op, path: str) -> None:
    """Run branches at the same time, or each when it is let in."""
    run = program.body
    if op.how == "locked":
        run = partial(_locked, program, asyncio.Semaphore(1 + program.node.id % 2))
    branches = [run(branch, f"{path}/{number}") for number, branch in enumerate(op.branches)]
    if op.how == "group":  # whose tasks are cancelled when one fails
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch) for branch in branches]
        except BaseExceptionGroup as errors:
            if sys.version_info < (3, 13) and vars(group)["_parent_cancel_requested"]:
                # The group has cancelled this task and not taken it back. A later deadline would not end as one.
                cast("asyncio.Task[Any]", asyncio.current_task()).uncancel()
            program.see(path, "grouped", [task.cancelled() for task in tasks])
            _raise_first(errors.exceptions)
        return
    results = await asyncio.gather(*branches, return_exceptions=True)
    program.see(path, "gathered", [isinstance(result, BaseException) for result in results])
    _raise_first(results)


async def _locked(program: Program, lock: asyncio.Semaphore, ops: tuple[Op, ...], path: str) -> None:
    async with lock:
        program.see(path, "locks")
        await program.body(ops, path)


async def race(program: Program, op: Op, path: str) -> None:
    """Run branches at the same time, and look at each that is done."""
    names = [f"{path}/{number}" for number in range(len(op.branches))]
    tasks = [asyncio.create_task(program.body(b, name)) for b, name in zip(op.branches, names, strict=True)]
    left = set(tasks)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        program.see(path, "done", sorted(tasks.index(task) for task in done))
    results = [task.exception() for task in tasks]
    _raise_first(results)


async def shielded(program: Program, op: Op, path: str) -> None:
    """Wait for shielded branches, and look at them in the order of the set in which asyncio returns them."""
    names = [f"{path}/{number}" for number in range(len(op.branches))]
    tasks = [asyncio.create_task(program.body(b, name)) for b, name in zip(op.branches, names, strict=True)]
    futures = [asyncio.shield(task) for task in tasks]
    done, _ = await asyncio.wait(futures)
    program.see(path, "done", [futures.index(future) for future in done])
    _raise_first([future.exception() for future in futures])


async def stray(program: Program, op: Op, path: str) -> None:
    """Leave a task alone, which the handler's end may cut short, or cancel it."""
    task = asyncio.create_task(program.body(op.branches[0], f"{path}/0"))
    if op.n:
        await program.sleep(op.n)
    if op.how == "cancel":
        task.cancel()
        await asyncio.wait({task})
        program.see(path, "stopped", task.cancelled())


async def deadline(program: Program, op: Op, path: str) -> None:
    """Run a branch for so long at most."""
    try:
        program.world.waits.works(program.ref, op.n / 1000)
        with program.world.runs.within(program, path, op.n / 1000):
            async with asyncio.timeout(op.n / 1000):
                await program.body(op.branches[0], f"{path}/0")
    except TimeoutError:
        program.see(path, "out of time")
    except TerminalError as error:
        program.see(path, "went on", digest(error.message))


def _raise_first(results: Any) -> None:
    """What is no terminal error comes first: it is not the end of the invocation."""
    errors = [result for result in results if isinstance(result, BaseException)]
    errors.sort(key=lambda error: isinstance(error, TerminalError))
    for error in errors:
        raise error
