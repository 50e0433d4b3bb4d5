"""The rules of a key: who owns it, who comes next, what its state is. Storage is elsewhere."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy

from adapter.engine.ids import new_generation, ticket
from adapter.engine.records import PART, Head, InboxEntry, Ref, StateEntry
from adapter.engine.types import Outcome
from adapter.frozen import replace

INLINE_ENTRY = 1024
"""The largest state entry that the head itself holds, in bytes."""

INLINE_STATE = 4096
"""The most state that the head itself holds, in bytes, names included."""

UNKNOWN = Ref("", "")
"""Stands for the next owner if only the stored inbox tells which invocation that is."""


class KeyState:
    """A stored key with uncommitted effects applied to it.

    Args:
        head: The stored head.
        now: The time, in milliseconds.
        front: The stored inbox from its first entry, as far as it was read.
        more: True if the stored inbox may have further entries.
        dead: The tickets of inbox entries whose invocations are over.
        overflow: The overflow entries with their values, if they were read.
    """

    def __init__(
        self,
        head: Head,
        now: int,
        front: Iterable[InboxEntry] = (),
        more: bool = False,
        dead: Iterable[str] = (),
        overflow: Mapping[str, StateEntry] | None = None,
    ) -> None:
        expired = head.expires is not None and head.expires <= now
        self.base = head
        self.owner = head.owner
        self.queued = head.queued
        self.state = {} if expired else head.state
        self.has_overflow = head.has_overflow and not expired
        self.large = head.large and not expired
        self.state_generation = new_generation() if expired or not head.state_generation else head.state_generation
        self.expires = None if expired else head.expires
        self.front = deque(front)
        self.more = more
        self.new_entries: deque[InboxEntry] = deque()
        """The new entries of the inbox, in the order of their tickets."""
        self.taken_entries: list[InboxEntry] = []
        """The entries of the stored inbox that are to be deleted."""
        self.granted: Ref | None = None
        """The last invocation of the stored inbox that was given the key."""
        self.owner_changed = False
        """True if the key was taken or released."""
        self.written = False
        """True if the state was written."""
        self.writes: dict[str, StateEntry | None] = {}
        """Overflow entries to put, or to delete (``None``)."""
        self.overflow = None if expired else overflow
        """The stored overflow entries, if they were read."""
        gone = set(dead)
        for entry in [entry for entry in self.front if entry.ticket in gone]:
            self.front.remove(entry)
            self.taken_entries.append(entry)

    @property
    def generation(self) -> str:
        """The generation of a workflow's run, to which all of the key's state belongs."""
        return self.state_generation.split(".")[0]

    def request(self, ref: Ref, moment: int, *, direct: bool = True) -> None:
        """Make the invocation the owner if the key is free and nothing may wait for it. Otherwise add it to the inbox.

        An owner may request its key again: after a rewind the session no longer knows that it owns the key.

        Args:
            ref: The invocation.
            moment: When it requested the key, in microseconds.
            direct: True if it may become the owner at once.
        """
        if self.owner == ref:
            return
        if self.owner is None and direct and not self.queued and not self.new_entries:
            self.take(ref)
        else:
            self.new_entries.append(InboxEntry(self.base.key, ticket(moment, ref.id), ref))

    def take(self, ref: Ref) -> None:
        """Make the invocation the owner."""
        self.owner_changed = True
        self.owner = ref
        self.expires = None

    def release(self, ref: Ref) -> bool:
        """Release the key if the invocation owns it. The invocation that waits longest becomes the owner.

        Return False if the invocation neither owns the key nor has requested it here.
        """
        if self.owner == ref:
            self.owner_changed = True
            self.owner = None
            self._next()
            return True
        requested = len(self.new_entries)
        self.new_entries = deque(entry for entry in self.new_entries if entry.ref != ref)
        return len(self.new_entries) < requested

    def _next(self) -> None:
        if self.more and not self.front:
            self.owner = UNKNOWN
        elif self.front and (not self.new_entries or self.front[0].ticket < self.new_entries[0].ticket):
            entry = self.front.popleft()
            self.taken_entries.append(entry)
            self.owner = self.granted = entry.ref
        elif self.new_entries:
            self.owner = self.new_entries.popleft().ref

    def stored_front(self) -> list[InboxEntry]:
        """Return the known beginning of the stored inbox, as it will be after the new entries are committed.

        The entries come in the order in which `release` gives them the key: an entry that was read late stays behind
        those that were known before.
        """
        last = max((entry.ticket for entry in self.front), default="")
        came = [entry for entry in self.new_entries if not self.more or entry.ticket < last]
        return list(heapq.merge(self.front, came, key=lambda entry: entry.ticket))

    def read(self, name: str) -> Outcome | None:
        """Return a state entry's value; ``None`` if the overflow entries have to be read for that."""
        if name in self.state:
            return Outcome(self.state[name])
        if name in self.writes:
            entry = self.writes[name]
            return Outcome(None if entry is None else entry.value)
        if self.has_overflow and self.overflow is None:
            return None
        entry = (self.overflow or {}).get(name)
        if entry is None:
            return Outcome(None)
        return Outcome(entry.value) if entry.blob is None else None

    def names(self) -> set[str] | None:
        """Return the names of all entries; ``None`` if the overflow entries have to be read for that."""
        if self.has_overflow and self.overflow is None:
            return None
        return {*self.state, *self.entries()}

    def snapshot(self) -> KeyState:
        """Return a copy that later writes do not change."""
        snapshot = copy(self)
        snapshot.writes = dict(self.writes)
        return snapshot

    def entries(self) -> dict[str, StateEntry]:
        """Return the known overflow entries after all writes."""
        return self._written_over(self.overflow or {})

    def overflow_after(self, stored: Mapping[str, StateEntry] | None) -> Mapping[str, StateEntry] | None:
        """Return the stored overflow entries after the writes, if they were known before. They may have been read since
        this state was made."""
        if stored is None:
            return None
        return self._written_over(stored if self.state_generation == self.base.state_generation else {})

    def _written_over(self, stored: Mapping[str, StateEntry]) -> dict[str, StateEntry]:
        return {name: entry for name, entry in {**stored, **self.writes}.items() if entry is not None}

    def set(self, name: str, value: bytes, blob: Ref | None = None) -> None:
        """Write a state entry: into the head if it is small, else as an overflow entry or under the record ``blob``."""
        self.written = True
        state = {**self.state, name: value}
        if len(value) <= INLINE_ENTRY and sum(len(k.encode()) + len(v) for k, v in state.items()) <= INLINE_STATE:
            self.state = state
            if self.has_overflow:
                self.writes[name] = None
        else:
            self.state = {k: v for k, v in self.state.items() if k != name}
            parts = -(-len(value) // PART) if blob is not None else 0
            self.writes[name] = StateEntry(self.base.key, self.state_generation, name, value, blob, parts)
            self.has_overflow = True
            self.large = self.large or blob is not None

    def clear(self, name: str) -> None:
        """Remove a state entry."""
        self.written = True
        self.state = {k: v for k, v in self.state.items() if k != name}
        if self.has_overflow:
            self.writes[name] = None

    def clear_all(self) -> None:
        """Remove every state entry. Existing overflow entries then belong to an old generation."""
        self.written = True
        self.state, self.writes, self.overflow = {}, {}, None
        if self.has_overflow:
            self.state_generation = f"{self.generation}.{new_generation()}"
        self.has_overflow = self.large = False

    def items(self) -> int:
        """Return the number of items that a commit touches."""
        handover = self.granted is not None and self.granted == self.owner
        writes = len(self.writes) * (3 if self.large or self.base.large else 1)
        head = int(self.owner_changed or self.written)
        return head + len(self.new_entries) + len(self.taken_entries) + int(handover) + writes + int(self.garbage)

    @property
    def garbage(self) -> bool:
        """True if stored overflow entries belong to an old generation of the state."""
        return self.base.has_overflow and self.base.state_generation != self.state_generation

    def head(self, commit_id: str = "") -> Head:
        """Return the head to store, with the version that it is based on."""
        return replace(
            self.base,
            owner=self.owner,
            queued=self.queued or bool(self.new_entries),
            state_generation=self.state_generation,
            state=self.state,
            has_overflow=self.has_overflow,
            large=self.large,
            expires=self.expires,
            commit_id=commit_id,
        )
