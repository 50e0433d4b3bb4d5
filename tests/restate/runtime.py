"""A runtime in a process of its own, which a test kills: it begins invocations, says their ids, and runs them.

    python -m tests.restate.runtime LOG INVOCATIONS

Its steps write a line each to the log. After some of them no step ends any more.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import restate

from adapter.engine import process
from adapter.local.dynamodb import open_dynamodb
from adapter.restate.apps import AppEndpoint
from tests.restate.hosting import hosted

STEPS = 20
"""The steps of an invocation."""

LEASE = 2000
"""Milliseconds after which another process takes over what a killed one ran."""

STEPS_BEFORE = 100
"""The steps that end before the process is killed."""

ending = True
"""Whether steps end whatever their number."""

began = 0
"""The steps that this process has begun."""

counting = restate.Service("Counting")


@counting.handler()
async def count(ctx: restate.Context, log: str) -> list[int]:
    return [await ctx.run_typed(f"step {n}", written(log, ctx.request().id, n)) for n in range(STEPS)]


def written(log: str, invocation: str, n: int) -> Callable[[], Awaitable[int]]:
    async def run() -> int:
        global began
        _write(Path(log), f"{invocation} {n}\n")
        began += 1
        if began > STEPS_BEFORE and not ending:
            await asyncio.Event().wait()
        return n

    return run


def _write(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line)


def endpoint() -> AppEndpoint:
    """Return the way to the handlers."""
    return AppEndpoint(restate.app(services=[counting]))


async def main(log: str, invocations: int) -> None:
    """Run invocations until killed."""
    global ending
    process.LEASE, ending = LEASE, False
    async with hosted(endpoint(), store=open_dynamodb(os.environ["AWS_ENDPOINT_URL"])) as host:
        for _ in range(invocations):
            print(await host.send("Counting/count", log), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
