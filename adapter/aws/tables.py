"""Records to items of the two tables, and back.

Fields become attributes by their types. `adapter.aws.models` describes the items with pynamodb, whose import takes too
long for a cold start; a test compares both.

Every item carries the version of its format. A version that is newer than this code is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Final, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from adapter.aws.attributes import (
    read_awaiting,
    read_awaits,
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
from adapter.engine import ids
from adapter.engine.awaiting import Awaiting
from adapter.engine.lifetimes import record_time_to_live
from adapter.engine.ports import Dependent, Indexed, Listed
from adapter.engine.records import (
    Calling,
    Copied,
    Ended,
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
from adapter.engine.types import Headers, Kind, ObjectKey, Outcome, Target

FORMAT: Final = 1
"""The version of the items' format that this code writes; it reads every version up to it."""

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


DUE_INDEX: Final = "due"
INVOCATIONS_INDEX: Final = "by-service"


def _read_former(item: Item) -> dict[str, Any]:
    """Return what an item holds in the attributes of the layout's first code, which later code removes nowhere."""
    if "awaits" in item and item["status"] == {"S": Status.SUSPENDED}:
        return {"awaiting": read_awaits(item["awaits"]["S"])}
    return {}


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


def dependent(item: Item) -> Dependent:
    """What the key of an item under an invocation's id says, whatever the item holds, and its time to live.

    >>> dependent({"pk": {"S": "inv_a"}, "sk": {"S": "j#g#00000003"}, "ttl": {"N": "1700000000"}})
    Dependent(id='inv_a', generation='g', sort='j#g#00000003', segment=3, ttl=1700000000)
    """
    id, sk = item["pk"]["S"], item["sk"]["S"]
    kind, _, rest = sk.partition("#")
    generation, _, place = rest.partition("#")
    segment = int(place) if kind == "j" and place.isdecimal() else None
    ttl = int(item["ttl"]["N"]) if "ttl" in item else None
    return Dependent(id, generation, sk, segment, ttl)


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


class Codec(NamedTuple):
    """How values of one type are stored: the attribute's type, and how it is written and read."""

    type: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


TEXT: Final = Codec("S", _same, _same)
NUMBER: Final = Codec("N", str, int)

CODECS: Final[dict[Any, Codec]] = {
    str: TEXT,
    int: NUMBER,
    bool: Codec("BOOL", _same, _same),
    bytes: Codec("B", _same, _same),
    dict[str, bytes]: Codec("M", write_state, read_state),
    Awaiting: Codec("S", write_awaiting, read_awaiting),
    Calling: Codec("S", write_calling, read_calling),
    tuple[Copied, ...]: Codec("S", write_copied, read_copied),
    Ended: Codec("S", str, Ended),
    Headers: Codec("S", write_headers, read_headers),
    Kind: Codec("S", str, Kind),
    Outcome: Codec("M", write_outcome, read_outcome),
    Parent: Codec("S", write_parent, read_parent),
    Ref: Codec("S", write_ref, read_ref),
    Status: Codec("S", str, Status),
    Target: Codec("S", write_target, read_target),
}
"""By the types of records' fields; `adapter.aws.models` describes the attributes that come of it."""

DERIVED: Final = {"v": NUMBER, "due_shard": TEXT, "service_shard": TEXT, "ttl": NUMBER}
"""The attributes that no field has."""


class Layout(Generic[R]):
    """How one kind of record is stored: an attribute for each field that is not in the key.

    Args:
        record: The record's class.
        key: The item's ``pk`` and ``sk``.
        read_key: The fields that the key holds.
        in_key: Their names.
        counted: Numbers that conditions compare, which are therefore always written.
        read_former: The fields that attributes hold which are no longer written.
    """

    def __init__(
        self,
        record: type[R],
        key: Callable[[R], tuple[str, str]],
        read_key: Callable[[str, str], dict[str, Any]],
        in_key: frozenset[str],
        counted: frozenset[str] = frozenset(),
        read_former: Callable[[Item], dict[str, Any]] | None = None,
    ) -> None:
        types = get_type_hints(record)
        self.record = record
        self.key = key
        self.read_key = read_key
        self.codecs = {field.name: _codec(types[field.name]) for field in fields(record) if field.name not in in_key}
        # A field that has its default has no attribute.
        self._defaults = {
            field.name: field.default_factory() if field.default_factory is not MISSING else field.default
            for field in fields(record)
        }
        self._fields = [
            (name, codec, MISSING if name in counted else self._defaults[name]) for name, codec in self.codecs.items()
        ]
        self._counted = counted
        self._read_former = read_former

    def value(self, name: str, value: Any) -> dict[str, Any]:
        """Return a value of an attribute's, as expressions have it."""
        codec = self.codecs.get(name) or DERIVED[name]
        return {codec.type: codec.write(value)}

    def assigned(self, name: str, value: Any) -> dict[str, Any] | None:
        """Return what an update assigns to an attribute: a value, or ``None`` to remove it.

        It is removed where the field gets its default, for which ``None`` stands, just as `write` leaves it out.
        """
        default = self._defaults.get(name)
        if value is None:
            value = default
        if value is MISSING:
            raise ValueError(f"{name} is always there")
        return None if value == default and name not in self._counted else self.value(name, value)

    def write(self, record: R) -> dict[str, dict[str, Any]]:
        """Return the record's item."""
        pk, sk = self.key(record)
        item = {"pk": {"S": pk}, "sk": {"S": sk}, "v": {"N": str(FORMAT)}}
        for name, codec, default in self._fields:
            value = getattr(record, name)
            if value != default:
                item[name] = {codec.type: codec.write(value)}
        return item

    def read(self, item: Item) -> R:
        """Return the item's record.

        Raises:
            StoredFormatError: If the item isn't such a record's, or of a newer version.
        """
        require_version(item)
        try:
            values = self.read_key(item["pk"]["S"], item["sk"]["S"])
            if self._read_former is not None:
                values |= self._read_former(item)
            for name, codec, default in self._fields:
                stored = item.get(name)
                if stored is not None:
                    values[name] = codec.read(stored[codec.type])
                elif default is MISSING:
                    raise KeyError(name)
            return self.record(**values)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise StoredFormatError(item, f"damaged: no {self.record.__name__}, by {error!r}") from error


def _codec(type: Any) -> Codec:
    """Return the codec for a field's type; ``None`` in it stands for no attribute."""
    required = [each for each in get_args(type) if each is not NoneType] if isinstance(type, UnionType) else [type]
    return CODECS[required[0]]


META = Layout(
    Meta,
    lambda meta: (meta.id, META_SK),
    lambda pk, sk: {"id": pk},
    in_key=frozenset({"id"}),
    counted=frozenset({"epoch", "notifications", "waiters"}),
    read_former=_read_former,
)
SEGMENT = Layout(
    JournalSegment,
    lambda segment: (segment.id, f"j#{segment.generation}#{segment.index:08}"),
    _read_segment,
    in_key=frozenset({"id", "generation", "index"}),
)
NOTIFICATION = Layout(
    Notification,
    lambda note: (note.to.id, f"n#{note.to.generation}#{note.id}"),
    _read_notification,
    in_key=frozenset({"to", "id"}),
)
_IN_PARTS_KEY: Final = frozenset({"id", "generation", "name", "index"})
INPUT = Layout(
    Part,
    lambda part: (part.id, f"{parts_sk(part.generation, 'input')}{part.index:06}"),
    _read_input,
    in_key=_IN_PARTS_KEY,
)
PART = Layout(
    Part,
    lambda part: (part.id, f"{parts_sk(part.generation, part.name)}{part.index:06}"),
    _read_part,
    in_key=_IN_PARTS_KEY,
)
WAITER = Layout(
    Waiter,
    lambda waiter: (waiter.id, f"w#{waiter.generation}#{write_ref(waiter.waiter)}#{waiter.command}"),
    _read_waiter,
    in_key=frozenset({"id", "generation", "waiter", "command"}),
)
HEAD = Layout(
    Head,
    lambda head: (object_pk(head.key), HEAD_SK),
    lambda pk, sk: {"key": read_object_pk(pk)},
    in_key=frozenset({"key"}),
    counted=frozenset({"version"}),
)
INBOX = Layout(
    InboxEntry,
    lambda entry: (object_pk(entry.key), f"in#{entry.ticket}"),
    lambda pk, sk: {"key": read_object_pk(pk), "ticket": sk.removeprefix("in#")},
    in_key=frozenset({"key", "ticket"}),
)
STATE = Layout(
    StateEntry,
    lambda entry: (object_pk(entry.key), state_sk(entry.generation, entry.name)),
    _read_state,
    in_key=frozenset({"key", "generation", "name"}),
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
                item[name] = META.value(name, value)
        # Whether the index exists or not: only the table knows.
        partition = ids.partition(record.id, record.target)
        if partition is not None:
            item["service_shard"] = META.value("service_shard", partition)
    return item


def read_listed(item: Item) -> Listed:
    """Return an entry of the due index.

    Raises:
        StoredFormatError: If this code can't read it.
    """
    try:
        target, status = read_target(item["target"]["S"]), Status(item["status"]["S"])
        return Listed(item["pk"]["S"], target, status, int(item["due"]["N"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoredFormatError(item, f"damaged: no entry of an index, by {error!r}") from error


def read_indexed(item: Item) -> Indexed:
    """Return an entry of the index of invocations.

    Raises:
        StoredFormatError: If this code can't read it.
    """
    try:
        ended = Ended(item["ended"]["S"]) if "ended" in item else None
        return Indexed(item["pk"]["S"], read_target(item["target"]["S"]), int(item["created"]["N"]), ended)
    except (KeyError, TypeError, ValueError) as error:
        raise StoredFormatError(item, f"damaged: no entry of an index, by {error!r}") from error


def derived(id: str, changed: Mapping[str, Any]) -> dict[str, str | int | None]:
    """The values of `Meta`'s attributes that follow from changed fields; ``None`` where there is to be none."""
    values: dict[str, str | int | None] = {}
    if "due" in changed:
        values["due_shard"] = str(ids.due_shard(id)) if changed["due"] is not None else None
    if "expires" in changed:
        expires = changed["expires"]
        values["ttl"] = record_time_to_live(expires) if expires is not None else None
    return values


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
