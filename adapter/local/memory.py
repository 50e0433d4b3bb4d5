"""The store in memory, for development, users' tests and the simulator."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import cast

from adapter.engine import ids
from adapter.engine.ids import DUE_SHARDS, due_shard
from adapter.engine.ports import Place
from adapter.engine.records import Meta, Record
from adapter.local.changes import Address, Write, time_to_live
from adapter.local.conflicts import Conflicts
from adapter.local.store import Hook, LocalStore


class Items:
    """The items of one partition."""

    __slots__ = ("by_key", "in_order")

    def __init__(self) -> None:
        self.by_key: dict[str, Record] = {}
        self.in_order: list[str] = []


class MemoryStore(LocalStore):
    """The `Store` port in memory. See `LocalStore` for the arguments."""

    def __init__(self, hook: Hook | None = None, page: int = 1024 * 1024, conflicts: Conflicts | None = None) -> None:
        super().__init__(hook, page, conflicts)
        self._partitions: dict[str, Items] = {}
        self._due_index: list[list[Place]] = [[] for _ in range(DUE_SHARDS)]
        self._created_index: dict[str, list[Place]] = {}
        self._first_end: float = inf
        """No item's time to live ends before. Most of the time that saves looking at all of them."""

    def records(self) -> Iterator[Record]:
        for items in self._partitions.values():
            yield from items.by_key.values()

    def _lookup(self, address: Address) -> Record | None:
        items = self._partitions.get(address[0])
        return items.by_key.get(address[1]) if items is not None else None

    def _range(self, pk: str, first: str, end: str) -> Iterator[Record]:
        items = self._partitions.get(pk)
        if items is not None:
            for sk in items.in_order[bisect_left(items.in_order, first) : bisect_left(items.in_order, end)]:
                yield items.by_key[sk]

    def _due(self, shard: int, after: Place | None, limit: int) -> Sequence[Place]:
        entries = self._due_index[shard]
        begin = bisect_right(entries, after) if after else 0
        return entries[begin : begin + limit]

    def _created(self, partition: str, since: Place, until: Place | None, limit: int) -> Sequence[Place]:
        entries = self._created_index.get(partition, [])
        begin = bisect_left(entries, since)
        end = len(entries) if until is None else bisect_left(entries, until)
        return entries[max(begin, end - limit) : end][::-1]

    def _overdue(self, now: int) -> Iterable[Record]:
        if now <= self._first_end:
            return []
        ends = [(record, ttl) for record in self.records() if (ttl := time_to_live(record)) is not None]
        self._first_end = min((ttl for _, ttl in ends), default=inf)
        return [record for record, ttl in ends if ttl < now]

    def _save(self, writes: Sequence[Write]) -> None:
        for (pk, sk), old, new, _ in writes:
            items = self._partitions.get(pk)
            if new is not None:
                if items is None:
                    items = self._partitions[pk] = Items()
                if old is None:
                    insort(items.in_order, sk)
                items.by_key[sk] = new
                if (ttl := time_to_live(new)) is not None and ttl < self._first_end:
                    self._first_end = ttl
            elif old is not None and items is not None:
                del items.by_key[sk]
                del items.in_order[bisect_left(items.in_order, sk)]
                if not items.by_key:
                    del self._partitions[pk]
            if isinstance(old or new, Meta):
                self._index(cast("Meta | None", old), cast("Meta | None", new))

    def _index(self, old: Meta | None, new: Meta | None) -> None:
        """Move the entries of a record in the indexes."""
        if old is None or new is None or old.created != new.created:
            for record, change in ((old, _remove), (new, insort)):
                name = ids.partition(record.id, record.target) if record is not None else None
                if record is not None and name is not None:
                    change(self._created_index.setdefault(name, []), Place(record.created, record.id))
        before, after = old.due if old else None, new.due if new else None
        if before != after:
            id = cast("Meta", old or new).id
            entries = self._due_index[due_shard(id)]
            if before is not None:
                _remove(entries, Place(before, id))
            if after is not None:
                insort(entries, Place(after, id))


def _remove(entries: list[Place], entry: Place) -> None:
    del entries[bisect_left(entries, entry)]
