"""A runtime that is killed: what it ran is taken over within the lease, and nothing is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from adapter.local.dynamodb import open_dynamodb
from tests.restate.hosting import hosted
from tests.restate.node import ROOT
from tests.restate.runtime import STEPS, STEPS_BEFORE, endpoint

INVOCATIONS = 20


def run_and_kill(log: Path) -> list[str]:
    """Run invocations until each has a step that does not end. Kill the runtime, and return their ids."""
    command = [sys.executable, "-m", "tests.restate.runtime", str(log), str(INVOCATIONS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as runtime:
        try:
            assert runtime.stdout is not None
            ids = [runtime.stdout.readline().strip() for _ in range(INVOCATIONS)]
            assert all(ids), "the runtime ended"
            end = time.monotonic() + 120
            while len(log.read_text().splitlines()) < STEPS_BEFORE + INVOCATIONS:
                assert runtime.poll() is None, "the runtime ended"
                assert time.monotonic() < end, "the runtime has not made its steps"
                time.sleep(0.01)
        finally:
            runtime.kill()
    return ids


@pytest.mark.dynamodb
@pytest.mark.timeout(900)
async def test_a_runtime_is_killed_in_the_middle_of_400_steps(emulated: str, tmp_path: Path) -> None:
    log = tmp_path / "steps"
    log.touch()
    ids = await asyncio.to_thread(run_and_kill, log)
    async with hosted(endpoint(), store=open_dynamodb(emulated), sweep=0.5) as host:
        for id in ids:
            assert await host.attach(id) == list(range(STEPS))
    ran = Counter(log.read_text().splitlines())
    assert len(ran) == INVOCATIONS * STEPS
    again = Counter(line.split()[0] for line, times in ran.items() if times > 1)
    assert set(again.values()) == {1}, "of each invocation, only the step that was under way runs again"
    assert len(again) == INVOCATIONS
