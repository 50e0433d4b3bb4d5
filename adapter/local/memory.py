"""The store in memory: what DynamoDB does, with the same conditions, pages and prices, in one process.

It serves development, users' tests and the simulator. A `Hook` sees each request before and after its effect, so
that a crash, a delay or a lost answer can be put exactly where the real world can put it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import wraps
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar, cast

from adapter.engine import ids, lifecycle
from adapter.engine.ids import DUE_SHARDS, due_shard
from adapter.engine.lifetimes import record_time_to_live
from adapter.engine.ports import (
    EVERYTHING,
    Change,
    Conflict,
    Create,
    Delete,
    Dependent,
    Due,
    Finish,
    Indexed,
    Listed,
    MarkQueued,
    Page,
    Place,
    Put,
    TakeKey,
    TooLarge,
    Unavailable,
    Update,
    Usage,
    Wake,
    Wanted,
    WriteHead,
    applied,
)
from adapter.engine.records import (
    WAITING,
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
from adapter.engine.types import ObjectKey, Outcome
from adapter.frozen import replace
from adapter.local.conflicts import Conflicts

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])

MAX_ITEM: Final = 400 * 1024
MAX_TRANSACTION: Final = 4 * 1024 * 1024
MAX_CHANGES: Final = 100
TOKENS: Final = 10_000
"""How many transactions are remembered by their commit ids; DynamoDB remembers them for ten minutes."""


class Hook(Protocol):
    """Is awaited around each request's effect; between the two calls nothing else runs, but with `Conflicts`.

    An exception that it raises ``"before"`` prevents the effect, one that it raises ``"after"`` hides it: `Unavailable`
    for a request that never arrived, or whose answer was lost. With ``"after"`` it also sees what the store refused.
    """

    def __call__(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], /
    ) -> Awaitable[None]: ...


def request(method: F) -> F:
    """Make a method one request: counted, and between the hook's two calls. Without a hook it never yields."""
    name = method.__name__

    @wraps(method)
    async def send(self: MemoryStore, *args: Any, **kwargs: Any) -> Any:
        hook = self.hook
        if hook is None:
            self.usage.requests += 1
            return await method(self, *args, **kwargs)
        await hook("before", name, args, kwargs)
        self.usage.requests += 1
        try:
            return await method(self, *args, **kwargs)
        finally:
            await hook("after", name, args, kwargs)

    return cast("F", send)


class MemoryStore:
    """The `Store` port in memory.

    Args:
        hook: Awaited around each request's effect.
        page: After how many bytes a page of a query ends; DynamoDB's is 1 MB.
        conflicts: What happens to writes that meet a transaction. Without it a transaction takes no time, and nothing
            meets it.

    Attributes:
        usage: Requests so far, and what DynamoDB would charge for them, by estimated sizes.
    """

    def __init__(
        self,
        hook: Hook | None = None,
        page: int = 1024 * 1024,
        conflicts: Conflicts | None = None,
    ) -> None:
        self.hook = hook
        self.usage = Usage()
        self._page = page
        self._conflicts = conflicts
        self._partitions: dict[Partition, _Items] = {}
        self._due: list[list[tuple[int, str]]] = [[] for _ in range(DUE_SHARDS)]
        self._created: dict[str, list[tuple[int, str]]] = {}
        self._tokens: dict[str, list[Change]] = {}

    def records(self) -> Iterator[Record]:
        """Everything that is stored; for checks, and no request."""
        for items in self._partitions.values():
            yield from items.by_key.values()

    # --- reads -------------------------------------------------------------------------------------------------------

    @request
    async def load(self, id: str, cursor: Any = None) -> Page:
        records, cursor = self._query(id, ("i",), ("o",), cursor)
        page = Page([], [], None, [], cursor)
        for record in records:
            match record:
                case Part():
                    page.parts.append(record)
                case JournalSegment():
                    page.segments.append(record)
                case Notification():
                    page.notifications.append(record)
                case Meta():
                    page = replace(page, meta=record)
                case _:
                    raise AssertionError(record)
        return page

    @request
    async def peek(self, id: str) -> Meta | None:
        return cast("Meta | None", self._get(id, META))

    @request
    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        if not 1 <= len(ids) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} ids, not {len(ids)}")
        found = {id: cast("Meta | None", self._get(id, META)) for id in ids}
        return {id: meta for id, meta in found.items() if meta is not None}

    @request
    async def read_notifications(self, ref: Ref, cursor: Any = None) -> tuple[list[Notification], Any]:
        return cast("tuple[list[Notification], Any]", self._query(ref.id, *_all("n", ref.generation), cursor))

    @request
    async def output(self, ref: Ref, name: str = "output", cursor: Any = None) -> tuple[list[Part], Any]:
        kind = "i" if name == "input" else "p"
        return cast("tuple[list[Part], Any]", self._query(ref.id, *_all(kind, ref.generation, name), cursor))

    @request
    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        if not 1 <= len(keys) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} keys, not {len(keys)}")
        return {key: cast("Head | None", self._get(key, HEAD)) or Head(key) for key in keys}

    @request
    async def inbox(self, key: ObjectKey, limit: int) -> list[InboxEntry]:
        return cast("list[InboxEntry]", self._query(key, ("i",), ("j",), None, limit)[0])

    @request
    async def state(self, key: ObjectKey, generation: str, name: str) -> StateEntry | None:
        return cast("StateEntry | None", self._get(key, ("s", generation, name)))

    @request
    async def entries(
        self, key: ObjectKey, generation: str, cursor: Any = None, *, values: bool = False
    ) -> tuple[list[StateEntry], Any]:
        found, cursor = self._query(key, *_all("s", generation), cursor)
        entries = cast("list[StateEntry]", found)
        return entries if values else [replace(entry, value=b"") for entry in entries], cursor

    @request
    async def waiters(self, ref: Ref, cursor: Any = None) -> tuple[list[Waiter], Any]:
        return cast("tuple[list[Waiter], Any]", self._query(ref.id, *_all("w", ref.generation), cursor))

    @request
    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        entries = self._due[shard]
        entries = entries[: min(limit, bisect_left(entries, (before + 1, "")))]
        self.usage.read_units += max(1, _units(INDEX_ENTRY * len(entries), 4096)) / 2
        return [Due(id, at) for at, id in entries]

    @request
    async def active(self, shard: int, limit: int, *, after: Place | None = None) -> tuple[list[Listed], Place | None]:
        entries = self._due[shard]
        begin = bisect_right(entries, tuple(after)) if after else 0
        records = [self._indexed(id) for _, id in entries[begin : begin + limit]]
        self._charge_entries(len(records))
        listed = [Listed(record.id, record.target, record.status, record.due or 0) for record in records]
        end = listed[-1].place if len(listed) == limit else None
        return [each for each in listed if each.status is not Status.COMPLETED], end

    @request
    async def index(
        self, partition: str, limit: int, *, wanted: Wanted = EVERYTHING, after: Place | None = None
    ) -> tuple[list[Indexed], Place | None]:
        entries = self._created.get(partition, [])
        begin = bisect_left(entries, (wanted.since or 0, ""))
        end = len(entries) if wanted.until is None else bisect_left(entries, (wanted.until, ""))
        if after is not None:
            end = min(end, bisect_left(entries, tuple(after)))
        records = [self._indexed(id) for _, id in entries[max(begin, end - limit) : end]]
        self._charge_entries(len(records))
        found = [Indexed(record.id, record.target, record.created, record.ended) for record in reversed(records)]
        place = found[-1].place if len(found) == limit else None
        return [each for each in found if wanted.matches(each)], place

    def _indexed(self, id: str) -> Meta:
        record = self._record(id)
        assert record is not None, "an index has entries of stored records only"
        return record

    def _charge_entries(self, count: int) -> None:
        self.usage.read_units += max(1, _units(INDEX_ENTRY * count, 4096)) / 2

    @request
    async def dependents(self, id: str, cursor: Any = None) -> tuple[list[Dependent], Any]:
        records, cursor = self._query(id, ("",), ("z",), cursor)
        return [_dependent(id, record) for record in records if not isinstance(record, Meta)], cursor

    # --- writes ------------------------------------------------------------------------------------------------------

    @request
    async def start(self, id: str, *, set: Mapping[str, Any], now: int) -> tuple[bool, Meta | None]:
        old = self._record(id)
        self._admit(id)
        if old is None or old.status is not Status.READY or old.epoch != 0 or old.expired(now):
            self._charge([(old, None)])
            return False, old
        new = _changed(old, set, {"epoch": 1})
        self._apply([_Write(id, META, old, new)])
        return True, new

    @request
    async def count_notifications(self, ref: Ref, *, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None]:
        old = self._record(ref.id)
        self._admit(ref.id)
        if old is None or not _allowed(Update(ref), old) or not _woken(old, wake):
            self._charge([(old, None)])
            return False, old
        woken = {} if wake is Wake.NONE else lifecycle.counted(due)
        raised = {"epoch": 1} if wake in (Wake.SUSPENDED, Wake.WAITING) else {}
        new = _changed(old, woken, {"notifications": count, **raised})
        self._apply([_Write(ref.id, META, old, new)])
        return True, new

    @request
    async def commit(self, changes: Sequence[Change], commit_id: str) -> None:
        if not 1 <= len(changes) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} changes, not {len(changes)}")
        if len(changes) > 1 and self._tokens.get(commit_id) == list(changes):
            self.usage.read_units += 2 * len(changes)
            return
        writes = [self._plan(change, commit_id) for change in changes]
        if len({write.address for write in writes}) < len(writes):
            raise ValueError("two changes of one item")
        met = {place for place, write in enumerate(writes) if self._busy(write.partition, write.key)}
        found = {place: write.old for place, write in enumerate(writes) if not write.allowed and place not in met}
        if found:
            self._charge([(write.old, None) for write in writes])
            if not applied(changes, found, commit_id):
                raise Conflict(found)
            return
        if self._conflicts is not None:
            await self._have(self._conflicts, writes, [writes[place] for place in sorted(met)], commit_id)
        self._apply(writes)
        if len(changes) > 1:
            self._tokens[commit_id] = list(changes)
            if len(self._tokens) > TOKENS:
                del self._tokens[next(iter(self._tokens))]

    @request
    async def put(self, parts: Sequence[Part]) -> list[Part]:
        if not 1 <= len(parts) <= 25:
            raise ValueError(f"from 1 to 25 parts, not {len(parts)}")
        left: list[Part] = []
        for part in parts:
            partition, key = _address(part)
            if self._busy(partition, key):
                left.append(part)
            else:
                self._apply([_Write(partition, key, self._lookup(partition, key), part)])
        return left

    @request
    async def delete(self, keys: Sequence[Dependent]) -> list[Dependent]:
        if not 1 <= len(keys) <= 25:
            raise ValueError(f"from 1 to 25 keys, not {len(keys)}")
        left: list[Dependent] = []
        for each in keys:
            if self._busy(each.id, each.sort):
                left.append(each)
            else:
                self._apply([_Write(each.id, each.sort, self._lookup(each.id, each.sort), None)])
        return left

    @request
    async def renew(self, key: Dependent, ttl: int) -> None:
        old = self._lookup(key.id, key.sort)
        if self._busy(key.id, key.sort):
            raise Unavailable(f"a transaction is writing {key}")
        if isinstance(old, JournalSegment | Notification | Part) and old.ttl is not None and old.ttl < ttl:
            self._apply([_Write(key.id, key.sort, old, replace(old, ttl=ttl))])
        else:
            self._charge([(old, None)])

    @request
    async def forget(self, ref: Ref, now: int) -> None:
        self._admit(ref.id)
        old = self._record(ref.id)
        if old is not None and old.generation == ref.generation and old.expired(now):
            self._apply([_Write(ref.id, META, old, None)])
        else:
            self._charge([(old, None)])

    # --- times to live -----------------------------------------------------------------------------------------------

    def expire(self, now: int, chosen: Callable[[Record], bool] = lambda record: True) -> int:
        """Delete items whose time to live has ended, as DynamoDB does: no request, in no order, perhaps late.

        Args:
            now: The time, in milliseconds since the epoch.
            chosen: Says of an item whether it is its turn.

        Returns:
            How many items were deleted.
        """
        ends = ((record, time_to_live(record)) for record in self.records())
        over = [record for record, ttl in ends if ttl is not None and ttl < now // 1000 and chosen(record)]
        writes = [_Write(*_address(record), record, None) for record in over]
        writes = [write for write in writes if not self._busy(write.partition, write.key)]
        units = self.usage.write_units
        for write in writes:
            self._apply([write])
        self.usage.write_units = units
        return len(writes)

    # --- transactions under way --------------------------------------------------------------------------------------

    def _busy(self, partition: Partition, key: Key) -> bool:
        return self._conflicts is not None and self._conflicts.on((partition, key))

    def _admit(self, id: str) -> None:
        if self._conflicts is not None:
            self._conflicts.admit((id, META))

    async def _have(
        self, conflicts: Conflicts, writes: Sequence[_Write], met: Sequence[_Write], commit_id: str
    ) -> None:
        """Have the items of a commit to itself, for its span if it is a transaction.

        Raises:
            Unavailable: If transactions are under way on ``met``, or both are cancelled.
        """
        try:
            if len(writes) == 1:
                conflicts.admit(writes[0].address)
            elif met:
                conflicts.collide([write.address for write in met], commit_id)
            else:
                await conflicts.take_time([write.address for write in writes], commit_id)
        except Unavailable:
            self._charge([(write.old, None) for write in writes])
            raise

    # --- what a change does ------------------------------------------------------------------------------------------

    def _plan(self, change: Change, commit_id: str) -> _Write:
        match change:
            case Create(meta, now):
                old = self._record(meta.id)
                other = old is not None and old.generation != meta.generation
                allowed = old is None or (other and old.expired(now) and not old.waiters)
                record = meta if meta.commit_id == commit_id else replace(meta, commit_id=commit_id)
                return _Write(meta.id, META, old, record, allowed)
            case Update(ref):
                old = self._record(ref.id)
                if old is None or not _allowed(change, old):
                    return _Write(ref.id, META, old, None, allowed=False)
                own = {"commit_id": commit_id} if change.epoch is not None else {}
                return _Write(ref.id, META, old, _changed(old, {**change.set, **own}, change.add))
            case Finish(ref):
                old = self._record(ref.id)
                if old is None or old.generation != ref.generation or old.live:
                    return _Write(ref.id, META, old, None, allowed=False)
                return _Write(ref.id, META, old, _changed(old, change.set, change.add))
            case Put(item):
                partition, key = _address(item)
                held = self._lookup(partition, key)
                allowed = held is None or isinstance(item, StateEntry | Part)
                new = item
                if isinstance(item, JournalSegment | Notification) and item.commit_id != commit_id:
                    new = replace(item, commit_id=commit_id)
                return _Write(partition, key, held, new, allowed)
            case Delete(item):
                partition, key = _address(item)
                held = self._lookup(partition, key)
                allowed = held is not None or isinstance(item, StateEntry | Notification)
                return _Write(partition, key, held, None, allowed)
            case WriteHead(head, version, owner, empty):
                if version is None and owner is None:
                    raise ValueError("a head is written under a version or an owner")
                present, old_head = self._head(head.key)
                allowed = (
                    (version is None or old_head.version == version)
                    and (owner is None or old_head.owner == owner)
                    and not (empty and old_head.queued)
                )
                queued = head.queued or (version is None and old_head.queued)
                new_head = replace(head, version=old_head.version + 1, queued=queued, commit_id=commit_id)
                return _Write(head.key, HEAD, present, new_head, allowed)
            case TakeKey(key, owner, queued, empty):
                present, old_head = self._head(key)
                allowed = old_head.owner is None and not (empty and old_head.queued)
                version = old_head.version + 1
                new_head = replace(old_head, version=version, owner=owner, queued=queued, commit_id=commit_id)
                return _Write(key, HEAD, present, new_head, allowed)
            case MarkQueued(key, owner):
                present, old_head = self._head(key)
                return _Write(key, HEAD, present, replace(old_head, queued=True), old_head.owner == owner)

    # --- items, the index, and what they cost ------------------------------------------------------------------------

    def _head(self, key: ObjectKey) -> tuple[Head | None, Head]:
        """A key's head as it is stored, and with its defaults where it is not."""
        stored = cast("Head | None", self._lookup(key, HEAD))
        return stored, stored or Head(key)

    def _record(self, id: str) -> Meta | None:
        return cast("Meta | None", self._lookup(id, META))

    def _lookup(self, partition: Partition, key: Key) -> Record | None:
        items = self._partitions.get(partition)
        return items.by_key.get(key) if items is not None else None

    def _get(self, partition: Partition, key: Key) -> Record | None:
        record = self._lookup(partition, key)
        self.usage.read_units += _units(size(record), 4096) if record is not None else 1
        return record

    def _query(
        self, partition: Partition, first: Key, end: Key, cursor: Key | None, limit: int | None = None
    ) -> tuple[list[Record], Key | None]:
        """The records from ``first`` up to ``end`` in the order of their keys, and the last key if the page is full."""
        records: list[Record] = []
        total = 0
        last: Key | None = None
        items = self._partitions.get(partition)
        if items is not None:
            begin = bisect_left(items.in_order, first) if cursor is None else bisect_right(items.in_order, cursor)
            for key in items.in_order[begin : bisect_left(items.in_order, end)]:
                record = items.by_key[key]
                records.append(record)
                total += size(record)
                if total >= self._page or len(records) == limit:
                    last = key
                    break
        self.usage.read_units += max(1, _units(total, 4096))
        return records, last

    def _apply(self, writes: Sequence[_Write]) -> None:
        sizes = [size(write.new) for write in writes if write.new is not None]
        if any(bytes > MAX_ITEM for bytes in sizes) or (len(writes) > 1 and sum(sizes) > MAX_TRANSACTION):
            raise TooLarge(f"items of {sizes} bytes")
        for partition, key, old, new, _ in writes:
            items = self._partitions.get(partition)
            if new is not None:
                if items is None:
                    items = self._partitions[partition] = _Items()
                if old is None:
                    insort(items.in_order, key)
                items.by_key[key] = new
            elif old is not None and items is not None:
                del items.by_key[key]
                del items.in_order[bisect_left(items.in_order, key)]
                if not items.by_key:
                    del self._partitions[partition]
            if key is META:
                self._index(cast("Meta | None", old), cast("Meta | None", new))
        self._charge([(write.old, write.new) for write in writes])

    def _index(self, old: Meta | None, new: Meta | None) -> None:
        for record, other in ((old, new), (new, old)):
            if record is None or (other is not None and other.created == record.created):
                continue
            name = ids.partition(record.id, record.target)
            if name is not None and record is old:
                entries = self._created[name]
                del entries[bisect_left(entries, (record.created, record.id))]
            elif name is not None:
                insort(self._created.setdefault(name, []), (record.created, record.id))
        self._index_due(old, new)

    def _index_due(self, old: Meta | None, new: Meta | None) -> None:
        before, after = old.due if old else None, new.due if new else None
        if before == after:
            if old and new and before is not None and (old.status, old.target) != (new.status, new.target):
                self.usage.write_units += 1
            return
        id = cast("Meta", old or new).id
        entries = self._due[due_shard(id)]
        if before is not None:
            del entries[bisect_left(entries, (before, id))]
            self.usage.write_units += 1
        if after is not None:
            insort(entries, (after, id))
            self.usage.write_units += 1

    def _charge(self, writes: Sequence[tuple[Record | None, Record | None]]) -> None:
        each = 2 if len(writes) > 1 else 1
        for old, new in writes:
            bytes = max(size(old) if old is not None else 0, size(new) if new is not None else 0)
            self.usage.write_units += each * max(1, _units(bytes, 1024))


def _allowed(change: Update, old: Meta) -> bool:
    return (
        old.generation == change.ref.generation
        and old.status is not Status.COMPLETED
        and (change.epoch is None or old.epoch == change.epoch)
        and (change.notifications is None or old.notifications <= change.notifications)
        and (change.waiters is None or old.waiters == change.waiters)
        and (change.due is None or old.due == change.due)
        and (change.status is None or old.status is change.status)
    )


def _woken(meta: Meta, wake: Wake) -> bool:
    match wake:
        case Wake.NONE:
            return True
        case Wake.COMPLETE:
            complete = meta.wake_after is not None and meta.notifications >= meta.wake_after
            return meta.status is Status.SUSPENDED and complete
        case Wake.SUSPENDED:
            return meta.status is Status.SUSPENDED
        case Wake.WAITING:
            return meta.status in WAITING


_DEFAULTS: Final[dict[str, Any]] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in fields(Meta)
}
_values_of: Final[Callable[[Meta], tuple[Any, ...]]] = attrgetter(*_DEFAULTS)


def _changed(old: Meta, set: Mapping[str, Any], add: Mapping[str, int]) -> Meta:
    values = {name: _DEFAULTS[name] if value is None else value for name, value in set.items()}
    for name, number in add.items():
        values[name] = (getattr(old, name) or 0) + number
    return Meta(**(dict(zip(_DEFAULTS, _values_of(old), strict=True)) | values))


# --- keys ------------------------------------------------------------------------------------------------------------

Partition = str | ObjectKey
Key = tuple[Any, ...]
"""Sorts as the items' sort keys do in DynamoDB: input parts, journal, record, notifications, other parts, waiters."""
Address = tuple[Partition, Key]

META: Final[Key] = ("m",)
HEAD: Final[Key] = ("h",)


class _Items:
    """The items of one partition."""

    __slots__ = ("by_key", "in_order")

    def __init__(self) -> None:
        self.by_key: dict[Key, Record] = {}
        self.in_order: list[Key] = []


class _Write(NamedTuple):
    """What a change comes to: the item as it was, and as it is to be (``None`` for absent)."""

    partition: Partition
    key: Key
    old: Record | None
    new: Record | None
    allowed: bool = True

    @property
    def address(self) -> Address:
        return self.partition, self.key


def _all(*prefix: str) -> tuple[Key, Key]:
    """Where the keys with a prefix begin and end."""
    return prefix, (*prefix[:-1], prefix[-1] + "\0")


def _address(record: Record) -> tuple[Partition, Key]:
    match record:
        case Meta(id):
            return id, META
        case JournalSegment(id, generation, index):
            return id, ("j", generation, index)
        case Notification(to, id):
            return to.id, ("n", to.generation, id)
        case Part(id, generation, name, index):
            return id, ("i" if name == "input" else "p", generation, name, index)
        case Waiter(id, generation, waiter, command):
            return id, ("w", generation, waiter, command)
        case Head(key):
            return key, HEAD
        case InboxEntry(key, ticket):
            return key, ("i", ticket)
        case StateEntry(key, generation, name):
            return key, ("s", generation, name)


def time_to_live(record: Record) -> int | None:
    """When DynamoDB may delete an item, in seconds since the epoch."""
    if isinstance(record, Meta):
        return None if record.expires is None else record_time_to_live(record.expires)
    return getattr(record, "ttl", None)


def _dependent(id: str, record: Record) -> Dependent:
    key = _address(record)[1]
    segment = record.index if isinstance(record, JournalSegment) else None
    return Dependent(id, key[1], key, segment, key[0] == "i", time_to_live(record))


# --- sizes -----------------------------------------------------------------------------------------------------------
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html, for the items as
# `adapter.aws.tables` lays them out; the contract tests compare.

INDEX_ENTRY: Final = 150
"""Bytes of an entry of an index, about."""


def _units(bytes: int, unit: int) -> int:
    return -(-bytes // unit)


def _text(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


def _key(key: ObjectKey) -> int:
    return len(key.service) + 1 + _text(key.key)


def _outcome(outcome: Outcome) -> int:
    bytes = 10
    if outcome.value is not None:
        bytes += 6 + len(outcome.value)
    if outcome.failure is not None:
        failure = outcome.failure
        bytes += 16 + _text(failure.message)
        if failure.metadata:
            bytes += 12 + sum(_text(name) + _text(text) + 2 for name, text in failure.metadata.items())
        if failure.reason:
            bytes += 8 + len(failure.reason)
    return bytes


def _meta(meta: Meta) -> int:
    target, parent = meta.target, meta.parent
    bytes = 180 + 2 * len(target.service) + len(target.handler) + len(meta.kind) + len(meta.status)
    if target.key is not None:
        bytes += 1 + _text(target.key)
    if meta.deployment:
        bytes += 10 + len(meta.deployment)
    if parent is not None:
        bytes += 80 + len(parent.service) + len(parent.deployment)
    if meta.sender is not None:
        bytes += 59
    if meta.headers:
        bytes += 9 + sum(_text(name) + _text(value) + 6 for name, value in meta.headers.items())
    if meta.input is not None:
        bytes += 5 + len(meta.input)
    if meta.error is not None:
        bytes += 5 + _text(meta.error)
    if meta.failed is not None:
        bytes += 14
    if meta.due is not None:
        bytes += 21
    if meta.outcome is not None:
        bytes += _outcome(meta.outcome)
    if meta.ended is not None:
        bytes += 5 + len(meta.ended)
    if meta.inline_journal is not None:
        bytes += 4 + _text(meta.inline_journal)
    if meta.completed is not None:
        bytes += 17
    if meta.expires is not None:
        bytes += 24
    if meta.kept is not None:
        bytes += 12
    if meta.awaits is not None:
        bytes += 22 + sum(6 + len(id) for id in meta.awaits.ids) + 5 * len(meta.awaits.calls)
    if meta.copied:
        bytes += 8 + sum(62 + len(str(each.before)) for each in meta.copied)
    if meta.idempotent:
        bytes += 11
    if meta.journal_expires is not None:
        bytes += 15
    if meta.output_name:
        bytes += 11 + len(meta.output_name)
    if meta.ticket is not None:
        bytes += 34
    if meta.timer is not None:
        bytes += 14
    for number in (meta.input_parts, meta.failures, meta.wake_after, meta.seen, meta.dispatches, meta.output_parts):
        if number:
            bytes += 11
    return bytes


def size(record: Record) -> int:
    """A record's size as an item, in bytes, within a few."""
    match record:
        case Meta():
            return _meta(record)
        case JournalSegment():
            return 112 + _text(record.data)
        case Notification():
            return 115 + _text(record.id) + _outcome(record.outcome) + (5 + _text(record.parts) if record.parts else 0)
        case Part():
            return 73 + _text(record.name) + len(record.data) + (9 if record.ttl is not None else 0)
        case Waiter():
            return 134 + len(record.service) + len(record.deployment)
        case Head():
            bytes = 50 + _key(record.key) + (58 if record.owner else 0) + (7 if record.queued else 0)
            if record.state_generation:
                bytes += 32
            if record.state:
                bytes += 8 + sum(1 + _text(name) + len(value) for name, value in record.state.items())
            return bytes
        case InboxEntry():
            return 94 + _key(record.key)
        case StateEntry():
            blob = 67 if record.blob is not None else 0
            return 31 + _key(record.key) + _text(record.name) + len(record.value) + blob
