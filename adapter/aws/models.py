"""The two tables and one pynamodb model for each kind of item in them.

The models describe what is stored; `adapter.aws.tables` writes and reads it, and a test compares the two. No Lambda
function imports this: pynamodb brings botocore along, which takes longer than all else of a cold start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pynamodb.attributes import Attribute, BinaryAttribute, BooleanAttribute, UnicodeAttribute
from pynamodb.constants import MAP, NUMBER, STRING
from pynamodb.models import Model

from adapter.aws.attributes import (
    read_awaiting,
    read_calling,
    read_copied,
    read_headers,
    read_outcome,
    read_parent,
    read_ref,
    read_state,
    read_target,
    write_awaiting,
    write_calling,
    write_copied,
    write_headers,
    write_outcome,
    write_parent,
    write_ref,
    write_state,
    write_target,
)
from adapter.aws.tables import DUE_INDEX, INVOCATIONS_INDEX
from adapter.engine.records import Ended, Status
from adapter.engine.types import Kind, Outcome

T = TypeVar("T")


class IntAttribute(Attribute[int]):
    """A whole number; pynamodb's own number is a float."""

    attr_type = NUMBER

    def serialize(self, value: int) -> str:
        return str(int(value))

    def deserialize(self, value: str) -> int:
        return int(value)


class TextAttribute(Attribute[T]):
    """A value that is written as text."""

    attr_type = STRING

    def __init__(self, write: Callable[[T], str], read: Callable[[str], T]) -> None:
        super().__init__()
        self._write = write
        self._read = read

    def serialize(self, value: T) -> str:
        return self._write(value)

    def deserialize(self, value: str) -> T:
        return self._read(value)


class OutcomeAttribute(Attribute[Outcome]):
    """An invocation's end: see `adapter.aws.attributes.write_outcome`."""

    attr_type = MAP

    def serialize(self, value: Outcome) -> dict[str, Any]:
        return write_outcome(value)

    def deserialize(self, value: dict[str, Any]) -> Outcome:
        return read_outcome(value)


class StateAttribute(Attribute[dict[str, bytes]]):
    """Binary values by their names."""

    attr_type = MAP

    def serialize(self, value: dict[str, bytes]) -> dict[str, Any]:
        return write_state(value)

    def deserialize(self, value: dict[str, Any]) -> dict[str, bytes]:
        return read_state(value)


# --- models: one for each kind of item -------------------------------------------------------------------------------


class _Item(Model):
    """What every item has. The store says which table a request goes to."""

    class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]
        table_name = ""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    v = IntAttribute()


class MetaItem(_Item):
    """An invocation's record. ``due_shard``, ``service_shard`` and ``ttl`` follow from the others."""

    generation = UnicodeAttribute()
    target = TextAttribute(write_target, read_target)
    kind = TextAttribute(str, Kind)
    status = TextAttribute(str, Status)
    created = IntAttribute()
    deployment = UnicodeAttribute()
    parent = TextAttribute(write_parent, read_parent)
    sender = TextAttribute(write_ref, read_ref)
    headers = TextAttribute(write_headers, read_headers)
    input = BinaryAttribute(legacy_encoding=False)
    input_parts = IntAttribute()
    copied = TextAttribute(write_copied, read_copied)
    idempotent = BooleanAttribute()
    idempotency_key = UnicodeAttribute()
    epoch = IntAttribute()
    failures = IntAttribute()
    error = UnicodeAttribute()
    failed = IntAttribute()
    notifications = IntAttribute()
    wake_after = IntAttribute()
    seen = IntAttribute()
    timer = IntAttribute()
    awaiting = TextAttribute(write_awaiting, read_awaiting)
    calling = TextAttribute(write_calling, read_calling)
    waiters = IntAttribute()
    dispatches = IntAttribute()
    due = IntAttribute()
    due_shard = UnicodeAttribute()
    service_shard = UnicodeAttribute()
    ticket = UnicodeAttribute()
    outcome = OutcomeAttribute()
    ended = TextAttribute(str, Ended)
    output_parts = IntAttribute()
    output_name = UnicodeAttribute()
    segments = IntAttribute()
    inline_journal = UnicodeAttribute()
    completed = IntAttribute()
    journal_expires = IntAttribute()
    expires = IntAttribute()
    kept = IntAttribute()
    ttl = IntAttribute()
    commit_id = UnicodeAttribute()


class SegmentItem(_Item):
    """A stretch of a journal."""

    data = UnicodeAttribute()
    calling = TextAttribute(write_calling, read_calling)
    commit_id = UnicodeAttribute()
    ttl = IntAttribute()


class NotificationItem(_Item):
    """A notification."""

    outcome = OutcomeAttribute()
    created = IntAttribute()
    commit_id = UnicodeAttribute()
    parts = UnicodeAttribute()
    after = IntAttribute()
    ttl = IntAttribute()


class PartItem(_Item):
    """A part of a large payload."""

    data = BinaryAttribute(legacy_encoding=False)
    ttl = IntAttribute()


class WaiterItem(_Item):
    """One more that waits for a result; its key says who."""

    service = UnicodeAttribute()
    deployment = UnicodeAttribute()


class HeadItem(_Item):
    """A key of an object or workflow."""

    version = IntAttribute()
    owner = TextAttribute(write_ref, read_ref)
    queued = BooleanAttribute()
    state_generation = UnicodeAttribute()
    state = StateAttribute()
    has_overflow = BooleanAttribute()
    large = BooleanAttribute()
    expires = IntAttribute()
    commit_id = UnicodeAttribute()


class InboxItem(_Item):
    """An invocation that waits for a key."""

    ref = TextAttribute(write_ref, read_ref)


class StateItem(_Item):
    """A state entry too large for the head."""

    value = BinaryAttribute(legacy_encoding=False)
    blob = TextAttribute(write_ref, read_ref)
    parts = IntAttribute()


# --- definitions -----------------------------------------------------------------------------------------------------


def definitions(history: bool = True) -> dict[str, dict[str, Any]]:
    """What template.yaml says of the tables, by their logical names there, in CreateTable's terms.

    Args:
        history: Whether there is an index of invocations.
    """
    keys = {"pk": "S", "sk": "S"}
    due = {"due_shard": "S", "due": "N"}
    past = {"service_shard": "S", "created": "N"} if history else {}
    return {
        "Invocations": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": _attributes({**keys, **due, **past}),
            "KeySchema": _schema(keys),
            "GlobalSecondaryIndexes": [
                _index(DUE_INDEX, due, "status"),
                *([_index(INVOCATIONS_INDEX, past, "ended")] if history else []),
            ],
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
        },
        "Objects": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": _attributes(keys),
            "KeySchema": _schema(keys),
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
        },
    }


def _attributes(types: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": type} for name, type in types.items()]


def _schema(names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=True)]


def _index(name: str, names: Mapping[str, str], state: str) -> dict[str, Any]:
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["target", state]}
    return {"IndexName": name, "KeySchema": _schema(names), "Projection": projection}
