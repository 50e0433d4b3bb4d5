"""What the unit tests share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.dev import Dev


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    running: list[Dev] = []

    def start(*arguments: str, **environment: str) -> Dev:
        running.append(Dev(tmp_path, *arguments, environment=environment))
        return running[-1]

    yield start
    for each in running:
        each.process.terminate()
        each.process.wait(60)
        each.output.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets it be so many seconds later."""
    ahead, monotonic = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(ahead))
    return ahead.append
