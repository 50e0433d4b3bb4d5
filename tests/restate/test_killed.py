"""A runtime that is killed while it runs handlers of an SDK: the next one goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from adapter.local.server import SWEEP_DYNAMODB
from tests.pace import slowness
from tests.restate.hosting import Hosted, tables
from tests.restate.serving import served_python
from tests.unit.dev import Dev

INVOCATIONS, STEPS, BEFORE = 20, 20, 5
"""The invocations, the steps of each, and how many steps of each end before the runtime is killed."""

WORK = 30
"""Seconds that are plenty for the next runtime to start and to make the steps that are left, at this machine's pace."""

MODULE = f"""
import asyncio, os
import restate

counting = restate.Service("Counting")

@counting.handler()
async def count(ctx: restate.Context) -> list[int]:
    return [await ctx.run_typed(f"step {{n}}", written(ctx.request().id, n)) for n in range({STEPS})]

def written(invocation, n):
    async def run():
        with open("steps", "a") as file:
            file.write(f"{{invocation}} {{n}}\\n")
        if n == {BEFORE} and os.path.exists("hangs"):
            await asyncio.Event().wait()
        return n
    return run

app = restate.app(services=[counting])
"""

LEASES = """
from adapter import Service, handler, Context
from adapter.engine import process

process.LEASE = {lease}

class Beside(Service):
    @handler
    async def echo(self, ctx: Context, it: str) -> str:
        return it
"""
"""A module that sets the length of the runtime's leases, in milliseconds. The next runtime waits for them on DynamoDB,
where another process could hold them. On a file it ends them at its start."""


async def run_and_kill(begin: Callable[[], Dev], directory: Path) -> tuple[list[str], float]:
    """Run invocations until each has a step that does not end. Kill the runtime, and return their ids, and when."""
    hangs, log = directory / "hangs", directory / "steps"
    hangs.touch()
    runtime = begin()
    try:
        async with httpx.AsyncClient(base_url=runtime.url, timeout=120) as http:
            runtime.drain()
            ids = [await Hosted(http).send("Counting/count") for _ in range(INVOCATIONS)]
        end = time.monotonic() + 240
        while not log.exists() or len(log.read_text().splitlines()) < INVOCATIONS * (BEFORE + 1):
            assert runtime.process.poll() is None, "the runtime ended"
            assert time.monotonic() < end, "the runtime has not made its steps"
            await asyncio.sleep(0.01)
    finally:
        runtime.process.kill()
        killed = time.monotonic()
        runtime.stop()
        hangs.unlink()
    return ids, killed


@pytest.mark.parametrize(
    "how", ["in its process, on a file", pytest.param("an endpoint, on dynamodb", marks=pytest.mark.dynamodb)]
)
async def test_a_runtime_is_killed_in_the_middle_of_400_steps(
    how: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "counting.py").write_text(MODULE)
    with ExitStack() as stack:
        if how == "in its process, on a file":
            lease = 86_400_000  # the test would not end if the next runtime waited for it
            arguments, environment = ["--persist", "state.db", "counting", "leases"], {}
        else:
            lease = 5_000
            endpoint = stack.enter_context(served_python("counting:app", directory=tmp_path))
            arguments = ["--endpoint", endpoint.url, "leases"]
            environment = {"AWS_ENDPOINT_URL": request.getfixturevalue("emulated"), **tables()}
        (tmp_path / "leases.py").write_text(LEASES.format(lease=lease))

        def begin() -> Dev:
            return Dev(tmp_path, "--no-reload", *arguments, environment=environment)

        pace = slowness(time.monotonic)
        ids, killed = await run_and_kill(begin, tmp_path)
        runtime = begin()
        try:
            async with httpx.AsyncClient(base_url=runtime.url, timeout=240) as http:
                runtime.drain()
                host = Hosted(http)
                outputs = await asyncio.gather(*(host.attach(id) for id in ids))
                took = time.monotonic() - killed
                attempts = [(await host.admin(id))["attempts"] for id in ids]
        finally:
            runtime.stop()
    if how == "an endpoint, on dynamodb":
        limit = (lease / 1000 + SWEEP_DYNAMODB + WORK) * max(pace, slowness(time.monotonic))
        assert took < limit, f"the last answer came {took:.0f} s after the kill, and {limit:.0f} s are enough"
    assert outputs == [list(range(STEPS))] * INVOCATIONS
    assert attempts == [2] * INVOCATIONS
    ran = Counter((tmp_path / "steps").read_text().splitlines())
    assert len(ran) == INVOCATIONS * STEPS
    again = Counter(line.split()[0] for line, times in ran.items() if times > 1)
    assert len(again) == INVOCATIONS
    assert set(again.values()) == {1}, "of each invocation, only the step that was under way runs again"
    assert max(ran.values()) == 2
