"""One process: its clock and deadline, the work that it does in the background, and the sessions that run in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from adapter.engine.ports import Clock
from adapter.engine.records import Notification, Ref
from adapter.engine.transitions import GRACE, MARGIN, Times

T = TypeVar("T")

log = logging.getLogger("adapter")

LEASE = 60_000
"""Milliseconds of an attempt's lease in a process without a deadline."""


class Repeat(StrEnum):
    """What repeats background work if it fails, or if its process ends first."""

    DISPATCH = "the due time of a ready record, which ends a dispatch's grace"
    LEASE = "the due time of a running record, which ends its attempt's lease"
    TIMER = "the due time of a record, which a timer or this process only meets sooner"
    WAITERS = "the due time of a completed record, which comes at once while it has waiters"
    CHECK = "the due time of a waiting record, at which the sweeper checks it"
    KEY = "the grant of a key: then at the latest the stored cancellation reaches the invocation"
    RENEWAL = "the due time of a record whose items are to be kept for longer"
    LOAD = "the next load of the record, which meets the same items"
    SWEEP = "the next sweep"
    NOTHING = "nothing: a timer that is left fires in vain"


class Receiver(Protocol):
    """A session, as the rest of its process sees it."""

    def on_notification(self, notification: Notification) -> None:
        """Accept a notification that was committed."""

    def expect_notifications(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""

    def wake(self, id: str) -> None:
        """Read the store again soon. If the invocation is about to be suspended, resume it after that."""

    def reconsider(self) -> None:
        """Decide again what to do next."""


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
        self.now = clock.now
        """Returns the time, in milliseconds since the epoch."""
        self.deadline: int | None = None
        self.active: dict[str, Receiver] = {}
        self.steps = 0
        self._moment = 0
        self._answered = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- time ---

    def moment(self, after: int = 0) -> int:
        """Return the time in microseconds. It is later than ``after``, and later than any time returned before."""
        self._moment = max(self.now() * 1000, self._moment + 1)
        return max(self._moment, after + 1)

    def remaining(self) -> int:
        """Return the milliseconds until this process is stopped."""
        return 3_600_000 if self.deadline is None else self.deadline - self.now()

    def may_wait(self) -> int:
        """Return for how many milliseconds this process may wait for what it could leave to another."""
        return 0 if self._answered.is_set() else self.remaining()

    def answer(self) -> None:
        """Take note that a client's answer is ready. In a Lambda function the client gets it only when all work here
        has ended, so nothing is waited for until then."""
        if self.deadline is not None:
            self._answered.set()
            for session in {id(session): session for session in self.active.values()}.values():
                session.reconsider()

    async def wait_for_time(self, at: int) -> bool:
        """Wait until a time. Return False if the process may not wait so long."""
        return at - self.now() <= self.may_wait() and not await self.wait(self._answered, at)

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
        if not signal.is_set():
            await asyncio.sleep(0)  # for what ends at once, no sleep is begun and cancelled
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

    def spawn(self, work: Coroutine[Any, Any, Any], *, repeated_by: Repeat) -> asyncio.Task[Any]:
        """Run work in the background. `drain` waits for it. An error that it raises is logged.

        Args:
            work: The work.
            repeated_by: What repeats the work if it fails, or if this process ends first.
        """

        async def guarded() -> None:
            try:
                await work
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                log.exception("background work failed; it is repeated by %s", repeated_by)
                if not isinstance(error, Exception):
                    raise

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # else work that is cancelled before it begins is never awaited
        return task

    async def persist(self, work: Coroutine[Any, Any, T], *, repeated_by: Repeat) -> T:
        """Run work to its end even if the caller is cancelled. `drain` waits for it.

        An error that it raises is logged if no caller waits for it any more.

        Args:
            work: The work.
            repeated_by: See `spawn`.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda _: _report(task, repeated_by))
            raise

    async def drain(self) -> None:
        """Wait until all that was begun in this process has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._answered.clear()

    def abort(self) -> None:
        """Drop all that was begun in this process, as a crash would."""
        for task in self._tasks:
            task.cancel()


def _report(task: asyncio.Task[Any], repeated_by: Repeat) -> None:
    """Log why background work failed for which no caller waits any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background work failed; it is repeated by %s", repeated_by, exc_info=error)
