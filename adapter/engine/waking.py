"""Telling an invocation of a result: how it is taken to wait decides what the notification does to its record."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.engine.ports import Update
from adapter.engine.records import Meta, Record, Ref, Status
from adapter.engine.types import Outcome


@dataclass(frozen=True, slots=True)
class Waking:
    """A guess at how the receiver waits. The notification's conditions say when it was wrong, and what is right.

    Attributes:
        wakes: Whether the receiver is suspended and this result is all that it misses, or a failure among several.
        epoch: The epoch in which it suspended, where a failure wakes it before the last result is there.
    """

    wakes: bool = True
    epoch: int | None = None

    def update(self, ref: Ref, grace: int) -> Update:
        """The change of the receiver's record that goes with one notification."""
        values = {"status": Status.READY, "due": grace} if self.wakes else {}
        alone = self.wakes and self.epoch is None
        return Update(ref, set=values, add={"notifications": 1, "missing": -1}, wakes=alone, epoch=self.epoch)

    @staticmethod
    def learn(ref: Ref, found: Record | None, outcome: Outcome) -> Waking | None:
        """The guess after a look at the record; ``None`` where the receiver is gone."""
        if not isinstance(found, Meta) or found.generation != ref.generation or not found.live:
            return None
        if found.status is not Status.SUSPENDED:
            return Waking(False)
        if found.missing is not None and found.missing <= 1:
            return Waking(True)
        return Waking(True, found.epoch) if outcome.failure is not None else Waking(False)
