"""How long a session holds its blocked attempts in the process: a client may wait for what comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from adapter.engine import suspensions
from adapter.engine.cycles import Cycles
from adapter.engine.decide import REFRESH_EVERY
from adapter.engine.events import Events
from adapter.engine.execution import Execution
from adapter.engine.notifications import Notifications
from adapter.engine.pending import Pending
from adapter.engine.requests import LEAVE_AFTER, NOBODY, Patience
from adapter.engine.runtime import Runtime
from adapter.engine.transitions import GRACE
from adapter.engine.under_way import UnderWay

DEADLOCK_CHECK: Final = 1000
"""Milliseconds after which a session that waits for calls checks whether they are part of a deadlock."""


class Holding:
    """Holds blocked attempts, and asks the store meanwhile for what they wait for.

    Args:
        runtime: What the session shares with others.
        executions: The executions that run, by their ids.
        under_way: What has begun and has no result yet.
        events: The session's events.
        notifications: Reads the notifications to the executions.
        cycles: Looks for deadlocks.
        patience: How long a client waits for the session's first invocation.
    """

    def __init__(
        self,
        runtime: Runtime,
        executions: Mapping[str, Execution],
        under_way: UnderWay,
        events: Events,
        notifications: Notifications,
        cycles: Cycles,
        patience: Patience,
    ) -> None:
        self._first_poll = runtime.poll
        self._calls = runtime.calls
        self._process = runtime.process
        self._executions = executions
        self._under_way = under_way
        self._events = events
        self._notifications = notifications
        self._cycles = cycles
        # Replayed code is suspended wherever it waits.
        self._patience = NOBODY if runtime.always_replay else patience

    def release(self) -> None:
        """Take note that the client gets its answer from elsewhere."""
        self._patience = NOBODY

    def until(self, progress_at: int) -> int:
        """Return until when attempts are held that have made no progress since a time, in milliseconds."""
        patience = self._patience
        if patience.leaves and not any(map(self._comes_from_elsewhere, self._awaited())):
            return 0
        return min(patience.until, progress_at + self.inactivity())

    def inactivity(self) -> int:
        """Return for how many milliseconds the session stays without progress at most."""
        longest = suspensions.inactivity(self._executions.values())
        return min(longest, LEAVE_AFTER) if self._patience.leaves else longest

    async def poll(self, until: int, can_run: Callable[[], bool]) -> bool:
        """Wait for notifications, which this process delivers or finds in the store.

        Return True once code can run; False at the given time, or after an event.
        """
        remote = any(True for _ in self._awaited())
        interval = self._first_poll if remote else REFRESH_EVERY
        began = self._process.now()
        check = began + DEADLOCK_CHECK
        while not can_run():
            now = self._process.now()
            limit = min(until, now + self._process.remaining())
            if now >= limit:
                return False
            woken = await self._process.wait(self._events.signal, min(limit, now + interval))
            self._events.signal.clear()
            if woken:
                return False
            interval = min(interval * 2, 1000)
            await self._notifications.refresh()
            await self.settle_calls()
            if remote and self._process.now() >= check and not self._events.waiting:
                await self._cycles.check()
                check += check - began
        return True

    async def settle_calls(self) -> None:
        """Make sure of calls that have no result for so long that their dispatches count as lost."""
        for execution in list(self._executions.values()):
            if execution.calling is not None and execution.calling.created + GRACE <= self._process.now():
                await self._calls.settle(execution)

    def _awaited(self) -> Iterator[Pending[Any]]:
        """Yield what code awaits that does not end by itself."""
        for execution in self._executions.values():
            if execution.attempt is not None:
                for pending in execution.attempt.waits():
                    if self._under_way.due((execution.meta.id, pending.n)) is None:
                        yield pending

    def _comes_from_elsewhere(self, pending: Pending[Any]) -> bool:
        awaited = self._executions.get(suspensions.awaited_id(pending))
        return awaited is None or awaited.attempt is None
