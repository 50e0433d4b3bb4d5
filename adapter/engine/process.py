"""One process: its clock and deadline, the work that it does in the background, and the sessions that run in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from adapter.engine.ports import Clock
from adapter.engine.records import Notification, Ref
from adapter.engine.transitions import GRACE, MARGIN, Times

T = TypeVar("T")

log = logging.getLogger("adapter")

LEASE = 60_000
"""Milliseconds of an attempt's lease in a process without a deadline."""


class Receiver(Protocol):
    """A session, as the rest of its process sees it."""

    def on_notification(self, notification: Notification) -> None:
        """Accept a notification that was committed."""

    def expect_notifications(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""

    def wake(self, id: str) -> None:
        """Read the store again soon. If the invocation is about to be suspended, resume it after that."""


class Process:
    """A process.

    Args:
        clock: Its clock.

    Attributes:
        active: The sessions, by the ids of the invocations that they run.
        deadline: When the process is stopped, in milliseconds since the epoch; ``None``: never.
        steps: The number of steps that run.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline: int | None = None
        self.active: dict[str, Receiver] = {}
        self.steps = 0
        self._moment = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- time ---

    def now(self) -> int:
        """Return the time, in milliseconds since the epoch."""
        return self.clock.now()

    def moment(self, after: int = 0) -> int:
        """Return the time in microseconds. It is later than ``after``, and later than any time returned before."""
        self._moment = max(self.now() * 1000, self._moment + 1)
        return max(self._moment, after + 1)

    def remaining(self) -> int:
        """Return the milliseconds until this process is stopped."""
        return 3_600_000 if self.deadline is None else self.deadline - self.now()

    def times(self) -> Times:
        """Return the due times for a commit that is made now."""
        now = self.now()
        lease = now + LEASE if self.deadline is None else max(self.deadline, now) + MARGIN
        return Times(now, lease, now + GRACE)

    async def first(self, future: asyncio.Future[Any], until: int) -> None:
        """Wait for a future, or for a time."""
        sleep = asyncio.ensure_future(self.clock.sleep(max(0, until - self.now()) / 1000))
        try:
            await asyncio.wait({future, sleep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()

    async def wait(self, signal: asyncio.Event, until: int | None) -> bool:
        """Wait for the signal, or for a time in milliseconds. Return True if it was the signal."""
        if until is None or signal.is_set():
            await signal.wait()
            return True
        task = asyncio.ensure_future(signal.wait())
        try:
            await self.first(task, until)
        finally:
            task.cancel()
        return signal.is_set()

    # --- background work ---

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work in the background. `drain` waits for it."""

        async def guarded() -> None:
            try:
                await work
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                log.exception("background work failed; what it was for is due again later")
                if not isinstance(error, Exception):
                    raise

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def persist(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end even if the caller is cancelled. `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    async def drain(self) -> None:
        """Wait until all that was begun in this process has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def abort(self) -> None:
        """Drop all that was begun in this process, as a crash would."""
        for task in self._tasks:
            task.cancel()


def _report(task: asyncio.Task[Any]) -> None:
    """Log why background work failed for which no caller waits any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background work failed; what it was for is due again later", exc_info=error)
