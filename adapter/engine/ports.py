"""The engine's surroundings: a store, timers, a dispatcher, a clock.

One `Store` method is one DynamoDB request. A commit is a list of changes, one item each, that apply together or not
at all; every change carries the condition that makes it safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Record,
    Ref,
    StateEntry,
    Status,
    Waiter,
)
from adapter.engine.types import ObjectKey, Target

# --- changes: one item each ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """Put an invocation's record. Requires that there is none, or that it has expired at ``now`` and nobody waits for
    its result any more."""

    meta: Meta
    now: int


@dataclass(frozen=True, slots=True)
class Update:
    """Change a live invocation's record. Requires that it exists in this generation and is not completed.

    Attributes:
        ref: Which one.
        set: New values by the names of `Meta`'s fields; ``None`` removes.
        add: What to add to the numbers among them.
        epoch: Required epoch; then the commit's nonce is stored as well.
        notifications: The most notifications that may be counted.
        waiters: Required number of waiters.
        due: Required due time.
        status: Required status.
    """

    ref: Ref
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    add: Mapping[str, int] = field(default_factory=dict[str, int])
    epoch: int | None = None
    notifications: int | None = None
    waiters: int | None = None
    due: int | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Change a completed invocation's record: to end a fan-out, to move its due time. Requires generation, status."""

    ref: Ref
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    add: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Put:
    """Put a piece, a notification, a waiter, an inbox entry. Requires that it is absent.

    A state entry and a part are put whether they are there or not: the record that points at them guards them.
    """

    item: JournalSegment | Notification | Part | Waiter | InboxEntry | StateEntry


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an inbox entry or a waiter, which has to be there, or a state entry or a notification, which need not."""

    item: InboxEntry | Waiter | StateEntry | Notification


@dataclass(frozen=True, slots=True)
class WriteHead:
    """Write a key's head, whose version is raised by one. Requires a version, or an owner.

    Attributes:
        head: The new head. ``queued`` stays as it is stored unless it is set here, or the version is required.
        version: The required version; 0: no item.
        owner: The required owner.
        empty: Whether it is required that ``queued`` is not set.
    """

    head: Head
    version: int | None = None
    owner: Ref | None = None
    empty: bool = False


@dataclass(frozen=True, slots=True)
class TakeKey:
    """Make an invocation the owner of a key. Requires that the key has no owner. State and version guard nothing.

    Attributes:
        key: Which one. It need not have an item.
        owner: The new owner.
        queued: What ``queued`` is set to.
        empty: Whether it is required that ``queued`` is not set.
    """

    key: ObjectKey
    owner: Ref
    queued: bool
    empty: bool


@dataclass(frozen=True, slots=True)
class MarkQueued:
    """Tell a key's owner that an invocation waits in the inbox. Requires the owner; the version stays.

    It is committed on its own, as an UpdateItem, which never conflicts with another one.
    """

    key: ObjectKey
    owner: Ref


Change = Create | Update | Finish | Put | Delete | WriteHead | TakeKey | MarkQueued


class Wake(StrEnum):
    """Which receivers a notification makes go on when it is counted."""

    NONE = "none"
    """No one; it is only counted."""
    COMPLETE = "complete"
    """One that is suspended and lacks no other notification."""
    SUSPENDED = "suspended"
    """One that is suspended."""
    WAITING = "waiting"
    """One that is suspended, waits for its next attempt, or is paused. Its epoch is raised, too."""


class Conflict(Exception):
    """A commit's conditions do not hold; nothing was applied.

    Attributes:
        found: For each change whose condition failed, by its place in the commit, the item as it is (``None``: absent).
    """

    def __init__(self, found: Mapping[int, Record | None]) -> None:
        super().__init__(f"conditions failed: {dict(found)}")
        self.found = found


def applied(changes: Sequence[Change], found: Mapping[int, Record | None], commit_id: str) -> bool:
    """Whether a commit whose conditions failed met its own write: it had applied before, and its answer was lost.

    A commit applies whole, so one item that bears its nonce tells. A lone item without a nonce tells by being the same.
    """
    if any(getattr(record, "commit_id", None) == commit_id for record in found.values()):
        return True
    change = changes[0]
    return len(changes) == 1 and isinstance(change, Put) and found.get(0) == change.item


class Unavailable(Exception):
    """A request was throttled, collided or got no answer: it may have applied, or may yet. Send the same again."""


class Contended(Unavailable):
    """Other transactions are at work on what a commit changes, and nothing of it was applied. A smaller one may do."""


class TooLarge(Exception):
    """A record is larger than the store holds. Nothing was applied, and nothing would be by sending it again."""


# --- the ports -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Usage:
    """What was asked of the store so far: requests, and the capacity units they consumed (half units: see the
    `pricing rules <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>`_)."""

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of an invocation's partition, in the order of its keys: input parts, journal, record, notifications."""

    parts: list[Part]
    segments: list[JournalSegment]
    meta: Meta | None
    notifications: list[Notification]
    cursor: Any = None
    """Where the next page begins; ``None`` at the end."""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry of the due index, which lags behind the records."""

    id: str
    due: int


class Place(NamedTuple):
    """A place in an index: behind the entry with this time and this id."""

    at: int
    id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of an index, which lags behind the records.

    Attributes:
        at: When it is due, or when it was created: what the index is ordered by.
    """

    id: str
    target: Target
    status: Status
    at: int

    @property
    def place(self) -> Place:
        return Place(self.at, self.id)


class NotIndexed(Exception):
    """The index that is asked for is not kept."""


class Dependent(NamedTuple):
    """The key of an item under an invocation's id: of a piece, a notification, a part or a waiter."""

    id: str
    generation: str
    sort: Any
    journal: bool
    """Whether it is a piece of the journal, or a notification, which belongs to it."""
    segment: int | None = None
    """A piece's place in the journal."""
    input: bool = False
    """Whether it is a part of the input, which may be there before the record is."""


class Store(Protocol):
    """Journals, records, keys and state. Reads are strongly consistent but for `due`.

    Every method may raise `Unavailable`.
    """

    usage: Usage

    async def load(self, id: str, cursor: Any = None) -> Page:
        """Read an invocation's input parts, journal, record and notifications. Query, 1 unit per 4 KB, 1 MB a page.

        The items of every generation under the id come back: the caller keeps those of the record's.
        """
        ...

    async def peek(self, id: str) -> Meta | None:
        """Read an invocation's record. GetItem; 1 unit per 4 KB."""
        ...

    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        """Read up to 100 invocations' records. BatchGetItem; 1 unit per 4 KB of each.

        Those that are not there are missing in the answer, and so are any that DynamoDB left unprocessed.
        """
        ...

    async def read_notifications(self, ref: Ref, cursor: Any = None) -> tuple[list[Notification], Any]:
        """Read the notifications to an invocation. Query."""
        ...

    async def output(self, ref: Ref, name: str = "output", cursor: Any = None) -> tuple[list[Part], Any]:
        """Read the parts of a payload, in order. Query, 1 MB a page."""
        ...

    async def start(self, id: str, *, set: Mapping[str, Any], now: int) -> tuple[bool, Meta | None]:
        """Begin the first attempt: set the values and raise the epoch from 0 to 1. UpdateItem.

        Requires that the record exists, has not expired at ``now``, is `Status.READY` and at epoch 0. Returns whether
        it did, and the record as it then is.
        """
        ...

    async def count_notifications(self, ref: Ref, *, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None]:
        """Count notifications that were put, and make the receiver `Status.READY`, due then, as ``wake`` has it.

        UpdateItem, which never conflicts with another one. Requires that the record exists in this generation, is not
        completed, and is as ``wake`` has it. Returns whether it did, and the record as it then is.
        """
        ...

    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        """Read up to 100 keys' heads; one that has no item has version 0. GetItem for one, else BatchGetItem.

        Keys that DynamoDB left unprocessed are missing in the answer: ask again for those.
        """
        ...

    async def inbox(self, key: ObjectKey, limit: int) -> list[InboxEntry]:
        """Read the lowest tickets that wait. Query."""
        ...

    async def state(self, key: ObjectKey, generation: str, name: str) -> StateEntry | None:
        """Read a state entry that lies beside the head. GetItem."""
        ...

    async def entries(
        self, key: ObjectKey, generation: str, cursor: Any = None, *, values: bool = False
    ) -> tuple[list[StateEntry], Any]:
        """Read the state entries that lie beside the head, with or without their values. Query, 1 MB a page."""
        ...

    async def commit(self, changes: Sequence[Change], commit_id: str) -> None:
        """Apply all changes or none. TransactWriteItems; for a single change PutItem, UpdateItem or DeleteItem.

        At most 100 changes, of different items. The nonce is stored in every item that has a field for it (in a record:
        where the attempt's epoch is required, or the record is created); ClientRequestToken derives from it and the
        changes. The same changes with the same nonce may be sent again.

        Raises:
            Conflict: If a condition does not hold.
            TooLarge: If an item, or the whole, is larger than DynamoDB takes.
        """
        ...

    async def put(self, parts: Sequence[Part]) -> list[Part]:
        """Put up to 25 parts of payloads, together 16 MB at most. BatchWriteItem. Returns the parts left to do."""
        ...

    async def waiters(self, ref: Ref, cursor: Any = None) -> tuple[list[Waiter], Any]:
        """Read who waits for an invocation's result. Query."""
        ...

    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        """List what is due, earliest first. Query of the index, eventually consistent."""
        ...

    async def active(
        self, shard: int, limit: int, *, status: Status | None = None, after: Place | None = None
    ) -> tuple[list[Listed], Place | None]:
        """List what is to go on by itself, or has this status, by due time. Query of the index; half a unit per 4 KB.

        Looks at up to ``limit`` entries behind ``after``. Returns those that fit, and where to go on if there are more.
        """
        ...

    async def history(
        self, service: str, shard: int, limit: int, *, status: Status | None = None, after: Place | None = None
    ) -> tuple[list[Listed], Place | None]:
        """List a service's invocations, latest first; otherwise like `active`.

        Raises:
            NotIndexed: If there is no such index.
        """
        ...

    async def dependents(self, id: str, cursor: Any = None) -> tuple[list[Dependent], Any]:
        """List the keys of all items under the id but the record, of any generation. Query of keys."""
        ...

    async def delete(self, keys: Sequence[Dependent]) -> list[Dependent]:
        """Delete up to 25 of what `dependents` listed. BatchWriteItem. Returns the keys left to do."""
        ...

    async def forget(self, ref: Ref, now: int) -> None:
        """Delete a record that has expired at ``now``, in this generation; it need not be there. DeleteItem."""
        ...


class Timers(Protocol):
    """Wakes what has to wake later, at least once, perhaps a minute late, perhaps a little early."""

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        """Have the invocation dispatched at a time that was committed before. The name tells its timers apart; the same
        again changes nothing."""
        ...

    async def unschedule(self, ref: Ref, name: str) -> None:
        """Forget a timer that is no longer needed; it need not exist."""
        ...


class Dispatcher(Protocol):
    """Starts or wakes invocations in some process. A dispatch may get lost, or come twice: due times make up for it."""

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool) -> None:
        """Have the invocation run: on its deployment, or, where that is empty, on the service's current one.

        ``fresh`` says that no attempt ran yet, which saves the receiver a request.
        """
        ...


class Clock(Protocol):
    """The time, and waiting for it."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


__all__ = [
    "Change", "Clock", "Conflict", "Create", "Delete", "Dependent", "Dispatcher", "Due", "Finish", "Listed",
    "MarkQueued", "NotIndexed", "Page", "Place", "Put", "Status", "Store", "TakeKey", "Timers", "TooLarge",
    "Unavailable", "Update", "Usage", "Wake", "WriteHead", "applied",
]  # fmt: skip
