"""What a commit's changes do to stored items: their conditions and effects, as functions of the item.

The stores of this machine share this. `adapter.aws.expressions` says the same in DynamoDB's terms, and the contract
tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

from adapter.aws.tables import BY_RECORD, HEAD_SK, META_SK, object_pk
from adapter.engine import lifecycle
from adapter.engine.lifetimes import record_time_to_live
from adapter.engine.ports import (
    Change,
    Create,
    Delete,
    Dependent,
    Finish,
    MarkQueued,
    Put,
    TakeKey,
    Update,
    Wake,
    WriteHead,
)
from adapter.engine.records import WAITING, Head, JournalSegment, Meta, Notification, Part, Record, StateEntry, Status
from adapter.engine.types import ObjectKey
from adapter.frozen import replace

Address = tuple[str, str]
"""An item's partition key and sort key, as in DynamoDB's tables. The sort keys give the order within a partition."""


class Write(NamedTuple):
    """An item as it is stored, and as a change leaves it (``None``: absent).

    Attributes:
        allowed: True if the change's condition holds.
    """

    address: Address
    old: Record | None
    new: Record | None
    allowed: bool = True


def address(record: Record) -> Address:
    """Return a record's address.

    >>> address(Head(ObjectKey("Counter", "Mary")))
    ('Counter/Mary', 'head')
    """
    return BY_RECORD[type(record)].key(record)


def meta_address(id: str) -> Address:
    """Return the address of an invocation's record."""
    return id, META_SK


def head_address(key: ObjectKey) -> Address:
    """Return the address of a key's head."""
    return object_pk(key), HEAD_SK


def changed_item(change: Change) -> Address:
    """Return the address of the item that a change is for."""
    match change:
        case Create(meta):
            return meta_address(meta.id)
        case Update(ref) | Finish(ref):
            return meta_address(ref.id)
        case Put(item) | Delete(item):
            return address(item)
        case WriteHead(head):
            return head_address(head.key)
        case TakeKey(key) | MarkQueued(key):
            return head_address(key)


def plan(change: Change, old: Any, commit_id: str) -> tuple[Record | None, bool]:
    """Return the item as a change leaves it, and True if the change's condition holds.

    Args:
        change: The change.
        old: The stored item at `changed_item`; ``None`` if it is absent.
        commit_id: The id of the commit, for the items that keep it.
    """
    match change:
        case Create(meta, now):
            other = old is not None and old.generation != meta.generation
            allowed = old is None or (other and old.expired(now) and not old.waiters)
            return (meta if meta.commit_id == commit_id else replace(meta, commit_id=commit_id)), allowed
        case Update():
            if old is None or not is_allowed(change, old):
                return None, False
            own = {"commit_id": commit_id} if change.epoch is not None else {}
            return changed(old, {**change.set, **own}, change.add), True
        case Finish(ref):
            if old is None or old.generation != ref.generation or old.live:
                return None, False
            return changed(old, change.set, change.add), True
        case Put(item):
            allowed = old is None or isinstance(item, StateEntry | Part)
            if isinstance(item, JournalSegment | Notification) and item.commit_id != commit_id:
                return replace(item, commit_id=commit_id), allowed
            return item, allowed
        case Delete(item):
            return None, old is not None or isinstance(item, StateEntry | Notification)
        case WriteHead(head, version, owner, empty):
            if version is None and owner is None:
                raise ValueError("a head is written under a version or an owner")
            stored: Head = old or Head(head.key)
            allowed = (
                (version is None or stored.version == version)
                and (owner is None or stored.owner == owner)
                and not (empty and stored.queued)
            )
            queued = head.queued or (version is None and stored.queued)
            return replace(head, version=stored.version + 1, queued=queued, commit_id=commit_id), allowed
        case TakeKey(key, owner, queued, empty):
            stored = old or Head(key)
            allowed = stored.owner is None and not (empty and stored.queued)
            version = stored.version + 1
            return replace(stored, version=version, owner=owner, queued=queued, commit_id=commit_id), allowed
        case MarkQueued(key, owner):
            stored = old or Head(key)
            return replace(stored, queued=True), stored.owner == owner


def is_allowed(change: Update, old: Meta) -> bool:
    """Return True if a record meets an update's condition."""
    return (
        old.generation == change.ref.generation
        and old.status is not Status.COMPLETED
        and (change.epoch is None or old.epoch == change.epoch)
        and (change.notifications is None or old.notifications <= change.notifications)
        and (change.waiters is None or old.waiters == change.waiters)
        and (change.due is None or old.due == change.due)
        and (change.status is None or old.status is change.status)
    )


def is_counted(old: Meta, generation: str, wake: Wake) -> bool:
    """Return True if notifications to an invocation are counted, in the state that it is in."""
    if old.generation != generation or not old.live:
        return False
    match wake:
        case Wake.NONE:
            return True
        case Wake.SUSPENDED:
            return old.status is Status.SUSPENDED
        case Wake.WAITING:
            return old.status in WAITING


def counted(old: Meta, count: int, wake: Wake, due: int) -> Meta:
    """Return a record with notifications counted, woken if ``wake`` says so."""
    woken = {} if wake is Wake.NONE else lifecycle.counted(due)
    raised = {} if wake is Wake.NONE else {"epoch": 1}
    return changed(old, woken, {"notifications": count, **raised})


_DEFAULTS: Final[dict[str, Any]] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in fields(Meta)
}
_values_of: Final[Callable[[Meta], tuple[Any, ...]]] = attrgetter(*_DEFAULTS)


def changed(old: Meta, set: Mapping[str, Any], add: Mapping[str, int]) -> Meta:
    """Return a record with other values. ``None`` stands for a field's default."""
    values = {name: _DEFAULTS[name] if value is None else value for name, value in set.items()}
    for name, number in add.items():
        values[name] = (getattr(old, name) or 0) + number
    return Meta(**(dict(zip(_DEFAULTS, _values_of(old), strict=True)) | values))


def renewed(old: Record | None, ttl: int) -> Record | None:
    """Return an item with a later time to live; ``None`` if it has none, or that one already."""
    if isinstance(old, JournalSegment | Notification | Part) and old.ttl is not None and old.ttl < ttl:
        return cast("Record", replace(old, ttl=ttl))
    return None


def time_to_live(record: Record) -> int | None:
    """Return when DynamoDB may delete an item, in seconds since the epoch."""
    if isinstance(record, Meta):
        return None if record.expires is None else record_time_to_live(record.expires)
    return getattr(record, "ttl", None)


def dependent(record: Record) -> Dependent:
    """Return the key of an item under an invocation's id."""
    id, sk = address(record)
    segment = record.index if isinstance(record, JournalSegment) else None
    return Dependent(id, sk.split("#", 2)[1], sk, segment, time_to_live(record))
