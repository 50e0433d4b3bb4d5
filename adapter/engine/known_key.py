"""A key as a session knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapter.engine.execution import Execution
from adapter.engine.keys import KeyState
from adapter.engine.records import Head, InboxEntry, Ref, StateEntry
from adapter.engine.types import ObjectKey


@dataclass(slots=True)
class Key:
    """A key as the session knows it: what is stored, and its state after the uncommitted effects."""

    key: ObjectKey
    head: Head | None = None
    """``None`` until it is read."""
    front: list[InboxEntry] | None = None
    """The stored inbox from its first entry; ``None`` until it is read."""
    more: bool = False
    """True if the stored inbox may have entries after `front`."""
    unannounced: bool = False
    """True if an earlier attempt of the owner may have put entries of which the head does not tell yet."""
    dead_tickets: set[str] = field(default_factory=set[str])
    """The tickets of invocations that no longer exist."""
    next: dict[Ref, Execution] = field(default_factory=dict[Ref, Execution])
    """The first invocations of the inbox that can run in this session, as they were read."""
    live: KeyState | None = None
    ran_uncommitted: bool = False
    """True if code ran as the key's owner before that was committed. A write by another process then invalidates it."""
    lost_races: int = 0
    """How often in a row another process took or wrote the key first."""
    contended: bool = False
    """True if other processes use the key, so that invocations request it by its inbox."""
    blobs: dict[str, Ref | None] = field(default_factory=dict[str, Ref | None])
    """The records of stored entries that are to be replaced and may be large, by the entries' names."""
    overflow: Mapping[str, StateEntry] | None = None
    """The overflow entries with their values, if they were read."""

    def state(self, now: int) -> KeyState:
        """Return the stored state of the key, for effects to be applied to."""
        assert self.head is not None, f"the head of {self.key} was not read"
        more = self.head.queued or self.unannounced if self.front is None else self.more
        return KeyState(self.head, now, self.front or (), more, self.dead_tickets, self.overflow)
