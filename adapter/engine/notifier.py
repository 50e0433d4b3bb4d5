"""Deliver results to invocations in other processes: put a notification, count it, wake its receiver.

Many children of one parent may complete at the same time. Their transactions therefore do not write the parent's
record; a separate plain update counts the notifications that were put. If a process crashes between the two writes, a
notification stays uncounted. The sweeper finds it when the parent is due (see ``docs/decisions/0012``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from adapter.engine import lifecycle
from adapter.engine.ids import new_commit_id
from adapter.engine.listeners import Listeners
from adapter.engine.ports import Conflict, Delete, Put, Wake
from adapter.engine.process import Process, Repeat
from adapter.engine.records import WAITING, Meta, Notification, Ref, Status, Waiter
from adapter.engine.reports import Reports
from adapter.engine.storage import Storage
from adapter.engine.transaction import make_notification
from adapter.engine.transitions import SOON
from adapter.engine.types import Outcome
from adapter.engine.wakeups import Wakeups
from adapter.frozen import replace

Acknowledgement = Literal["accepted", "already", "not found"]
"""Whether a request was carried out, came too late or was carried out before, or names nothing that exists."""


class Notifier:
    """Counts notifications that were put, and wakes their receivers."""

    def __init__(
        self,
        process: Process,
        storage: Storage,
        wakeups: Wakeups,
        listeners: Listeners,
        reports: Reports,
    ) -> None:
        self._process = process
        self._storage = storage
        self._wakeups = wakeups
        self._listeners = listeners
        self._reports = reports

    def on_completed(self, meta: Meta, outcome: Outcome) -> None:
        """Take note that a commit of this process has completed an invocation, and tell all that wait for it."""
        self._reports.completed(meta, outcome, self._process.now())
        self._listeners.complete(meta.id, outcome)
        if meta.waiters:
            self._process.spawn(self.fan_out(meta), repeated_by=Repeat.WAITERS)

    async def notify(
        self,
        notifications: Sequence[Notification],
        service: str,
        deployment: str,
        *,
        cancels: bool = False,
    ) -> None:
        """Count notifications to one invocation, and wake it if it waits for them. They have been put already.

        Args:
            notifications: The notifications, with their values.
            service: The receiver's service, to dispatch the receiver there.
            deployment: The receiver's deployment.
            cancels: True for a cancellation. It also wakes a receiver that is paused or waits for its next attempt.
        """
        ref = notifications[0].to
        session = self._process.active.get(ref.id)
        if session is not None:
            session.expect_notifications(ref, len(notifications))
            for notification in notifications:
                session.on_notification(notification)
        urgent = any(notification.outcome.failure is not None for notification in notifications)
        wake = Wake.WAITING if cancels else Wake.SUSPENDED if urgent else Wake.NONE
        wake = wake if session is None else Wake.NONE
        due = self._process.times().grace
        try:
            counted, found, tries = await self._count(ref, len(notifications), wake, due)
        except BaseException:
            if session is not None:  # else the next notification would not wake the receiver
                session.expect_notifications(ref, -len(notifications))
            raise
        woken = counted and wake is not Wake.NONE
        if not counted and found is not None and found.ref == ref and found.live and wake is not Wake.NONE:
            # It may have been woken by this, and the answer lost. Then these are counted twice, which does no harm.
            woken = tries > 1 and found.status is Status.READY and found.due == due
            counted, found, tries = await self._count(ref, len(notifications), Wake.NONE, due)
        if not counted or found is None:
            return  # the receiver is over, and the notifications' time to live deletes them
        if not woken and _waits(found, urgent=urgent, cancels=cancels):
            if cancels or not found.resolved or not self._is_checked_soon(found):
                woken = await self.wake(found)
            else:  # the count that first exceeds `wake_after` dispatches, and one that was sent again may be that one
                woken = tries > 1 or found.notifications - len(notifications) <= (found.wake_after or 0)
        if woken:
            self._wakeups.dispatch(ref, service, deployment, fresh=False)

    async def fan_out(self, meta: Meta) -> None:
        """Notify all waiters of a completed invocation. Then its record rests until it expires."""
        outcome = await self._storage.result(meta) or Outcome()
        storage = self._storage
        cursor: Any = None
        while True:
            waiters, cursor = await storage.read(lambda cursor=cursor: storage.store.waiters(meta.ref, cursor))  # type: ignore[misc]
            for start in range(0, len(waiters), 16):
                await asyncio.gather(*(self._notify_waiter(waiter, outcome) for waiter in waiters[start : start + 16]))
            if cursor is None:
                break
        await storage.apply(lifecycle.told(meta, self._process.now()))

    async def wake_if_unseen(self, meta: Meta) -> bool:
        """Wake a suspended invocation if it has a notification that its last attempt did not see.

        Return True if it was woken.
        """
        if len(await self._storage.notification_items(meta.ref)) <= meta.seen or not await self.wake(meta):
            return False
        self._wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
        return True

    async def wake(self, meta: Meta) -> bool:
        """Set the status of a waiting invocation to `Status.READY`. Return False if the record has changed."""
        return await self._storage.apply(lifecycle.woken(meta, self._process.times()))

    def _is_checked_soon(self, meta: Meta) -> bool:
        """Return True if the sweeper makes up for a lost dispatch soon although the record stays as it is."""
        return meta.due is not None and meta.due <= self._process.now() + SOON

    async def _count(self, ref: Ref, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None, int]:
        """Count notifications. Return whether they were counted, the record as it then is, and the number of tries."""
        tries = 0

        async def once() -> tuple[bool, Meta | None]:
            nonlocal tries
            tries += 1
            return await self._storage.store.count_notifications(ref, count=count, wake=wake, due=due)

        counted, found = await self._storage.read(once, patient=False)
        return counted, found, tries

    async def _notify_waiter(self, waiter: Waiter, outcome: Outcome) -> None:
        # A later run under the same id has another result, which must not get into the parts of this one's.
        sender = f"{waiter.id}-{waiter.generation}"
        notification, parts = make_notification(
            waiter.waiter, f"a{waiter.command}", outcome, self._process.now(), sender
        )
        await self._storage.put_parts(parts)
        try:
            await self._storage.commit([Delete(waiter), Put(notification)], new_commit_id())
        except Conflict as conflict:
            if 0 not in conflict.found:  # it was notified before, or had its answer in another way
                with suppress(Conflict):
                    await self._storage.commit([Delete(waiter)], new_commit_id())
            return
        await self.notify([replace(notification, outcome=outcome)], waiter.service, waiter.deployment)


def _waits(meta: Meta, *, urgent: bool, cancels: bool) -> bool:
    """Return True if an invocation waits and these notifications wake it."""
    if cancels:
        return meta.status in WAITING
    return meta.resolved or (urgent and meta.status is Status.SUSPENDED)
