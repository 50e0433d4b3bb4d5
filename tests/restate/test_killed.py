"""A runtime that is killed while it runs handlers of an SDK: the next one goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.restate.hosting import Hosted
from tests.unit.dev import Dev

INVOCATIONS, STEPS, BEFORE = 20, 20, 100
"""The invocations, the steps of each, and how many steps end before the runtime is killed."""

MODULE = f"""
import asyncio, os
import restate

counting = restate.Service("Counting")
began = 0

@counting.handler()
async def count(ctx: restate.Context) -> list[int]:
    return [await ctx.run_typed(f"step {{n}}", written(ctx.request().id, n)) for n in range({STEPS})]

def written(invocation, n):
    async def run():
        global began
        with open("steps", "a") as file:
            file.write(f"{{invocation}} {{n}}\\n")
        began += 1
        if began > {BEFORE} and "HANGS" in os.environ:
            await asyncio.Event().wait()
        return n
    return run

app = restate.app(services=[counting])
"""


def begin(directory: Path, **environment: str) -> Dev:
    return Dev(directory, "--no-reload", "--persist", "state.db", "counting", environment=environment)


async def run_and_kill(directory: Path) -> list[str]:
    """Run invocations until each has a step that does not end. Kill the runtime, and return their ids."""
    runtime, log = begin(directory, HANGS="yes"), directory / "steps"
    try:
        async with httpx.AsyncClient(base_url=runtime.url, timeout=120) as http:
            ids = [await Hosted(http).send("Counting/count") for _ in range(INVOCATIONS)]
        end = time.monotonic() + 120
        while not log.exists() or len(log.read_text().splitlines()) < BEFORE + INVOCATIONS:
            assert runtime.process.poll() is None, "the runtime ended"
            assert time.monotonic() < end, "the runtime has not made its steps"
            await asyncio.sleep(0.01)
    finally:
        runtime.process.kill()
        runtime.stop()
    return ids


async def test_a_runtime_is_killed_in_the_middle_of_400_steps(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(MODULE)
    ids = await run_and_kill(tmp_path)
    runtime = begin(tmp_path)
    try:
        async with httpx.AsyncClient(base_url=runtime.url, timeout=120) as http:
            outputs = [await Hosted(http).attach(id) for id in ids]
    finally:
        runtime.stop()
    assert outputs == [list(range(STEPS))] * INVOCATIONS
    ran = Counter((tmp_path / "steps").read_text().splitlines())
    assert len(ran) == INVOCATIONS * STEPS
    again = Counter(line.split()[0] for line, times in ran.items() if times > 1)
    assert len(again) == INVOCATIONS
    assert set(again.values()) == {1}, "of each invocation, only the step that was under way runs again"
