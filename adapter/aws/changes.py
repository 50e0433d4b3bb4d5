"""What a change of the store asks of DynamoDB: the item or the update, and the condition that makes it safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal

from adapter.aws.expressions import (
    Condition,
    Terms,
    Value,
    all_of,
    any_of,
    at_most,
    differs,
    equals,
    exists,
    is_absent,
    is_one_of,
    update,
)
from adapter.aws.tables import BY_RECORD, FORMAT, HEAD, HEAD_SK, META, META_SK, derived, object_pk, write
from adapter.engine.ports import (
    Change,
    Create,
    Delete,
    Finish,
    MarkQueued,
    Put,
    TakeKey,
    Update,
    Wake,
    WriteHead,
)
from adapter.engine.records import (
    WAITING,
    Head,
    InboxEntry,
    JournalSegment,
    Notification,
    Part,
    Record,
    StateEntry,
    Status,
)
from adapter.engine.types import ObjectKey
from adapter.frozen import replace

Action = Literal["Put", "Update", "Delete"]

OPERATIONS: Final[dict[Action, str]] = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


class Changes:
    """Makes the requests of changes.

    Args:
        invocations: The name of the table of invocations.
        objects: The name of the table of objects.
    """

    def __init__(self, invocations: str, objects: str) -> None:
        self._invocations = invocations
        self._objects = objects

    def of(self, change: Change, commit_id: str) -> tuple[Action, dict[str, Any]]:
        """Return what a change does, and its request."""
        match change:
            case Create(meta, now):
                item = write(replace(meta, commit_id=commit_id))
                other = differs("generation", META.value("generation", meta.generation))
                replaces = all_of(other, expired_at(now), meta_is("waiters", 0))
                condition = any_of(is_absent("pk"), replaces)
                return "Put", {"Item": item, **self.conditional(self._invocations, condition)}
            case Update(ref):
                own = {"commit_id": commit_id} if change.epoch is not None else {}
                return "Update", self.update(ref.id, allowed(change), {**change.set, **own}, change.add)
            case Finish(ref):
                condition = all_of(meta_is("generation", ref.generation), meta_is("status", Status.COMPLETED))
                return "Update", self.update(ref.id, condition, change.set, change.add)
            case Put(StateEntry() | Part() as item):
                return "Put", {"Item": write(item), "TableName": self.table(item)}
            case Put(item):
                stored = replace(item, commit_id=commit_id) if isinstance(item, JournalSegment | Notification) else item
                return "Put", {"Item": write(stored), **self.conditional(self.table(item), is_absent("pk"))}
            case Delete(item):
                key = {"Key": item_key(*BY_RECORD[type(item)].key(item))}
                if isinstance(item, StateEntry | Notification):
                    return "Delete", {**key, "TableName": self.table(item)}
                return "Delete", {**key, **self.conditional(self.table(item), exists("pk"))}
            case WriteHead():
                return self._write_head(change, commit_id)
            case TakeKey(key, owner, queued, empty):
                free = is_absent("owner")
                condition = all_of(free, is_absent("queued")) if empty else free
                values = {"owner": owner, "queued": queued, "commit_id": commit_id}
                return "Update", self._update_head(key, condition, values)
            case MarkQueued(key, owner):
                return "Update", self._update_head(key, head_is("owner", owner), {"queued": True}, raises=False)

    def _write_head(self, change: WriteHead, commit_id: str) -> tuple[Action, dict[str, Any]]:
        conditions: list[Condition] = []
        if change.version is not None:
            absent = change.version == 0
            conditions.append(is_absent("pk") if absent else head_is("version", change.version))
        if change.owner is not None:
            conditions.append(head_is("owner", change.owner))
        if not conditions:
            raise ValueError("a head is written under a version or an owner")
        if change.empty and change.version != 0:
            conditions.append(is_absent("queued"))
        condition = all_of(*conditions)
        head = replace(change.head, commit_id=commit_id)
        if change.version is not None:
            item = HEAD.write(replace(head, version=change.version + 1))
            return "Put", {"Item": item, **self.conditional(self._objects, condition)}
        kept = {"key", "version", *(() if head.queued else ("queued",))}
        values = {name: getattr(head, name) for name in HEAD.codecs if name not in kept}
        return "Update", self._update_head(head.key, condition, values)

    def _update_head(
        self, key: ObjectKey, condition: Condition, set: Mapping[str, Any], *, raises: bool = True
    ) -> dict[str, Any]:
        values = {"v": HEAD.value("v", FORMAT), **{name: HEAD.assigned(name, value) for name, value in set.items()}}
        add = {"version": 1} if raises else {}
        place = item_key(object_pk(key), HEAD_SK)
        return {"Key": place, **self.conditional(self._objects, condition, values, add)}

    def update(self, id: str, condition: Condition, set: Mapping[str, Any], add: Mapping[str, int]) -> dict[str, Any]:
        """Return the request that updates an invocation's record."""
        values = {name: META.assigned(name, value) for name, value in {**set, **derived(id, set)}.items()}
        if not (values or add):
            values = {"v": META.value("v", FORMAT)}  # a transaction's update has to do something, if it only requires
        return {"Key": item_key(id, META_SK), **self.conditional(self._invocations, condition, values, add)}

    def conditional(
        self,
        table: str,
        condition: Condition,
        values: Mapping[str, Value | None] | None = None,
        add: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Return the part of a request that says what has to hold, and what an update does."""
        terms = Terms()
        request: dict[str, Any] = {
            "TableName": table,
            "ConditionExpression": condition(terms),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values or add:
            request["UpdateExpression"] = update(values or {}, add or {}, terms)
        return {**request, **terms.parameters()}

    def table(self, record: Record) -> str:
        """Return the table that holds a record."""
        return self._objects if isinstance(record, Head | InboxEntry | StateEntry) else self._invocations


def item_key(pk: str, sk: str) -> dict[str, dict[str, str]]:
    """Return a key as requests have it."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def address(request: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the table and the key of the item that a request changes."""
    key = request.get("Key") or request["Item"]
    return request["TableName"], key["pk"]["S"], key["sk"]["S"]


def token(items: Sequence[object], commit_id: str) -> str:
    """The ClientRequestToken: of this commit id and these changes, as DynamoDB refuses others under the same token."""
    return blake2b(repr((commit_id, items)).encode(), digest_size=18).hexdigest()


# --- conditions ------------------------------------------------------------------------------------------------------


def meta_is(name: str, value: Any) -> Condition:
    """Require a value in a record."""
    return equals(name, META.value(name, value))


def head_is(name: str, value: Any) -> Condition:
    """Require a value in a head."""
    return equals(name, HEAD.value(name, value))


def expired_at(now: int) -> Condition:
    """Require that a record has expired."""
    return at_most("expires", META.value("expires", now))


def allowed(change: Update) -> Condition:
    """Require what an update requires."""
    conditions = [
        meta_is("generation", change.ref.generation),
        differs("status", META.value("status", Status.COMPLETED)),
    ]
    for name in ("epoch", "waiters", "due", "status"):
        required = getattr(change, name)
        if required is not None:
            conditions.append(meta_is(name, required))
    if change.notifications is not None:
        conditions.append(at_most("notifications", META.value("notifications", change.notifications)))
    return all_of(*conditions)


def woken(wake: Wake) -> Condition:
    """Require that a receiver of notifications continues."""
    if wake is Wake.WAITING:
        return is_one_of("status", *(META.value("status", status) for status in WAITING))
    return meta_is("status", Status.SUSPENDED)
