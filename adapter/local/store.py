"""A store on this machine: what DynamoDB does, with the same conditions, pages and prices.

A subclass keeps the items. A `Hook` sees each request before and after its effect, so that a crash, a delay or a lost
answer can be put exactly where the real world can put it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, Final, Literal, Protocol, TypeVar, cast

from adapter.aws.tables import object_pk, parts_sk, state_sk
from adapter.engine.ports import (
    EVERYTHING,
    Change,
    Conflict,
    Dependent,
    Due,
    Indexed,
    Listed,
    Page,
    Place,
    TooLarge,
    Unavailable,
    Usage,
    Wake,
    Wanted,
    applied,
)
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
from adapter.engine.types import ObjectKey
from adapter.frozen import replace
from adapter.local import changes as items
from adapter.local.changes import Address, Write
from adapter.local.conflicts import Conflicts
from adapter.local.sizes import INDEX_ENTRY, size, units

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
    async def send(self: LocalStore, *args: Any, **kwargs: Any) -> Any:
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


class LocalStore(ABC):
    """The `Store` port on items that a subclass keeps.

    Args:
        hook: Awaited around each request's effect.
        page: The number of bytes after which a page of a query ends; DynamoDB's is 1 MB.
        conflicts: What happens to writes that meet a transaction. Without it a transaction takes no time, and nothing
            meets it.

    Attributes:
        usage: Requests so far, and what DynamoDB would charge for them, by estimated sizes.
    """

    def __init__(self, hook: Hook | None = None, page: int = 1024 * 1024, conflicts: Conflicts | None = None) -> None:
        self.hook = hook
        self.usage = Usage()
        self._page = page
        self._conflicts = conflicts
        self._tokens: dict[str, list[Change]] = {}

    # --- what a subclass does ----------------------------------------------------------------------------------------

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Yield everything that is stored. This is for checks, and no request."""

    @abstractmethod
    def _lookup(self, address: Address) -> Record | None:
        """Return an item; ``None`` if it is absent."""

    @abstractmethod
    def _range(self, pk: str, first: str, end: str) -> Iterator[Record]:
        """Yield the items of a partition whose sort keys are at least ``first`` and less than ``end``, in order."""

    @abstractmethod
    def _save(self, writes: Sequence[Write]) -> None:
        """Store the items as these writes leave them, with the entries of the indexes: all or none."""

    @abstractmethod
    def _due(self, shard: int, after: Place | None, limit: int) -> Sequence[Place]:
        """Return the first entries of the due index after a place."""

    @abstractmethod
    def _created(self, partition: str, since: Place, until: Place | None, limit: int) -> Sequence[Place]:
        """Return the last entries of a partition of the index of invocations from one place up to another, latest
        first."""

    @abstractmethod
    def _overdue(self, now: int) -> Iterable[Record]:
        """Return the items whose time to live ended before a time, in seconds since the epoch."""

    # --- reads -------------------------------------------------------------------------------------------------------

    @request
    async def load(self, id: str, cursor: Any = None) -> Page:
        records, cursor = self._query(id, "i", "o", cursor)
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
        return cast("Meta | None", self._get(items.meta_address(id)))

    @request
    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        if not 1 <= len(ids) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} ids, not {len(ids)}")
        found = {id: cast("Meta | None", self._get(items.meta_address(id))) for id in ids}
        return {id: meta for id, meta in found.items() if meta is not None}

    @request
    async def read_notifications(self, ref: Ref, cursor: Any = None) -> tuple[list[Notification], Any]:
        return cast("tuple[list[Notification], Any]", self._query(ref.id, *_all(f"n#{ref.generation}#"), cursor))

    @request
    async def output(self, ref: Ref, name: str = "output", cursor: Any = None) -> tuple[list[Part], Any]:
        found, cursor = self._query(ref.id, *_all(parts_sk(ref.generation, name)), cursor)
        parts = cast("list[Part]", found)
        return [part for part in parts if part.name == name], cursor  # a name may begin with another one and a "#"

    @request
    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        if not 1 <= len(keys) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} keys, not {len(keys)}")
        return {key: cast("Head | None", self._get(items.head_address(key))) or Head(key) for key in keys}

    @request
    async def inbox(self, key: ObjectKey, limit: int) -> list[InboxEntry]:
        return cast("list[InboxEntry]", self._query(object_pk(key), *_all("in#"), None, limit)[0])

    @request
    async def state(self, key: ObjectKey, generation: str, name: str) -> StateEntry | None:
        return cast("StateEntry | None", self._get((object_pk(key), state_sk(generation, name))))

    @request
    async def entries(
        self, key: ObjectKey, generation: str, cursor: Any = None, *, values: bool = False
    ) -> tuple[list[StateEntry], Any]:
        found, cursor = self._query(object_pk(key), *_all(state_sk(generation, "")), cursor)
        entries = cast("list[StateEntry]", found)
        return entries if values else [replace(entry, value=b"") for entry in entries], cursor

    @request
    async def waiters(self, ref: Ref, cursor: Any = None) -> tuple[list[Waiter], Any]:
        return cast("tuple[list[Waiter], Any]", self._query(ref.id, *_all(f"w#{ref.generation}#"), cursor))

    @request
    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        places = [place for place in self._due(shard, None, limit) if place.at <= before]
        self._charge_entries(len(places))
        return [Due(place.id, place.at) for place in places]

    @request
    async def active(self, shard: int, limit: int, *, after: Place | None = None) -> tuple[list[Listed], Place | None]:
        places = self._due(shard, after, limit)
        self._charge_entries(len(places))
        records = [self._entry(place.id) for place in places]
        listed = [Listed(record.id, record.target, record.status, record.due or 0) for record in records]
        end = places[-1] if len(places) == limit else None
        return [each for each in listed if each.status is not Status.COMPLETED], end

    @request
    async def index(
        self, partition: str, limit: int, *, wanted: Wanted = EVERYTHING, after: Place | None = None
    ) -> tuple[list[Indexed], Place | None]:
        until = None if wanted.until is None else Place(wanted.until, "")
        if after is not None:
            until = after if until is None else min(until, after)
        places = self._created(partition, Place(wanted.since or 0, ""), until, limit)
        self._charge_entries(len(places))
        records = [self._entry(place.id) for place in places]
        found = [Indexed(record.id, record.target, record.created, record.ended) for record in records]
        end = places[-1] if len(places) == limit else None
        return [each for each in found if wanted.matches(each)], end

    def _entry(self, id: str) -> Meta:
        record = self._record(id)
        assert record is not None, "an index has entries of stored records only"
        return record

    def _charge_entries(self, count: int) -> None:
        self.usage.read_units += max(1, units(INDEX_ENTRY * count, 4096)) / 2

    @request
    async def dependents(self, id: str, cursor: Any = None) -> tuple[list[Dependent], Any]:
        records, cursor = self._query(id, "", "z", cursor)
        return [items.dependent(record) for record in records if not isinstance(record, Meta)], cursor

    # --- writes ------------------------------------------------------------------------------------------------------

    @request
    async def count_notifications(self, ref: Ref, *, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None]:
        old = self._record(ref.id)
        self._admit(ref.id)
        if old is None or not items.is_counted(old, ref.generation, wake):
            self._charge([_bytes(old)])
            return False, old
        return True, self._replace(old, items.counted(old, count, wake, due))

    def _replace(self, old: Meta, new: Meta) -> Meta:
        self._apply([Write(items.meta_address(new.id), old, new)])
        return new

    @request
    async def commit(self, changes: Sequence[Change], commit_id: str) -> None:
        if not 1 <= len(changes) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} changes, not {len(changes)}")
        if len(changes) > 1 and self._tokens.get(commit_id) == list(changes):
            self.usage.read_units += 2 * len(changes)
            return
        writes = [self._plan(change, commit_id) for change in changes]
        if len(writes) > 1 and len({write.address for write in writes}) < len(writes):
            raise ValueError("two changes of one item")
        met: set[int] = set()
        if self._conflicts is not None:
            met = {place for place, write in enumerate(writes) if self._busy(write.address)}
        found = {place: write.old for place, write in enumerate(writes) if not write.allowed and place not in met}
        if found:
            self._charge(_bytes(write.old) for write in writes)
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

    def _plan(self, change: Change, commit_id: str) -> Write:
        address = items.changed_item(change)
        old = self._lookup(address)
        return Write(address, old, *items.plan(change, old, commit_id))

    @request
    async def put(self, parts: Sequence[Part]) -> list[Part]:
        if not 1 <= len(parts) <= 25:
            raise ValueError(f"from 1 to 25 parts, not {len(parts)}")
        left: list[Part] = []
        for part in parts:
            address = items.address(part)
            if self._busy(address):
                left.append(part)
            else:
                self._apply([Write(address, self._lookup(address), part)])
        return left

    @request
    async def delete(self, keys: Sequence[Dependent]) -> list[Dependent]:
        if not 1 <= len(keys) <= 25:
            raise ValueError(f"from 1 to 25 keys, not {len(keys)}")
        left: list[Dependent] = []
        for each in keys:
            address = each.id, each.sort
            if self._busy(address):
                left.append(each)
            else:
                self._apply([Write(address, self._lookup(address), None)])
        return left

    @request
    async def renew(self, key: Dependent, ttl: int) -> None:
        address = key.id, key.sort
        old = self._lookup(address)
        if self._busy(address):
            raise Unavailable(f"a transaction is writing {key}")
        new = items.renewed(old, ttl)
        if new is not None:
            self._apply([Write(address, old, new)])
        else:
            self._charge([_bytes(old)])

    @request
    async def forget(self, ref: Ref, now: int) -> None:
        self._admit(ref.id)
        old = self._record(ref.id)
        if old is not None and old.generation == ref.generation and old.expired(now):
            self._apply([Write(items.meta_address(ref.id), old, None)])
        else:
            self._charge([_bytes(old)])

    # --- times to live -----------------------------------------------------------------------------------------------

    def expire(self, now: int, chosen: Callable[[Record], bool] = lambda record: True) -> int:
        """Delete items whose time to live has ended, as DynamoDB does: no request, in no order, perhaps late.

        Args:
            now: The time, in milliseconds since the epoch.
            chosen: Returns True if it is an item's turn.

        Returns:
            The number of deleted items.
        """
        over = [record for record in self._overdue(now // 1000) if chosen(record)]
        writes = [Write(items.address(record), record, None) for record in over]
        writes = [write for write in writes if not self._busy(write.address)]
        charged = self.usage.write_units
        for write in writes:
            self._apply([write])
        self.usage.write_units = charged
        return len(writes)

    # --- transactions under way --------------------------------------------------------------------------------------

    def _busy(self, address: Address) -> bool:
        return self._conflicts is not None and self._conflicts.on(address)

    def _admit(self, id: str) -> None:
        if self._conflicts is not None:
            self._conflicts.admit(items.meta_address(id))

    async def _have(self, conflicts: Conflicts, writes: Sequence[Write], met: Sequence[Write], commit_id: str) -> None:
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
            self._charge(_bytes(write.old) for write in writes)
            raise

    # --- items, and what they cost -----------------------------------------------------------------------------------

    def _record(self, id: str) -> Meta | None:
        return cast("Meta | None", self._lookup(items.meta_address(id)))

    def _get(self, address: Address) -> Record | None:
        record = self._lookup(address)
        self.usage.read_units += units(size(record), 4096) if record is not None else 1
        return record

    def _query(
        self, pk: str, first: str, end: str, cursor: str | None, limit: int | None = None
    ) -> tuple[list[Record], str | None]:
        """Return the records from ``first`` up to ``end`` in the order of their keys, and the last key if the page is
        full."""
        records: list[Record] = []
        total = 0
        last: str | None = None
        for record in islice(self._range(pk, first if cursor is None else f"{cursor}\0", end), limit):
            records.append(record)
            total += size(record)
            if total >= self._page or len(records) == limit:
                last = items.address(record)[1]
                break
        self.usage.read_units += max(1, units(total, 4096))
        return records, last

    def _apply(self, writes: Sequence[Write]) -> None:
        sizes = [_bytes(write.new) for write in writes]
        if max(sizes) > MAX_ITEM or (len(writes) > 1 and sum(sizes) > MAX_TRANSACTION):
            raise TooLarge(f"items of {sizes} bytes")
        self._save(writes)
        charged = list[int]()
        for bytes, (_, old, new, _) in zip(sizes, writes, strict=True):
            charged.append(bytes if old is None else max(bytes, size(old)))
            if isinstance(old or new, Meta):
                self._charge_due(cast("Meta | None", old), cast("Meta | None", new))
        self._charge(charged)

    def _charge(self, sizes: Iterable[int]) -> None:
        """Charge one request's writes of items of these sizes, in bytes: of each the larger before or after it."""
        each = [max(1, units(bytes, 1024)) for bytes in sizes]
        self.usage.write_units += sum(each) * (2 if len(each) > 1 else 1)

    def _charge_due(self, old: Meta | None, new: Meta | None) -> None:
        """Charge the writes of the due index: an entry that moves is deleted and put."""
        before, after = old.due if old else None, new.due if new else None
        if before != after:
            self.usage.write_units += (before is not None) + (after is not None)
        elif old and new and before is not None and (old.status, old.target) != (new.status, new.target):
            self.usage.write_units += 1


def _bytes(record: Record | None) -> int:
    return 0 if record is None else size(record)


def _all(prefix: str) -> tuple[str, str]:
    """Return where the keys with a prefix begin and end."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
