"""Telling an invocation of a result: how it is taken to wait decides what the notification does to its record."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.engine.ports import Update
from adapter.engine.records import Meta, Record, Ref, Status


@dataclass(frozen=True, slots=True)
class Waking:
    """A guess at how the receiver waits. The notification's conditions say when it was wrong, and what is right.

    Attributes:
        wakes: Whether the receiver is to go on: it is suspended and this is all that it misses, or this is urgent.
        epoch: The epoch that it is in, where it goes on before the last result is there.
        alone: Whether it is suspended and misses one result at most.
    """

    wakes: bool = True
    epoch: int | None = None
    alone: bool = True

    def update(self, ref: Ref, grace: int) -> Update:
        """The change of the receiver's record that goes with one notification."""
        values = {"status": Status.READY, "due": grace} if self.wakes else {}
        alone = self.wakes and self.alone
        return Update(ref, set=values, add={"notifications": 1, "missing": -1}, wakes=alone, epoch=self.epoch)

    @staticmethod
    def learn(ref: Ref, found: Record | None, *, urgent: bool, cancels: bool = False) -> Waking | None:
        """The guess after a look at the record; ``None`` where the receiver is gone.

        Args:
            ref: The receiver.
            found: Its record.
            urgent: Whether it is to be woken even if it misses more: for a failure.
            cancels: Whether it is to be woken from everything that can be woken: for a cancellation.
        """
        if not isinstance(found, Meta) or found.generation != ref.generation or not found.live:
            return None
        suspended = found.status is Status.SUSPENDED
        if suspended and found.missing is not None and found.missing <= 1:
            return Waking()
        if (urgent and suspended) or (cancels and found.status in (Status.BACKING_OFF, Status.PAUSED)):
            return Waking(True, found.epoch, alone=False)
        return Waking(False)
