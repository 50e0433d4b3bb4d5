"""An event loop in virtual time: waiting costs nothing, and a run is a function of its seed alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """Nothing is ready and nothing is scheduled: whoever waits, waits forever."""


class Runaway(Exception):
    """It goes on and on."""


MOST = 3_000_000
"""Rounds of the loop after which a simulation is given up."""


class _Selector:
    """Instead of waiting for a file or a time, it moves the time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._rounds = 0

    def select(self, timeout: float | None) -> list[Any]:
        self._rounds += 1
        if self._rounds > MOST:
            raise Runaway
        if timeout is None:
            raise Stalled
        if timeout > 0:
            self._loop.now += timeout
        return []

    def close(self) -> None:
        """Nothing is open."""


class SimLoop(asyncio.BaseEventLoop):
    """An event loop whose time passes only when nothing else is left to do.

    Attributes:
        now: Seconds since it began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """No other thread wakes it."""

    def __del__(self) -> None:
        """It holds nothing that had to be closed."""


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time; whatever it left behind is cancelled."""
    loop = SimLoop()
    loop.set_exception_handler(lambda *_: None)
    try:
        return loop.run_until_complete(main)
    finally:
        for _ in range(5):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run_until_complete(_breathe())
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()


async def _breathe() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
