"""Deliver results to invocations in other processes: put a notification, count it, wake its receiver.

Many children of one parent may complete at the same time. Their transactions therefore do not write the parent's
record; a separate plain update counts the notifications that were put. If a process crashes between the two writes, a
notification stays uncounted. The sweeper finds it when the parent is due (see ``docs/decisions/0012``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapter.engine import lifecycle
from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Delete, Wake
from adapter.engine.records import WAITING, Meta, Notification, Ref, Status

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


class Notifier:
    """Counts notifications that were put, and wakes their receivers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def notify(
        self,
        notifications: Sequence[Notification],
        service: str,
        deployment: str,
        *,
        alone: bool = True,
        cancels: bool = False,
        fresh: bool = True,
    ) -> None:
        """Count notifications to one invocation, and wake it if it waits for them. They have been put already.

        Args:
            notifications: The notifications, with their values.
            service: The receiver's service, to dispatch the receiver there.
            deployment: The receiver's deployment.
            alone: True if the receiver probably waits for nothing else. This is a guess that saves a request.
            cancels: True for a cancellation. It also wakes a receiver that is paused or waits for its next attempt.
            fresh: True if the notifications were put just now. If the receiver has completed, nothing has read them.
        """
        engine, ref = self._engine, notifications[0].to
        session = engine.active.get(ref.id)
        if session is not None:
            session.expect_notifications(ref, len(notifications))
            for notification in notifications:
                session.on_notification(notification)
        urgent = any(notification.outcome.failure is not None for notification in notifications)
        wake = Wake.WAITING if cancels else Wake.SUSPENDED if urgent else Wake.COMPLETE
        if session is not None or (wake is Wake.COMPLETE and (not alone or len(notifications) > 1)):
            wake = Wake.NONE
        due = engine.times().grace
        try:
            counted, found, tries = await self._count(ref, len(notifications), wake, due)
        except BaseException:
            if session is not None:  # else the next notification would not wake the receiver
                session.expect_notifications(ref, -len(notifications))
            raise
        woken = counted and wake is not Wake.NONE
        if not counted and found is not None and found.ref == ref and found.live and wake is not Wake.NONE:
            applied = tries > 1 and found.status is Status.READY and found.due == due
            if applied:  # and the answer was lost
                counted = woken = True
            else:
                counted, found, _ = await self._count(ref, len(notifications), Wake.NONE, due)
        if not counted or found is None:
            await self._give_up(notifications, found, fresh)
            return
        if not woken and _waits(found, urgent=urgent, cancels=cancels):
            woken = await self.wake(found)
        if woken:
            engine.dispatch(ref, service, deployment, fresh=False)

    async def wake_if_unseen(self, meta: Meta) -> bool:
        """Wake a suspended invocation if it has a notification that its last attempt did not see.

        Return True if it was woken.
        """
        if len(await self._engine.notification_items(meta.ref)) <= meta.seen or not await self.wake(meta):
            return False
        self._engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
        return True

    async def wake(self, meta: Meta) -> bool:
        """Set the status of a waiting invocation to `Status.READY`. Return False if the record has changed."""
        return await self._engine.apply(lifecycle.woken(meta, self._engine.times()))

    async def _count(self, ref: Ref, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None, int]:
        """Count notifications. Return whether they were counted, the record as it then is, and the number of tries."""
        tries = 0

        async def once() -> tuple[bool, Meta | None]:
            nonlocal tries
            tries += 1
            return await self._engine.store.count_notifications(ref, count=count, wake=wake, due=due)

        counted, found = await self._engine.read(once)
        return counted, found, tries

    async def _give_up(self, notifications: Sequence[Notification], found: Meta | None, fresh: bool) -> None:
        """Delete notifications whose receiver is over. Keep those that it may have read: they are deleted with its
        record."""
        gone = found is None or found.ref != notifications[0].to
        if not fresh or not (gone or found is None or found.due is None):
            return
        await self._engine.commit([Delete(notification) for notification in notifications], new_commit_id())
        for notification in notifications:
            if notification.parts:
                await self._engine.sweeper.delete_later(notification.to, found)


def _waits(meta: Meta, *, urgent: bool, cancels: bool) -> bool:
    """Return True if an invocation waits and these notifications wake it."""
    if cancels:
        return meta.status in WAITING
    return meta.resolved or (urgent and meta.status is Status.SUSPENDED)
