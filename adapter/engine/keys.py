"""Who owns a key and who comes next: the rules of a head, without its storage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace

from adapter.engine.ids import new_generation, ticket
from adapter.engine.records import PART, Head, InboxEntry, Ref, StateEntry
from adapter.engine.types import Outcome

INLINE_ENTRY = 1024
"""The largest state entry that the head itself holds, in bytes."""

INLINE_STATE = 4096
"""The most that the head holds of the state, in bytes, names included."""

UNKNOWN = Ref("", "")
"""The next owner, where only the stored inbox tells which invocation that is."""


class KeyState:
    """A key as it is after some steps from a stored head.

    Args:
        head: The stored head.
        now: The time, in milliseconds.
        front: The stored inbox, from its first entry, as far as it was read.
        more: Whether the stored inbox may hold more.
        dead: Tickets in it of invocations that are over.
        beside: The state entries beside the head, with their values, if they were read.
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
        self.arrived: deque[InboxEntry] = deque()
        """Those that came since and have to wait, in order of their tickets."""
        self.popped: list[InboxEntry] = []
        """Entries of the stored inbox that are to be deleted."""
        self.granted: Ref | None = None
        """Who was given the key from the stored inbox last."""
        self.moved = False
        """Whether the key was taken or released."""
        self.written = False
        """Whether the state was written."""
        self.writes: dict[str, StateEntry | None] = {}
        """State entries beside the head: put, or deleted (``None``)."""
        self.overflow = None if expired else overflow
        """Those that are stored, where they were read."""
        gone = set(dead)
        for entry in [entry for entry in self.front if entry.ticket in gone]:
            self.front.remove(entry)
            self.popped.append(entry)

    @property
    def generation(self) -> str:
        """What tells a workflow's run from a later one under its id; all of the key's state belongs to it."""
        return self.state_generation.split(".")[0]

    def arrive(self, ref: Ref, moment: int, *, direct: bool = True) -> None:
        """Give the invocation the key if that is free and nothing may wait for it, else a place in the inbox.

        An owner may arrive again: after a rewind the unit no longer knows that the key is its own.

        Args:
            ref: The invocation.
            moment: When it came to the key, in microseconds.
            direct: Whether it may become the owner at once.
        """
        if self.owner == ref:
            return
        if self.owner is None and direct and not self.queued and not self.arrived:
            self.take(ref)
        else:
            self.arrived.append(InboxEntry(self.base.key, ticket(moment, ref.id), ref))

    def take(self, ref: Ref) -> None:
        """Make the invocation the owner."""
        self.moved = True
        self.owner = ref
        self.expires = None

    def leave(self, ref: Ref) -> None:
        """Release the key if the invocation owns it: it goes to the one that waits longest."""
        if self.owner == ref:
            self.moved = True
            self.owner = None
            self._next()
        else:
            self.arrived = deque(entry for entry in self.arrived if entry.ref != ref)

    def _next(self) -> None:
        if self.more and not self.front:
            self.owner = UNKNOWN
        elif self.front and (not self.arrived or self.front[0].ticket < self.arrived[0].ticket):
            entry = self.front.popleft()
            self.popped.append(entry)
            self.owner = self.granted = entry.ref
        elif self.arrived:
            self.owner = self.arrived.popleft().ref

    def stored_front(self) -> list[InboxEntry]:
        """Return the stored inbox, from its first entry and as far as it is known, once those that came are stored."""
        last = self.front[-1].ticket if self.front else ""
        came = [entry for entry in self.arrived if not self.more or entry.ticket < last]
        return sorted([*self.front, *came], key=lambda entry: entry.ticket)

    def read(self, name: str) -> Outcome | None:
        """A state entry's value; ``None`` where only the items beside the head tell."""
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
        """The names of all entries; ``None`` where only the items beside the head tell."""
        if self.has_overflow and self.overflow is None:
            return None
        return {*self.state, *self.entries()}

    def snapshot(self) -> KeyState:
        """The state as it is, whatever is written later."""
        snapshot = copy(self)
        snapshot.writes = dict(self.writes)
        return snapshot

    def entries(self) -> dict[str, StateEntry]:
        """The entries beside the head, if they were read, after what is written."""
        entries = {**(self.overflow or {}), **self.writes}
        return {name: entry for name, entry in entries.items() if entry is not None}

    def set(self, name: str, value: bytes, blob: Ref | None = None) -> None:
        """Write a state entry: into the head while it is small, else beside it, or under the record ``blob``."""
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
        """Remove every state entry: those beside the head belong to a generation that is over."""
        self.written = True
        self.state, self.writes, self.overflow = {}, {}, None
        if self.has_overflow:
            self.state_generation = f"{self.generation}.{new_generation()}"
        self.has_overflow = self.large = False

    def items(self) -> int:
        """How many items a commit of these steps touches."""
        handover = self.granted is not None and self.granted == self.owner
        writes = len(self.writes) * (3 if self.large or self.base.large else 1)
        head = int(self.moved or self.written)
        return head + len(self.arrived) + len(self.popped) + int(handover) + writes + int(self.garbage)

    @property
    def garbage(self) -> bool:
        """Whether entries beside the head belong to a state that is over."""
        return self.base.has_overflow and self.base.state_generation != self.state_generation

    def head(self, commit_id: str = "") -> Head:
        """The head to store, with the version that it is to be based on."""
        return replace(
            self.base,
            owner=self.owner,
            queued=self.queued or bool(self.arrived),
            state_generation=self.state_generation,
            state=self.state,
            has_overflow=self.has_overflow,
            large=self.large,
            expires=self.expires,
            commit_id=commit_id,
        )
