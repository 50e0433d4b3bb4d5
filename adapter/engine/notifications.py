"""Bring the notifications to a session's executions: from this process, or from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from adapter.engine import commands as c
from adapter.engine.attempt import Attempt
from adapter.engine.conflicts import Drop, Interrupted
from adapter.engine.events import BY_NOTIFICATION, Event
from adapter.engine.execution import Execution
from adapter.engine.journal import CANCEL
from adapter.engine.ports import Unavailable
from adapter.engine.records import Notification, Ref
from adapter.engine.runtime import Runtime
from adapter.frozen import replace


class Notifications:
    """Reads and accepts notifications.

    Args:
        runtime: What the session shares with others.
        executions: The executions that run, by their ids.
        post: Posts an event to the session.

    Attributes:
        refreshed_at: When the records of the executions were last read, in milliseconds.
    """

    def __init__(self, runtime: Runtime, executions: Mapping[str, Execution], post: Callable[[Event], None]) -> None:
        self._process = runtime.process
        self._storage = runtime.storage
        self._executions = executions
        self._post = post
        self.refreshed_at = runtime.process.now()

    def accept(self, notification: Notification) -> Execution | None:
        """Accept a notification that was committed.

        Return the execution if its notifications have to be read because an earlier one is missing.
        """
        execution = self._executions.get(notification.to.id)
        if execution is None or execution.ref != notification.to or notification.id in execution.notifications:
            return None
        if len(execution.notifications) < notification.after:  # an earlier signal has not been read
            return execution
        self._accept(execution, notification)
        return None

    def expect(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""
        execution = self._executions.get(ref.id)
        if execution is not None and execution.ref == ref:
            execution.counted += count

    async def refresh(self) -> None:
        """Read the records of the executions again: notifications may have arrived, or another attempt may have begun.

        Raises:
            Interrupted: If an attempt here is no longer the latest.
        """
        self.refreshed_at = self._process.now()
        executions = [
            execution for execution in self._executions.values() if execution.stored and execution.attempt is not None
        ]
        for start in range(0, len(executions), 16):
            some = executions[start : start + 16]
            try:
                metas = await asyncio.gather(
                    *(self._storage.find(execution.meta.id, patient=False) for execution in some)
                )
            except Unavailable:
                return  # nothing depends on this: the next time is soon
            for execution, meta in zip(some, metas, strict=True):
                if meta is None or not meta.continues(execution.record):
                    raise Interrupted(Drop(execution.ref, f"{execution.meta.id} was taken over"))
                if meta.notifications > execution.counted:
                    execution.meta = replace(execution.meta, notifications=meta.notifications)
                    await self.read(execution)

    async def read_record(self, execution: Execution) -> None:
        """Read the record, then the notifications, and accept those."""
        meta = await self._storage.find(execution.meta.id)
        if meta is not None and meta.ref == execution.ref:
            execution.meta = replace(execution.meta, notifications=meta.notifications)
            await self.read(execution)

    async def read(self, execution: Execution) -> None:
        """Read the notifications to an invocation, and accept them. Its record was read before."""
        counted = execution.meta.notifications
        for notification in await self._storage.notifications(execution.ref):
            self._accept(execution, notification)
        execution.counted = max(execution.counted, counted)

    def _accept(self, execution: Execution, notification: Notification) -> None:
        if notification.id not in execution.notifications:
            execution.notifications[notification.id] = notification.outcome
            self._post(Event(notification.to.id, BY_NOTIFICATION, notification.outcome, notification.id))


def expected(attempt: Attempt, n: int) -> bool:
    """Return True if command ``n`` was issued and has no result yet."""
    if n == CANCEL:
        return "x" not in attempt.delivered
    return n < len(attempt.operations) and attempt.operations[n].outcome is None


def earliest(notification_id: str, arrived: Iterable[str], attempt: Attempt) -> str:
    """Return the earliest notification that arrived and was not delivered, of the signals of one name.

    The handler may begin to wait for a signal when some have arrived before, and a later one is about to be delivered.
    """
    if not notification_id.startswith("s"):
        return notification_id
    name = notification_id.partition(":")[2]
    same = (id for id in arrived if id.startswith("s") and id.partition(":")[2] == name)
    return next((id for id in same if id not in attempt.delivered), notification_id)


def receiving_command(attempt: Attempt, notification_id: str) -> int | None:
    """Return the command that a notification is for. Return ``None`` if it has its result, or is not issued yet."""
    if notification_id in attempt.delivered:
        return None
    if notification_id.startswith("x"):
        return CANCEL
    operations = attempt.operations
    if notification_id.startswith("s"):
        name = notification_id.split(":", 1)[1]
        waiting = (p.n for p in operations if p.command == c.Signal(name) and p.outcome is None)
        return next(waiting, None)
    n = int(notification_id[1:])
    awakeable = n >= len(operations) or isinstance(operations[n].command, c.Awakeable)
    if notification_id.startswith("w") and not awakeable:
        return None  # a sender that knows one awakeable's id can make up the ids of others
    return n if expected(attempt, n) else None
