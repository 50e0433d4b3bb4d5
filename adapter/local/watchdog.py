"""Warns of code that keeps the event loop from running: everything else stands still meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from types import FrameType
from typing import Final

from adapter.engine.attempt import Attempt
from adapter.local.frames import places

log = logging.getLogger("adapter")

PATIENCE: Final = 0.25
"""Seconds that the loop may take to answer."""

INTERVAL: Final = 0.2
"""Seconds between its checks."""

DEBUGGERS: Final = frozenset({"bdb", "pdb", "pydevd"})


class Watchdog:
    """Watches an event loop from a thread of its own, while its ``with`` block runs. Enter it on that loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stopped = threading.Event()
        self._told: set[str] = set()

    def __enter__(self) -> None:
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            answered = threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                return  # the loop is closed
            if not answered.wait(PATIENCE):
                self._warn(sys._current_frames().get(self._watched))  # pyright: ignore[reportPrivateUsage]
                while not answered.wait(INTERVAL) and not self._stopped.is_set():
                    pass

    def _warn(self, frame: FrameType | None) -> None:
        place = next(places(frame), None)
        if place is None or place in self._told or _is_debugged(frame):
            return
        self._told.add(place)
        attempt = _attempt(frame)
        extra = {} if attempt is None else {"invocation_id": attempt.id, "target": str(attempt.target)}
        log.warning(
            "the code blocks at %s: nothing else runs meanwhile. Put blocking calls into a step with a plain function, "
            "await ctx.run(name, function), which runs in a thread; for time.sleep use await ctx.sleep",
            place,
            extra=extra,
        )


def _attempt(frame: FrameType | None) -> Attempt | None:
    """Return the attempt whose handler code runs in a stack; ``None`` for a step, which runs beside its attempt."""
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, Attempt):
            return found
        frame = frame.f_back
    return None


def _is_debugged(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in DEBUGGERS:
            return True
        frame = frame.f_back
    return False
