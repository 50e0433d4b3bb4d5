"""What the store holds: one dataclass for each kind of item. Times are milliseconds since the epoch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple

from adapter.engine.awaiting import TIMER, Awaiting, Node
from adapter.engine.types import CANCELLED, KILLED, Headers, Kind, ObjectKey, Outcome, Target
from adapter.errors import AdapterError
from adapter.frozen import frozen

INLINE = 1024
"""The largest input or output, in bytes, that the record itself holds. A larger one is stored in parts."""

PART = 350 * 1024
"""The largest part of a payload and the largest segment of a journal, in bytes. An item may hold 400 KB."""


class Unreadable(AdapterError):
    """A stored item cannot be read: it is damaged, or of a newer format. The message names the item and the reason."""


class Status(StrEnum):
    """The state of an invocation."""

    SCHEDULED = "scheduled"
    """It is delayed, and starts when it is due."""
    QUEUED = "queued"
    """It waits in its key's inbox."""
    READY = "ready"
    """It is to be dispatched."""
    RUNNING = "running"
    """An attempt runs. The due time is the end of its lease."""
    SUSPENDED = "suspended"
    """It waits for notifications, or for its due time."""
    BACKING_OFF = "backing-off"
    """An attempt failed. The next one begins at the due time."""
    PAUSED = "paused"
    """It waits for an operator."""
    COMPLETED = "completed"
    """It has its outcome."""


class Ended(StrEnum):
    """How an invocation ended."""

    COMPLETED = "completed"
    """It has an output."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"


def ending_of(outcome: Outcome) -> Ended:
    """Return how an invocation with this outcome ended.

    >>> ending_of(Outcome(b"1")), ending_of(Outcome(failure=CANCELLED))
    (<Ended.COMPLETED: 'completed'>, <Ended.CANCELLED: 'cancelled'>)
    """
    if outcome.failure is None:
        return Ended.COMPLETED
    if outcome.failure.reason == CANCELLED.reason:
        return Ended.CANCELLED
    return Ended.KILLED if outcome.failure == KILLED else Ended.FAILED


WAITING = (Status.SUSPENDED, Status.BACKING_OFF, Status.PAUSED)
"""The states in which an invocation has begun, and no attempt runs or is about to begin."""


class Ref(NamedTuple):
    """A reference to an invocation. The generation tells it from a later one under the same id."""

    id: str
    generation: str


@frozen
class Parent:
    """The invocation that waits for the result, and the command that it waits in."""

    ref: Ref
    command: int
    service: str = ""
    """The parent's service and deployment, to wake it there."""
    deployment: str = ""


@frozen
class Calling:
    """A call that an invocation waits for, and whose record is put after the write that issues it.

    The call's record has no due time until its first attempt begins. Until then, whatever acts on the caller makes
    sure of the call (see `adapter.engine.calls`).
    """

    command: int
    generation: str
    target: Target
    kind: Kind
    created: int
    headers: Headers
    input: bytes


class Copied(NamedTuple):
    """Commands whose results were copied from another invocation: those before a number, from the last such number
    on. With the number 0: the invocation that was restarted."""

    before: int
    ref: Ref


@frozen
class Meta:
    """The record of an invocation."""

    id: str
    generation: str
    target: Target
    kind: Kind
    status: Status
    created: int
    deployment: str = ""
    """The deployment on which the first attempt ran. Later attempts run there too."""
    parent: Parent | None = None
    sender: Ref | None = None
    """The invocation that sent it, and does not wait for it."""
    headers: Headers = field(default_factory=dict[str, str])
    input: bytes | None = None
    """``None`` if the input is stored in parts."""
    input_parts: int = 0
    copied: tuple[Copied, ...] = ()
    """If it is a restart of another invocation: those that it has the results of its first commands from, in order, and
    last the one that was restarted. What derives from one of these commands is theirs: the ids of calls and awakeables,
    and random numbers."""
    idempotent: bool = False
    """True if the request may be repeated: it had an idempotency key, or it named the invocation."""
    idempotency_key: str | None = None
    """The request's idempotency key. Records of earlier code do not have it."""
    epoch: int = 0
    """Every attempt raises it. An attempt with a lower epoch can no longer write."""
    failures: int = 0
    """The number of attempts that failed since the last progress."""
    error: str | None = None
    """What the last failed attempt raised."""
    failed: int | None = None
    """When that attempt failed, until the next one begins: then the journal has it."""
    notifications: int = 0
    """The number of notifications counted so far. A notification is put first and counted after that, so the latest may
    not be counted yet. If the answer to a count was lost, a notification is counted twice."""
    wake_after: int | None = None
    """While suspended: the invocation continues when more notifications than this are counted. This follows from
    `awaiting`, and is a number of its own because the store compares it."""
    seen: int = 0
    """While suspended: the number of notifications that its last attempt has seen."""
    timer: int | None = None
    """While suspended: when the invocation continues even if no notification arrives."""
    awaiting: Awaiting | None = None
    """What it waits for, while it is suspended. While it runs: the invocations that it cannot continue without."""
    calling: Calling | None = None
    """The call that the journal in the record describes, if that was put after the record. It stays until the record is
    written again, even if the call has its result."""
    waiters: int = 0
    """The number of others, besides the parent, that wait for the result."""
    dispatches: int = 0
    """How often the sweeper has dispatched the invocation since an attempt last began. While it waits for its key: how
    often the sweeper has checked it."""
    due: int | None = None
    """When the sweeper acts on the record."""
    ticket: str | None = None
    """Its place in its key's inbox, while it waits there."""
    outcome: Outcome | None = None
    """After completion: the outcome. A success whose value is stored in parts has ``value=None``. Before completion:
    the failure that the invocation is to end with, whatever its code does."""
    ended: Ended | None = None
    """After completion: how it ended. The index has this, and no other change of the record reaches the index."""
    output_parts: int = 0
    output_name: str = ""
    """The name of the output's parts."""
    segments: int = 0
    """The number of journal segments when an attempt or an operator last wrote the record. That of a live invocation
    includes the segment in the record."""
    inline_journal: str | None = None
    """The last segment of the journal, if it is small and its commit created, suspended or completed the invocation. A
    segment that is stored after it may repeat it, and then counts instead (see `adapter.engine.journal.inline`)."""
    completed: int | None = None
    journal_expires: int | None = None
    """After completion: when the journal becomes absent, if that is before the record expires."""
    expires: int | None = None
    """After completion: from this time on the id can be used again, even if the item is still stored."""
    kept: int | None = None
    """Until when the items that belong to the invocation are kept, if that is not a fixed time after its creation (see
    `adapter.engine.lifetimes`). A purge sets it to the time of expiry, so that they are deleted at once."""
    commit_id: str = ""
    """The id of the last commit by an attempt."""

    @property
    def ref(self) -> Ref:
        return Ref(self.id, self.generation)

    def continues(self, before: Meta) -> bool:
        """Return True if the invocation is live, and no attempt has begun since the record was so."""
        return self.ref == before.ref and self.live and self.epoch == before.epoch

    def issuer(self, n: int) -> Ref:
        """Return the invocation that first issued command ``n``."""
        return next((copied.ref for copied in self.copied if n < copied.before), self.ref)

    @property
    def live(self) -> bool:
        return self.status is not Status.COMPLETED

    @property
    def stored_segments(self) -> int:
        """How many segments are stored as items, at least."""
        return self.segments - int(self.live and self.inline_journal is not None)

    @property
    def at_rest(self) -> bool:
        """True if no attempt that has begun can still write: none has begun, or the last one suspended it."""
        if self.outcome is not None or self.failed is not None:
            return False
        rests = self.epoch == 0 or self.wake_after is not None
        waits = self.status in (Status.SCHEDULED, Status.SUSPENDED) or (
            self.status is Status.READY and not self.dispatches
        )
        return rests and waits

    @property
    def may_run(self) -> bool:
        """True if an attempt may have begun whose end is not stored. It may still run, or its process is gone."""
        return self.status in (Status.RUNNING, Status.READY) and self.epoch > 0

    @property
    def continues_at(self) -> int | None:
        """When the invocation continues by itself. The due time of a suspended one may be earlier, for the sweeper to
        check it, and that of a long wait for the next attempt, for the sweeper to renew its items."""
        if self.status is Status.PAUSED:
            return None
        if self.status is Status.SUSPENDED or (self.status is Status.BACKING_OFF and self.timer is not None):
            return self.timer
        return self.due

    @property
    def rests_until(self) -> int | None:
        """When the invocation continues, if it waits for nothing but that time."""
        match self.status:
            case Status.SUSPENDED:
                timed = self.awaiting is not None and all(leaf.kind == TIMER for leaf in self.awaiting.root.leaves)
                return self.timer if timed and not self.resolved else None
            case Status.SCHEDULED | Status.BACKING_OFF:
                return self.continues_at
            case _:
                return None

    @property
    def resolved(self) -> bool:
        """True if the invocation is suspended, and all that it waits for is counted."""
        return self.status is Status.SUSPENDED and self.wake_after is not None and self.notifications > self.wake_after

    @property
    def awaits(self) -> Node | None:
        """What it waits for now, if the record tells."""
        waits = self.awaiting is not None and (
            self.status is Status.SUSPENDED
            or (self.status is Status.RUNNING and self.awaiting.counted == self.notifications)
        )
        return self.awaiting.root if self.awaiting is not None and waits else None

    def expired(self, now: int) -> bool:
        """Return True if the record is to be treated as absent."""
        return self.expires is not None and self.expires <= now


@frozen
class JournalSegment:
    """A stretch of an invocation's journal, as text (see `adapter.engine.journal`)."""

    id: str
    generation: str
    index: int
    data: str
    commit_id: str = ""
    ttl: int | None = None
    """When DynamoDB may delete the item, in seconds since the epoch (see `adapter.engine.lifetimes`)."""
    calling: Calling | None = None
    """The call that it ends with, if that is put after it."""


NOTIFICATION_ID = re.compile(r"x(:.+)?|[acw][0-9]+|s[^:]*:.+", re.DOTALL)
"""The forms of notification ids: ``c7`` is the result of call 7, ``a7`` that of the invocation to which command 7
attached, ``w7`` that of awakeable 7, ``sCOMMIT:NAME`` a signal, ``x`` the first cancellation. A later one is
``x:2`` if the caller passed it on, and otherwise ``x:COMMIT``."""


def cancellations(notification_ids: Iterable[str]) -> int:
    """Return how many of the notifications are cancellations.

    >>> cancellations(["c1", "x", "x:2"])
    2
    """
    return sum(id.startswith("x") for id in notification_ids)


@frozen
class Notification:
    """A result that another process delivers to an invocation. The id tells what the result is for."""

    to: Ref
    id: str
    outcome: Outcome
    """Without the value, if that is stored in parts."""
    created: int
    commit_id: str = ""
    parts: str = ""
    """The name of the value's parts. They lie under the receiver."""
    after: int = 0
    """For signals, awakeables and cancellations: the number of notifications before this one. It orders what one sender
    sends, which no clock can."""
    ttl: int | None = None
    """When DynamoDB may delete the item, in seconds since the epoch (see `adapter.engine.lifetimes`)."""


@frozen
class Part:
    """A part of a payload that is too large for its record.

    The parts of an output or of a notification's value have a name that contains the id of one commit. If a commit does
    not happen, the parts that were put for it are therefore never taken for those of another.
    """

    id: str
    generation: str
    name: str
    index: int
    data: bytes
    ttl: int | None = None
    """When DynamoDB may delete the item, in seconds since the epoch (see `adapter.engine.lifetimes`). ``None`` for the
    parts of a promise and of a state entry."""


@frozen
class Waiter:
    """An invocation, besides the parent, that waits for the result."""

    id: str
    generation: str
    waiter: Ref
    command: int
    service: str = ""
    """The waiter's service and deployment, to wake it there."""
    deployment: str = ""


@frozen
class Head:
    """One key of an object or workflow: its owner and its state. It is never deleted, and its version is never reused.

    A key that was never used has version 0 and no item.
    """

    key: ObjectKey
    version: int = 0
    owner: Ref | None = None
    queued: bool = False
    """True if invocations may wait in the inbox. The owner then reads the inbox before it releases the key. While it is
    set and there is no owner, invocations request the key by the inbox only."""
    state_generation: str = ""
    state: dict[str, bytes] = field(default_factory=dict[str, bytes])
    has_overflow: bool = False
    """True if some entries are stored in items of their own."""
    large: bool = False
    """True if some of those may be stored in parts."""
    expires: int | None = None
    """For a workflow: from this time on the state is to be treated as absent."""
    commit_id: str = ""


@frozen
class InboxEntry:
    """An invocation that waits for a key. Tickets give the order (see `adapter.engine.ids.ticket`)."""

    key: ObjectKey
    ticket: str
    ref: Ref


@frozen
class StateEntry:
    """A state entry that is too large for the head."""

    key: ObjectKey
    generation: str
    name: str
    value: bytes = b""
    blob: Ref | None = None
    """The record under which the value's parts lie, if the value is too large for an item (see
    `adapter.engine.blobs`)."""
    parts: int = 0
    """The number of those parts."""


def cut(ref: Ref, name: str, data: bytes, ttl: int | None) -> list[Part]:
    """Return a payload as parts, with their time to live."""
    return [
        Part(ref.id, ref.generation, name, index, data[start : start + PART], ttl)
        for index, start in enumerate(range(0, len(data), PART))
    ]


Record = Meta | JournalSegment | Notification | Part | Waiter | Head | InboxEntry | StateEntry
