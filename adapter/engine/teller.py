"""Telling an invocation of a result: a notification is put, then counted, and wakes its receiver if that waits for it.

Many children of one parent complete at once, so none of their transactions writes the parent's record: a plain update
counts the notifications that were put. A process that ends in between leaves one that is not counted; the parent is
looked at when it is due, and then finds it (see ``docs/decisions/0012``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapter.engine.ids import new_nonce
from adapter.engine.ports import Conflict, Delete, Update, Wake
from adapter.engine.records import WAITING, Meta, Notification, Ref, Status

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


class Teller:
    """Counts notifications that were put, and wakes their receivers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def tell(
        self,
        notes: Sequence[Notification],
        service: str,
        deployment: str,
        *,
        alone: bool = True,
        cancels: bool = False,
        fresh: bool = True,
    ) -> None:
        """Count notifications to one invocation that were put, and have it go on if it waits for them.

        Args:
            notes: The notifications, with their values.
            service: The receiver's service, and its deployment, to wake it there.
            deployment: See there.
            alone: Whether the receiver likely waits for nothing else: a guess, to save a request.
            cancels: Whether they wake it from everything that it can be woken from.
            fresh: Whether they were put just now, so that nothing has read them if the receiver is over.

        """
        engine, ref = self._engine, notes[0].to
        unit = engine.active.get(ref.id)
        if unit is not None:
            unit.expect(ref, len(notes))
            for note in notes:
                unit.deliver(note)
        urgent = any(note.outcome.failure is not None for note in notes)
        wake = Wake.WAITING if cancels else Wake.SUSPENDED if urgent else Wake.COMPLETE
        if unit is not None or (wake is Wake.COMPLETE and (not alone or len(notes) > 1)):
            wake = Wake.NONE
        due = engine.times().grace
        try:
            told, found, tries = await self._count(ref, len(notes), wake, due)
        except BaseException:
            if unit is not None:  # else the next notification would not wake the receiver
                unit.expect(ref, -len(notes))
            raise
        woken = told and wake is not Wake.NONE
        if not told and found is not None and found.ref == ref and found.live and wake is not Wake.NONE:
            if tries > 1 and found.status is Status.READY and found.due == due:  # an earlier try's answer was lost
                told = woken = True
            else:
                told, found, _ = await self._count(ref, len(notes), Wake.NONE, due)
        if not told or found is None:
            await self._give_up(notes, found, fresh)
            return
        if not woken and _waits(found, urgent=urgent, cancels=cancels):
            woken = await self.wake(found)
        if woken:
            engine.dispatch(ref, service, deployment, fresh=False)

    async def look(self, meta: Meta) -> bool:
        """Have a suspended invocation go on if it has a notification that its last attempt did not see."""
        if len(await self._engine.notes(meta.ref)) <= meta.seen or not await self.wake(meta):
            return False
        self._engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
        return True

    async def wake(self, meta: Meta) -> bool:
        """Make an invocation that waits `Status.READY`. Returns False if it has moved."""
        ready = {"status": Status.READY, "due": self._engine.times().grace, "epoch": meta.epoch + 1}
        try:
            await self._engine.commit([Update(meta.ref, set=ready, epoch=meta.epoch, status=meta.status)], new_nonce())
        except Conflict:
            return False
        return True

    async def _count(self, ref: Ref, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None, int]:
        """Count notifications. Returns whether that was done, the record as it then is, and how many tries it took."""
        tries = 0

        async def once() -> tuple[bool, Meta | None]:
            nonlocal tries
            tries += 1
            return await self._engine.store.tell(ref, count=count, wake=wake, due=due)

        told, found = await self._engine.read(once)
        return told, found, tries

    async def _give_up(self, notes: Sequence[Notification], found: Meta | None, fresh: bool) -> None:
        """Delete notifications whose receiver is over, unless they are deleted with it: it may have read them."""
        gone = found is None or found.ref != notes[0].to
        if not fresh or not (gone or found is None or found.due is None):
            return
        await self._engine.commit([Delete(note) for note in notes], new_nonce())
        for note in notes:
            if note.parts:
                await self._engine.sweeper.delete_later(note.to, found)


def _waits(meta: Meta, *, urgent: bool, cancels: bool) -> bool:
    """Whether an invocation waits, and is to go on."""
    if cancels:
        return meta.status in WAITING
    return meta.resolved or (urgent and meta.status is Status.SUSPENDED)
