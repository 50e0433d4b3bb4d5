"""What is stored: one dataclass for each kind of item. Times are milliseconds since the epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from adapter.engine.types import Headers, Kind, ObjectKey, Outcome, Target
from adapter.errors import AdapterError

INLINE = 1024
"""The largest input or output, in bytes, that the record itself holds; a larger one goes into parts of its own."""

PART = 350 * 1024
"""The largest part of a payload and the largest piece of a journal, in bytes: an item may hold 400 KB."""


class Unreadable(AdapterError):
    """Something that is stored cannot be read: it is damaged, or of a newer format. Says which item, and why."""


class Status(StrEnum):
    """Where an invocation stands."""

    SCHEDULED = "scheduled"
    """Delayed: it starts when it is due."""
    QUEUED = "queued"
    """In a key's inbox."""
    READY = "ready"
    """To be dispatched."""
    RUNNING = "running"
    """An attempt runs; the due time is the end of its lease."""
    SUSPENDED = "suspended"
    """Waits for notifications, or for its due time."""
    BACKING_OFF = "backing-off"
    """An attempt failed; the due time is the next one's."""
    PAUSED = "paused"
    """Waits for an operator."""
    COMPLETED = "completed"
    """Has its outcome."""


WAITING = (Status.SUSPENDED, Status.BACKING_OFF, Status.PAUSED)
"""Begun, with no attempt under way nor about to begin."""


class Ref(NamedTuple):
    """An invocation as others refer to it. The generation tells it from a later one under the same id."""

    id: str
    generation: str


@dataclass(frozen=True, slots=True)
class Parent:
    """Who waits for the result, and in which command."""

    ref: Ref
    command: int
    service: str = ""
    """The parent's service and deployment, to wake it there."""
    deployment: str = ""
    alone: bool = True
    """Whether the command is likely all that the parent waits for: a guess, to save a request."""


@dataclass(frozen=True, slots=True)
class Awaits:
    """The invocations that one stands still for, and nothing else, as long as no further notification comes in."""

    seen: int
    """How many notifications had come in: with more than that, it may be on its way again."""
    all: bool
    """Whether it goes on when all have answered, rather than one."""
    ids: tuple[str, ...]
    commands: tuple[int, ...]
    """Of each, the command that waits for it."""
    calls: tuple[int, ...] = ()
    """Further commands that it stands still for: calls whose ids derive from their numbers (see
    `adapter.engine.deadlocks.awaited_ids`), as the first and the last of each stretch."""


@dataclass(frozen=True, slots=True)
class Meta:
    """An invocation."""

    id: str
    generation: str
    target: Target
    kind: Kind
    status: Status
    created: int
    deployment: str = ""
    """Where the first attempt ran; later ones run there too."""
    parent: Parent | None = None
    headers: Headers = field(default_factory=dict[str, str])
    input: bytes | None = None
    """``None`` where it lies in parts."""
    input_parts: int = 0
    idempotent: bool = False
    """Whether it was asked for under an idempotency key."""
    epoch: int = 0
    """Raised by every attempt; an older one can write nothing more."""
    failures: int = 0
    """Attempts that failed since the last progress."""
    error: str | None = None
    """What the last failed attempt raised."""
    notifications: int = 0
    """How many were counted so far. One is put first and counted then, so it may be there and not be counted yet; where
    an answer was lost it is counted twice."""
    wake_after: int | None = None
    """While suspended: it goes on once more notifications than this are counted."""
    seen: int = 0
    """While suspended: how many notifications its last attempt had seen."""
    timer: int | None = None
    """While suspended: when it goes on even if no notification comes in."""
    awaits: Awaits | None = None
    """What it waits for, where that may be a deadlock."""
    waiters: int = 0
    """How many others, beside the parent, wait for the result."""
    dispatches: int = 0
    """How often the sweeper dispatched it since an attempt last began; while it waits for its key: looked at it."""
    due: int | None = None
    """When the sweeper looks at it."""
    ticket: str | None = None
    """Its place in its key's inbox, while it waits there."""
    outcome: Outcome | None = None
    """Once completed; a success whose value lies in parts has ``value=None``.
    While it is live: the failure that it is to end with, whatever its code would do."""
    output_parts: int = 0
    output_name: str = ""
    """The name of those parts."""
    segments: int = 0
    """How many pieces of the journal there were when the record was last written by an attempt, or an operator."""
    inline_journal: str | None = None
    """The last piece of the journal, where it completed the invocation."""
    completed: int | None = None
    journal_expires: int | None = None
    """Once completed: when its journal is deleted, where that is before it expires."""
    expires: int | None = None
    """Once completed: from then on the id is as good as new, whether the item is still there or not."""
    commit_id: str = ""
    """Of the last commit by an attempt."""

    @property
    def ref(self) -> Ref:
        return Ref(self.id, self.generation)

    @property
    def live(self) -> bool:
        return self.status is not Status.COMPLETED

    @property
    def unended(self) -> bool:
        """Whether an attempt may have begun whose end is not stored: it may be under way, or its process is gone."""
        return self.status in (Status.RUNNING, Status.READY) and self.epoch > 0

    @property
    def alarm(self) -> int | None:
        """When it goes on by itself: of a suspended one that is not when it is due, for the sweeper to look at it."""
        return self.timer if self.status is Status.SUSPENDED else self.due

    @property
    def resolved(self) -> bool:
        """Whether it is suspended, and what it waits for was counted."""
        return self.status is Status.SUSPENDED and self.wake_after is not None and self.notifications > self.wake_after

    def expired(self, now: int) -> bool:
        """Whether the record is to be taken for absent."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True, slots=True)
class JournalSegment:
    """A stretch of an invocation's journal, as text (see `adapter.engine.journal`)."""

    id: str
    generation: str
    index: int
    data: str
    commit_id: str = ""


NOTIFICATION_ID = re.compile(r"x|[acw][0-9]+|s[^:]*:.+", re.DOTALL)
"""What a notification is for: ``c7`` is the result of call 7, ``a7`` of what command 7 attached to, ``w7`` of awakeable
7, ``sNONCE:NAME`` a signal, ``x`` the cancellation."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A result that another process delivers to an invocation. The id says what it is for."""

    to: Ref
    id: str
    outcome: Outcome
    """Without its value where that lies in parts."""
    created: int
    commit_id: str = ""
    parts: str = ""
    """The name of the parts, with the receiver."""
    after: int = 0
    """Of what others say: how many notifications there were before. No clock tells the order in which one sender says
    it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a payload too large for its record, under a name of its own.

    The name of an output or of a notification's value is that of one commit: what others leave behind, who meant to
    commit another one and did not get to it, is not taken for it.
    """

    id: str
    generation: str
    name: str
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Waiter:
    """One more that waits for an invocation's result."""

    id: str
    generation: str
    waiter: Ref
    command: int
    service: str = ""
    """The waiter's service and deployment, to wake it there."""
    deployment: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """One key of an object or workflow: its owner and its state. Never deleted, its version never reused.

    A key that was never touched has version 0 and no item.
    """

    key: ObjectKey
    version: int = 0
    owner: Ref | None = None
    queued: bool = False
    """Whether invocations may wait in the inbox. The owner then reads the inbox before it releases the key. While it
    is set and there is no owner, invocations arrive by the inbox only."""
    state_generation: str = ""
    state: dict[str, bytes] = field(default_factory=dict[str, bytes])
    has_overflow: bool = False
    """Whether some entries lie in items of their own."""
    large: bool = False
    """Whether some of those may lie in parts."""
    expires: int | None = None
    """A workflow's: from then on the state is to be taken for absent."""
    commit_id: str = ""


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """An invocation that waits for a key. The order is that of the tickets (see `adapter.engine.ids.ticket`)."""

    key: ObjectKey
    ticket: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A state entry too large for the head."""

    key: ObjectKey
    generation: str
    name: str
    value: bytes = b""
    blob: Ref | None = None
    """Where it is too large for an item: the record under which its parts lie (see `adapter.engine.blobs`)."""
    parts: int = 0
    """How many."""


def cut(ref: Ref, name: str, data: bytes) -> list[Part]:
    """A payload in parts."""
    return [
        Part(ref.id, ref.generation, name, index, data[start : start + PART])
        for index, start in enumerate(range(0, len(data), PART))
    ]


Record = Meta | JournalSegment | Notification | Part | Waiter | Head | InboxEntry | StateEntry
