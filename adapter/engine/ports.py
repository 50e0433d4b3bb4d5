"""The engine's ports: a store, timers, a dispatcher, a clock.

One `Store` method is one DynamoDB request. A commit is a list of changes, one for each item, that apply together or not
at all. Every change carries the condition that makes it safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from adapter.engine.records import (
    Ended,
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
from adapter.frozen import frozen

# --- changes: one item each ------------------------------------------------------------------------------------------


@frozen
class Create:
    """Put an invocation's record. Requires that there is none, or one of another generation that has expired at ``now``
    and has no waiter left.

    A late copy of the change would otherwise create the record again after an operator whose clock is behind has purged
    it.
    """

    meta: Meta
    now: int


@frozen
class Update:
    """Change the record of an invocation. Requires that it exists in this generation and is not completed.

    Attributes:
        ref: The invocation.
        set: New values by the names of `Meta`'s fields. ``None`` removes a value.
        add: Numbers to add, by the names of `Meta`'s fields.
        epoch: The required epoch. If it is given, the commit's id is stored as well.
        notifications: The most notifications that may be counted.
        waiters: The required number of waiters.
        due: The required due time.
        status: The required status.
    """

    ref: Ref
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    add: Mapping[str, int] = field(default_factory=dict[str, int])
    epoch: int | None = None
    notifications: int | None = None
    waiters: int | None = None
    due: int | None = None
    status: Status | None = None


@frozen
class Finish:
    """Change the record of a completed invocation, at the end of a fan-out or to move its due time. Requires that it
    exists in this generation and is completed."""

    ref: Ref
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    add: Mapping[str, int] = field(default_factory=dict[str, int])


@frozen
class Put:
    """Put a journal segment, a notification, a waiter or an inbox entry. Requires that it is absent.

    A state entry or a part is put in any case: the record that points at it is its guard.
    """

    item: JournalSegment | Notification | Part | Waiter | InboxEntry | StateEntry


@frozen
class Delete:
    """Delete an inbox entry or a waiter, which has to exist, or a state entry or a notification, which need not."""

    item: InboxEntry | Waiter | StateEntry | Notification


@frozen
class WriteHead:
    """Write a key's head and raise its version by one. Requires a version, or an owner.

    Attributes:
        head: The new head. If no version is required, ``queued`` can be set here but not cleared.
        version: The required version; 0: no item.
        owner: The required owner.
        empty: True if ``queued`` must not be set in the stored head.
    """

    head: Head
    version: int | None = None
    owner: Ref | None = None
    empty: bool = False


@frozen
class TakeKey:
    """Make an invocation the owner of a key. Requires that the key has no owner, whatever its state and version are.

    Attributes:
        key: The key. It need not have an item.
        owner: The new owner.
        queued: The new value of ``queued``.
        empty: True if ``queued`` must not be set in the stored head.
    """

    key: ObjectKey
    owner: Ref
    queued: bool
    empty: bool


@frozen
class MarkQueued:
    """Tell a key's owner that an invocation waits in the inbox. Requires the owner. The version stays.

    It is committed alone, as an UpdateItem, which never conflicts with another one.
    """

    key: ObjectKey
    owner: Ref


Change = Create | Update | Finish | Put | Delete | WriteHead | TakeKey | MarkQueued


class Wake(StrEnum):
    """Which receivers continue when a notification to them is counted."""

    NONE = "none"
    """None. The notification is only counted."""
    SUSPENDED = "suspended"
    """A receiver that is suspended."""
    WAITING = "waiting"
    """A receiver that is suspended, paused, or waits for its next attempt."""


class Conflict(Exception):
    """The conditions of a commit do not hold. Nothing was applied.

    Attributes:
        found: The stored items whose conditions failed (``None``: absent), by the places of their changes in the
            commit.
    """

    def __init__(self, found: Mapping[int, Record | None]) -> None:
        super().__init__(f"conditions failed: {dict(found)}")
        self.found = found


def applied(changes: Sequence[Change], found: Mapping[int, Record | None], commit_id: str) -> bool:
    """Return True if the conditions failed because the same commit had applied before, and its answer was lost.

    A commit applies as a whole, so one item with its commit id is proof. A single item without a commit id is compared.
    """
    if any(getattr(record, "commit_id", None) == commit_id for record in found.values()):
        return True
    change = changes[0]
    return len(changes) == 1 and isinstance(change, Put) and found.get(0) == change.item


class Unavailable(Exception):
    """A request was throttled, collided or got no answer. It may have applied, or may apply later. Send the same
    again."""


class Contended(Unavailable):
    """Other transactions are changing the same items. Nothing was applied. A smaller commit may succeed."""


class Misconfigured(Exception):
    """The store refuses this process: a permission or a table is missing. The message says what to do."""


class TooLarge(Exception):
    """A record is larger than the store holds. Nothing was applied, and sending it again does not help."""


# --- the ports -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Usage:
    """The requests to the store so far, and the capacity units that they consumed (half units: see the `pricing rules
    <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>`_)."""

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0


@frozen
class Page:
    """A page of an invocation's partition, in the order of its keys: input parts, journal, record, notifications."""

    parts: list[Part]
    segments: list[JournalSegment]
    meta: Meta | None
    notifications: list[Notification]
    cursor: Any = None
    """Where the next page begins; ``None`` at the end."""


@frozen
class Due:
    """An entry of the due index, which lags behind the records."""

    id: str
    due: int


class Place(NamedTuple):
    """A place in an index: after the entry with this time and this id."""

    at: int
    id: str


@frozen
class Listed:
    """An entry of the due index, which lags behind the records.

    Attributes:
        at: The due time.
    """

    id: str
    target: Target
    status: Status
    at: int

    @property
    def place(self) -> Place:
        return Place(self.at, self.id)


@frozen
class Indexed:
    """An entry of the index of invocations, which lags behind the records.

    An entry is written when the invocation is created and when it ends.

    Attributes:
        at: When the invocation was created.
        ended: How it ended; ``None`` if it is live.
    """

    id: str
    target: Target
    at: int
    ended: Ended | None

    @property
    def place(self) -> Place:
        return Place(self.at, self.id)


@frozen
class Wanted:
    """The invocations to list.

    Attributes:
        since: They were created at this time or later, in milliseconds.
        until: They were created before this time.
        handler: They run this handler.
        key: They have this key.
        ended: They ended in one of these ways. ``None`` in it stands for those that are live. Empty: all.
    """

    since: int | None = None
    until: int | None = None
    handler: str | None = None
    key: str | None = None
    ended: frozenset[Ended | None] = frozenset()

    @property
    def everything(self) -> bool:
        """True if every entry in the span of time matches."""
        return self.handler is None and self.key is None and not self.ended

    def matches(self, entry: Indexed) -> bool:
        """Return True if an entry in the span of time is wanted."""
        return (
            (self.handler is None or self.handler == entry.target.handler)
            and (self.key is None or self.key == entry.target.key)
            and (not self.ended or entry.ended in self.ended)
        )


EVERYTHING = Wanted()
"""All invocations."""


class NotIndexed(Exception):
    """The index does not exist."""


class Dependent(NamedTuple):
    """The key of an item under an invocation's id: a journal segment, a notification, a part or a waiter."""

    id: str
    generation: str
    sort: Any
    segment: int | None = None
    """A segment's place in the journal."""
    ttl: int | None = None
    """The item's time to live, in seconds since the epoch."""


class Store(Protocol):
    """Journals, records, keys and state. All reads are strongly consistent, except those of an index.

    Every method may raise `Unavailable`.
    """

    usage: Usage

    async def load(self, id: str, cursor: Any = None) -> Page:
        """Read an invocation's input parts, journal, record and notifications. Query, 1 unit per 4 KB, 1 MB a page.

        The page contains items of every generation under the id. The caller keeps those of the record's generation.
        """
        ...

    async def peek(self, id: str) -> Meta | None:
        """Read an invocation's record. GetItem; 1 unit per 4 KB."""
        ...

    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        """Read up to 100 invocations' records. BatchGetItem; 1 unit per 4 KB of each.

        The answer lacks records that do not exist, and those that DynamoDB left unprocessed.
        """
        ...

    async def read_notifications(self, ref: Ref, cursor: Any = None) -> tuple[list[Notification], Any]:
        """Read the notifications to an invocation. Query."""
        ...

    async def output(self, ref: Ref, name: str = "output", cursor: Any = None) -> tuple[list[Part], Any]:
        """Read the parts of a payload, in order. Query, 1 MB a page."""
        ...

    async def count_notifications(self, ref: Ref, *, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None]:
        """Count notifications that were put. ``wake`` says whether the receiver becomes `Status.READY`, with this due
        time, and a higher epoch, so that a late copy of the write that made the receiver wait fails.

        UpdateItem, which never conflicts with another one. Requires that the record exists in this generation, is not
        completed, and is in a state that ``wake`` covers. Return whether they were counted, and the record as it then
        is.
        """
        ...

    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        """Read up to 100 keys' heads; one that has no item has version 0. GetItem for one, else BatchGetItem.

        The answer lacks keys that DynamoDB left unprocessed: ask again for those.
        """
        ...

    async def inbox(self, key: ObjectKey, limit: int) -> list[InboxEntry]:
        """Read the inbox entries with the lowest tickets. Query."""
        ...

    async def state(self, key: ObjectKey, generation: str, name: str) -> StateEntry | None:
        """Read an overflow entry of the state. GetItem."""
        ...

    async def entries(
        self, key: ObjectKey, generation: str, cursor: Any = None, *, values: bool = False
    ) -> tuple[list[StateEntry], Any]:
        """Read the overflow entries of the state, with or without their values. Query, 1 MB a page."""
        ...

    async def commit(self, changes: Sequence[Change], commit_id: str) -> None:
        """Apply all changes or none. TransactWriteItems; for a single change PutItem, UpdateItem or DeleteItem.

        At most 100 changes, of different items. Items that have a field for the commit id store it; a record does so if
        it is created, or if the attempt's epoch is required. ClientRequestToken derives from the commit id and the
        changes. The same changes may be sent again with the same commit id.

        Raises:
            Conflict: If a condition does not hold.
            TooLarge: If an item, or the whole, is larger than DynamoDB takes.
        """
        ...

    async def put(self, parts: Sequence[Part]) -> list[Part]:
        """Put up to 25 parts of payloads, together 16 MB at most. BatchWriteItem. Return the parts that are left to
        put."""
        ...

    async def waiters(self, ref: Ref, cursor: Any = None) -> tuple[list[Waiter], Any]:
        """Read the waiters for an invocation's result. Query."""
        ...

    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        """List the records that are due, earliest first. Query of the index, eventually consistent."""
        ...

    async def active(self, shard: int, limit: int, *, after: Place | None = None) -> tuple[list[Listed], Place | None]:
        """List the records that have a due time and are not completed, by due time. Query of the index; half a unit per
        4 KB.

        Read up to ``limit`` entries after ``after``. Return those that match, and the place to continue at if there are
        more.
        """
        ...

    async def index(
        self, partition: str, limit: int, *, wanted: Wanted = EVERYTHING, after: Place | None = None
    ) -> tuple[list[Indexed], Place | None]:
        """List the invocations of a partition (see `adapter.engine.ids.partition`), latest first. Query of the index;
        half a unit per 4 KB of the entries read.

        Read up to ``limit`` entries in the wanted span of time after ``after``. Return those that match, and the place
        to continue at if there are more.

        Raises:
            NotIndexed: If there is no such index.
        """
        ...

    async def dependents(self, id: str, cursor: Any = None) -> tuple[list[Dependent], Any]:
        """List the keys of all items under the id except the record, of any generation. Query of keys."""
        ...

    async def delete(self, keys: Sequence[Dependent]) -> list[Dependent]:
        """Delete up to 25 items that `dependents` listed. BatchWriteItem. Return the keys that are left to delete."""
        ...

    async def renew(self, key: Dependent, ttl: int) -> None:
        """Raise the time to live, in seconds since the epoch, of an item that `dependents` listed. UpdateItem; a unit
        per KB of the item. Nothing happens to an item that is gone, has no time to live, or has a later one."""
        ...

    async def forget(self, ref: Ref, now: int) -> None:
        """Delete a record of this generation that has expired at ``now``. It need not exist. DeleteItem."""
        ...


class Timers(Protocol):
    """Wakes invocations later: at least once, perhaps a minute late, perhaps a little early."""

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        """Dispatch the invocation at a time that is committed already. The name tells its timers apart; scheduling the
        same timer again changes nothing."""
        ...

    async def unschedule(self, ref: Ref, name: str) -> None:
        """Delete a timer that is no longer needed. It need not exist."""
        ...


class Dispatcher(Protocol):
    """Starts or wakes invocations in some process. A dispatch may get lost, or come twice; due times make up for it."""

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        """Run the invocation on its deployment. If that is empty, run it on the service's current one.

        Args:
            ref: The invocation.
            service: Its service.
            deployment: Its deployment.
            fresh: True if no attempt has run yet, which saves the receiver a request.
            batch: How many invocations the process may be sent at once (see `Engine.resume_all`).
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
    "Change", "Clock", "Conflict", "Create", "Delete", "Dependent", "Dispatcher", "Due", "Finish", "Indexed",
    "Listed", "MarkQueued", "Misconfigured", "NotIndexed", "Page", "Place", "Put", "Status", "Store", "TakeKey",
    "Timers", "TooLarge", "Unavailable", "Update", "Usage", "Wake", "Wanted", "WriteHead", "applied",
]  # fmt: skip
