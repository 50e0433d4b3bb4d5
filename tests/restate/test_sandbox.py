"""The local sandbox of Lambda handlers: a process that is killed within an answer fails its calls."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adapter.restate.answers import EndpointError
from tests.restate.sandbox import running

HALF = 'import sys; sys.stdin.readline(); sys.stdout.write(\'{"call": 0, "ans\')'


async def test_a_call_whose_answer_is_cut_off_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HALF]
    with running(command, tmp_path) as sandbox, pytest.raises(EndpointError, match="the sandbox has ended"):
        await sandbox(b"{}")
