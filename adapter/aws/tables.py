"""The two tables: their definitions, one pynamodb model for each kind of item, and records to items and back.

A model says what an item's attributes are called and how their values are written. Requests are built from it, and what
comes back is read through it, without an instance of the model in between: records are the instances.

Every item carries the version of its format. A version that is newer than this code is refused, not guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, Generic, TypeVar, cast

from pynamodb.attributes import Attribute, BinaryAttribute, BooleanAttribute, UnicodeAttribute
from pynamodb.constants import MAP, NUMBER, STRING
from pynamodb.models import Model

from adapter.engine import ids
from adapter.engine.ports import Dependent, Listed
from adapter.engine.records import (
    Awaits,
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Parent,
    Part,
    Record,
    Ref,
    StateEntry,
    Status,
    Unreadable,
    Waiter,
)
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome, Target

FORMAT: Final = 1
"""The version of the items' format that this code writes; it reads every version up to it."""

TTL_MARGIN: Final = 7 * 24 * 3600
"""Seconds between a record's expiry and its time to live, the safety net behind the engine's own deleting."""

Item = Mapping[str, Mapping[str, Any]]
"""An item, or a key, as DynamoDB's API has it: values by their attributes' types."""


class StoredFormatError(Unreadable):
    """A stored item that this code can't read: of a newer version, of an unknown kind, or with something missing."""

    def __init__(self, item: Item, reason: str) -> None:
        place = "/".join(str(item.get(name, {}).get("S", "?")) for name in ("pk", "sk"))
        super().__init__(f"item {place} (version {item.get('v', {}).get('N', '?')}): {reason}")


def require_version(item: Item) -> None:
    """Refuse an item of a format that this code does not know.

    Raises:
        StoredFormatError: If its version is newer, or it has none.
    """
    version = item.get("v", {}).get("N", "")
    if not version.isdecimal():
        raise StoredFormatError(item, "damaged: it has no version")
    if int(version) > FORMAT:
        raise StoredFormatError(item, f"this code reads versions up to {FORMAT}; deploy newer code")


# --- definitions -----------------------------------------------------------------------------------------------------

DUE_INDEX: Final = "due"
HISTORY_INDEX: Final = "history"


def definitions(history: bool = True) -> dict[str, dict[str, Any]]:
    """What template.yaml says of the tables, by their logical names there, in CreateTable's terms.

    Args:
        history: Whether there is an index of a service's invocations.
    """
    keys = {"pk": "S", "sk": "S"}
    due = {"due_shard": "S", "due": "N"}
    past = {"service_shard": "S", "created": "N"} if history else {}
    return {
        "Invocations": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": _attributes({**keys, **due, **past}),
            "KeySchema": _schema(keys),
            "GlobalSecondaryIndexes": [_index(DUE_INDEX, due), *([_index(HISTORY_INDEX, past)] if history else [])],
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


def _index(name: str, names: Mapping[str, str]) -> dict[str, Any]:
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["target", "status"]}
    return {"IndexName": name, "KeySchema": _schema(names), "Projection": projection}


# --- attributes ------------------------------------------------------------------------------------------------------

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
    """``{value}``, or ``{code, message}`` with ``metadata`` and ``reason`` if it has them, or empty."""

    attr_type = MAP

    def serialize(self, value: Outcome) -> dict[str, Any]:
        if value.failure is not None:
            failure: dict[str, Any] = {"code": {"N": str(value.failure.code)}, "message": {"S": value.failure.message}}
            if value.failure.metadata:
                failure["metadata"] = {"M": {name: {"S": text} for name, text in value.failure.metadata.items()}}
            if value.failure.reason:
                failure["reason"] = {"S": value.failure.reason}
            return failure
        return {"value": {"B": value.value}} if value.value is not None else {}

    def deserialize(self, value: dict[str, Any]) -> Outcome:
        if "code" in value:
            metadata = {name: text["S"] for name, text in value.get("metadata", {"M": {}})["M"].items()}
            reason = value.get("reason", {"S": ""})["S"]
            return Outcome(failure=Failure(int(value["code"]["N"]), value["message"]["S"], metadata, reason))
        return Outcome(value["value"]["B"]) if "value" in value else Outcome()


class StateAttribute(Attribute[dict[str, bytes]]):
    """Binary values by their names."""

    attr_type = MAP

    def serialize(self, value: dict[str, bytes]) -> dict[str, Any]:
        return {name: {"B": data} for name, data in value.items()}

    def deserialize(self, value: dict[str, Any]) -> dict[str, bytes]:
        return {name: data["B"] for name, data in value.items()}


def write_target(target: Target) -> str:
    """``service/handler`` or ``service/handler/key``.

    No service's or handler's name has a slash, but a promise's may, which stands in the handler's place.

    >>> write_target(Target("SignUp", "code/100%", "Mary/Smith"))
    'SignUp/code%2F100%25/Mary/Smith'
    """
    handler = target.handler.replace("%", "%25").replace("/", "%2F")
    return "/".join((target.service, handler) if target.key is None else (target.service, handler, target.key))


def read_target(text: str) -> Target:
    service, handler, *key = text.split("/", 2)
    return Target(service, handler.replace("%2F", "/").replace("%25", "%"), *key)


def write_ref(ref: Ref) -> str:
    return f"{ref.id}#{ref.generation}"


def read_ref(text: str) -> Ref:
    id, generation = text.split("#")
    return Ref(id, generation)


def write_parent(parent: Parent) -> str:
    return _json([*parent.ref, parent.command, parent.service, parent.deployment, parent.alone])


def read_parent(text: str) -> Parent:
    id, generation, *rest = json.loads(text)
    return Parent(Ref(id, generation), *rest)


def write_headers(headers: Mapping[str, str]) -> str:
    return _json(dict(headers))


def read_headers(text: str) -> dict[str, str]:
    headers = json.loads(text)
    if not isinstance(headers, dict):
        raise ValueError(f"no headers: {text[:80]}")
    return cast("dict[str, str]", headers)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_awaits(awaits: Awaits) -> str:
    calls = [awaits.calls] if awaits.calls else []
    return _json([awaits.seen, awaits.all, awaits.ids, awaits.commands, *calls])


def read_awaits(text: str) -> Awaits:
    seen, all, ids, commands, *calls = json.loads(text)
    return Awaits(seen, all, tuple(ids), tuple(commands), *map(tuple, calls))


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
    headers = TextAttribute(write_headers, read_headers)
    input = BinaryAttribute(legacy_encoding=False)
    input_parts = IntAttribute()
    idempotent = BooleanAttribute()
    epoch = IntAttribute()
    failures = IntAttribute()
    error = UnicodeAttribute()
    notifications = IntAttribute()
    wake_after = IntAttribute()
    seen = IntAttribute()
    timer = IntAttribute()
    awaits = TextAttribute(write_awaits, read_awaits)
    waiters = IntAttribute()
    dispatches = IntAttribute()
    due = IntAttribute()
    due_shard = UnicodeAttribute()
    service_shard = UnicodeAttribute()
    ticket = UnicodeAttribute()
    outcome = OutcomeAttribute()
    output_parts = IntAttribute()
    output_name = UnicodeAttribute()
    segments = IntAttribute()
    inline_journal = UnicodeAttribute()
    completed = IntAttribute()
    journal_expires = IntAttribute()
    expires = IntAttribute()
    ttl = IntAttribute()
    commit_id = UnicodeAttribute()


class SegmentItem(_Item):
    """A stretch of a journal."""

    data = UnicodeAttribute()
    commit_id = UnicodeAttribute()


class NotificationItem(_Item):
    """A notification."""

    outcome = OutcomeAttribute()
    created = IntAttribute()
    commit_id = UnicodeAttribute()
    parts = UnicodeAttribute()
    after = IntAttribute()


class PartItem(_Item):
    """A part of a large payload."""

    data = BinaryAttribute(legacy_encoding=False)


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


# --- keys ------------------------------------------------------------------------------------------------------------
# In an invocation's partition: input#… < j#… < meta < n#… < p#… < w#…, so that one query reads the parts of the input,
# the journal, then the record with its count of notifications, then the notifications. Numbers have a fixed width.

META_SK: Final = "meta"
HEAD_SK: Final = "head"


def object_pk(key: ObjectKey) -> str:
    """``service/key``: no service's name has a slash."""
    return f"{key.service}/{key.key}"


def read_object_pk(pk: str) -> ObjectKey:
    service, key = pk.split("/", 1)
    return ObjectKey(service, key)


def parts_sk(generation: str, name: str) -> str:
    """What the sort keys of a payload's parts begin with. Only the input's are read together with the journal."""
    return f"input#{generation}#" if name == "input" else f"p#{generation}#{name}#"


def state_sk(generation: str, name: str) -> str:
    return f"s#{generation}#{name}"


def _read_segment(pk: str, sk: str) -> dict[str, Any]:
    _, generation, index = sk.split("#")
    return {"id": pk, "generation": generation, "index": int(index)}


def dependent(id: str, sk: str) -> Dependent:
    """What the sort key of an item under an invocation's id says, whatever the item holds.

    >>> dependent("inv_a", "j#g#00000003")
    Dependent(id='inv_a', generation='g', sort='j#g#00000003', journal=True, segment=3, input=False)
    """
    kind, _, rest = sk.partition("#")
    generation, _, place = rest.partition("#")
    segment = int(place) if kind == "j" and place.isdecimal() else None
    return Dependent(id, generation, sk, kind in ("j", "n"), segment, kind == "input")


def _read_notification(pk: str, sk: str) -> dict[str, Any]:
    _, generation, id = sk.split("#", 2)
    return {"to": Ref(pk, generation), "id": id}


def _read_input(pk: str, sk: str) -> dict[str, Any]:
    _, generation, index = sk.split("#")
    return {"id": pk, "generation": generation, "name": "input", "index": int(index)}


def _read_part(pk: str, sk: str) -> dict[str, Any]:
    prefix, index = sk.rsplit("#", 1)
    _, generation, name = prefix.split("#", 2)
    return {"id": pk, "generation": generation, "name": name, "index": int(index)}


def _read_waiter(pk: str, sk: str) -> dict[str, Any]:
    _, generation, id, waiter_generation, command = sk.split("#")
    return {"id": pk, "generation": generation, "waiter": Ref(id, waiter_generation), "command": int(command)}


def _read_state(pk: str, sk: str) -> dict[str, Any]:
    _, generation, name = sk.split("#", 2)
    return {"key": read_object_pk(pk), "generation": generation, "name": name}


# --- records and items -----------------------------------------------------------------------------------------------

R = TypeVar("R", bound=Record)


def attributes_of(model: type[Model]) -> dict[str, Attribute[Any]]:
    """A model's attributes by their names."""
    return model.get_attributes()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute that holds a field of the record's. It is left out where the field has its default."""

    name: str
    type: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    default: Any


class Layout(Generic[R]):
    """How one kind of record is stored.

    Args:
        record: The record's class.
        model: Its items' model. Attributes that the record has as well hold its fields.
        key: The item's ``pk`` and ``sk``.
        read_key: The fields that the key holds.
        counted: Numbers that conditions compare, which are therefore always written.
    """

    def __init__(
        self,
        record: type[R],
        model: type[Model],
        key: Callable[[R], tuple[str, str]],
        read_key: Callable[[str, str], dict[str, Any]],
        counted: frozenset[str] = frozenset(),
    ) -> None:
        attributes = attributes_of(model)
        self.record = record
        self.model = model
        self.key = key
        self.read_key = read_key
        self.counted = counted
        self.attributes = {field.name: attributes[field.name] for field in fields(record) if field.name in attributes}
        self.defaults = {
            field.name: field.default_factory() if field.default_factory is not MISSING else field.default
            for field in fields(record)
        }
        self._fields = [
            Field(
                name,
                attribute.attr_type,
                attribute.serialize,
                attribute.deserialize,
                MISSING if name in counted else self.defaults[name],
            )
            for name, attribute in self.attributes.items()
        ]

    def write(self, record: R) -> dict[str, dict[str, Any]]:
        """The record's item."""
        pk, sk = self.key(record)
        item = {"pk": {"S": pk}, "sk": {"S": sk}, "v": {"N": str(FORMAT)}}
        for field in self._fields:
            value = getattr(record, field.name)
            if value != field.default:
                item[field.name] = {field.type: field.write(value)}
        return item

    def read(self, item: Item) -> R:
        """The item's record.

        Raises:
            StoredFormatError: If the item isn't such a record's, or of a newer version.
        """
        require_version(item)
        try:
            values = self.read_key(item["pk"]["S"], item["sk"]["S"])
            for field in self._fields:
                stored = item.get(field.name)
                if stored is not None:
                    values[field.name] = field.read(stored[field.type])
                elif field.default is MISSING:
                    raise KeyError(field.name)
            return self.record(**values)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise StoredFormatError(item, f"damaged: no {self.record.__name__}, by {error!r}") from error


META = Layout(
    Meta,
    MetaItem,
    lambda meta: (meta.id, META_SK),
    lambda pk, sk: {"id": pk},
    counted=frozenset({"epoch", "notifications", "waiters"}),
)
SEGMENT = Layout(
    JournalSegment,
    SegmentItem,
    lambda segment: (segment.id, f"j#{segment.generation}#{segment.index:08}"),
    _read_segment,
)
NOTIFICATION = Layout(
    Notification, NotificationItem, lambda note: (note.to.id, f"n#{note.to.generation}#{note.id}"), _read_notification
)
INPUT = Layout(
    Part, PartItem, lambda part: (part.id, f"{parts_sk(part.generation, 'input')}{part.index:06}"), _read_input
)
PART = Layout(
    Part, PartItem, lambda part: (part.id, f"{parts_sk(part.generation, part.name)}{part.index:06}"), _read_part
)
WAITER = Layout(
    Waiter,
    WaiterItem,
    lambda waiter: (waiter.id, f"w#{waiter.generation}#{write_ref(waiter.waiter)}#{waiter.command}"),
    _read_waiter,
)
HEAD = Layout(
    Head,
    HeadItem,
    lambda head: (object_pk(head.key), HEAD_SK),
    lambda pk, sk: {"key": read_object_pk(pk)},
    counted=frozenset({"version"}),
)
INBOX = Layout(
    InboxEntry,
    InboxItem,
    lambda entry: (object_pk(entry.key), f"in#{entry.ticket}"),
    lambda pk, sk: {"key": read_object_pk(pk), "ticket": sk.removeprefix("in#")},
)
STATE = Layout(
    StateEntry, StateItem, lambda entry: (object_pk(entry.key), state_sk(entry.generation, entry.name)), _read_state
)

BY_RECORD: Final[dict[type[Record], Layout[Any]]] = {
    Meta: META,
    JournalSegment: SEGMENT,
    Notification: NOTIFICATION,
    Part: PART,
    Waiter: WAITER,
    Head: HEAD,
    InboxEntry: INBOX,
    StateEntry: STATE,
}

BY_SK: Final[dict[str, Layout[Any]]] = {
    "input": INPUT,
    "j": SEGMENT,
    "meta": META,
    "n": NOTIFICATION,
    "p": PART,
    "w": WAITER,
    "head": HEAD,
    "in": INBOX,
    "s": STATE,
}
"""By what the sort key begins with, up to ``#``."""


def write(record: Record) -> dict[str, dict[str, Any]]:
    """A record's item, with the attributes that follow from its fields.

    >>> from adapter.engine.records import JournalSegment
    >>> write(JournalSegment("inv_a", "g", 3, "[]"))
    {'pk': {'S': 'inv_a'}, 'sk': {'S': 'j#g#00000003'}, 'v': {'N': '1'}, 'data': {'S': '[]'}}
    """
    item = BY_RECORD[type(record)].write(record)
    if isinstance(record, Meta):
        for name, value in derived(record.id, {"due": record.due, "expires": record.expires}).items():
            if value is not None:
                item[name] = {"S" if isinstance(value, str) else "N": str(value)}
        item["service_shard"] = {"S": service_shard(record)}
    return item


def read_listed(item: Item, at: str) -> Listed:
    """An index's entry; ``at`` is the attribute that it is ordered by.

    Raises:
        StoredFormatError: If this code can't read it.
    """
    try:
        target, status = read_target(item["target"]["S"]), Status(item["status"]["S"])
        return Listed(item["pk"]["S"], target, status, int(item[at]["N"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoredFormatError(item, f"damaged: no entry of an index, by {error!r}") from error


def derived(id: str, changed: Mapping[str, Any]) -> dict[str, str | int | None]:
    """The values of `Meta`'s attributes that follow from changed fields; ``None`` where there is to be none."""
    values: dict[str, str | int | None] = {}
    if "due" in changed:
        values["due_shard"] = str(ids.shard(id)) if changed["due"] is not None else None
    if "expires" in changed:
        expires = changed["expires"]
        values["ttl"] = expires // 1000 + TTL_MARGIN if expires is not None else None
    return values


def service_shard(meta: Meta) -> str:
    """The partition of the history index, be there one or not. No one of them takes all of a busy service's writes."""
    return f"{meta.target.service}#{ids.shard(meta.id)}"


def read(item: Item) -> Record:
    """An item's record.

    Raises:
        StoredFormatError: If this code can't read the item.

    >>> read({"pk": {"S": "inv"}, "sk": {"S": "meta"}, "v": {"N": "9"}})
    Traceback (most recent call last):
        ...
    adapter.aws.tables.StoredFormatError: item inv/meta (version 9): this code reads versions up to 1; deploy newer code
    """
    layout = BY_SK.get(item["sk"]["S"].split("#", 1)[0])
    if layout is None:
        raise StoredFormatError(item, "of an unknown kind")
    record: Record = layout.read(item)
    return record
