"""Pages of invocations: the partitions of the index in one order, and the records that the entries lead to.

The order is: latest first, those of the same millisecond by id. A cursor is a place in this order, so it stays valid
whatever is created or deleted meanwhile. A page reads few entries more than it has, unless a filter leaves entries out:
then it reads up to `MOST_EXAMINED` entries, and may have fewer than asked for, or none, and a cursor.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.engine.engine import Engine
from adapter.engine.ids import DUE_SHARDS, INVOCATION_ID, SHARDS
from adapter.engine.ports import Indexed, NotIndexed, Place, Wanted
from adapter.engine.records import Meta, Unreadable
from adapter.errors import TerminalError
from adapter.http.admin.filters import Filter

MOST_EXAMINED: Final = 8000
"""After so many entries of the index a page ends."""

MOST_READ: Final = 2000
"""After so many records a page ends."""

MOST_REQUESTS: Final = 50
"""Without the index: after so many requests a page ends."""

SPARE: Final = 2
"""A partition is asked for so many entries more than its share of a page, as shares differ."""

CHUNK: Final = 500
"""How many entries a partition is asked for where a filter may leave out most of them."""

BATCH: Final = 100
"""How many records one request reads."""

PARALLEL: Final = 8
"""How many requests for records are sent at the same time."""

Query = Callable[[str, int, Place | None, Wanted], Awaitable[tuple[list[Indexed], Place | None]]]


def _order(place: Place) -> tuple[int, str]:
    return -place.at, place.id


@dataclass(slots=True)
class _Partition:
    """A partition of the index, as far as it was read."""

    name: str
    entries: list[Indexed] = field(default_factory=list[Indexed])
    """The entries that were read and not given out."""
    after: Place | None = None
    """Where to continue to read."""
    more: bool = True


class Index:
    """The entries of several partitions in one order.

    Args:
        query: Reads up to a number of a partition's entries after a place.
        partitions: The partitions' names.
        wanted: Which entries to give out.
        start: The place to begin after.
        size: How many entries are probably wanted.

    Attributes:
        place: All wanted entries up to this place were given out. ``None`` before the first and after the last.
        exhausted: True after the last.
        examined: How many entries were read, about.
    """

    def __init__(self, query: Query, partitions: Sequence[str], wanted: Wanted, start: Place | None, size: int) -> None:
        self.place = start
        self.exhausted = not partitions
        self.examined = 0
        self._query = query
        self._wanted = wanted
        self._start = start
        self._partitions = [_Partition(name) for name in partitions]
        self._size = CHUNK if not wanted.everything else size // max(1, len(partitions)) + SPARE

    async def next(self, count: int) -> list[Indexed]:
        """Return the next entries in order, up to a number. There are fewer at the end, and where much was left out."""
        entries = self._known()
        while len(entries) < count and any(each.more for each in self._partitions) and not self._tired():
            await self._read()
            entries = self._known()
        taken = entries[:count]
        ids = {(each.at, each.id) for each in taken}
        for each in self._partitions:
            each.entries = [entry for entry in each.entries if (entry.at, entry.id) not in ids]
        if not any(each.more or each.entries for each in self._partitions):
            self.exhausted, self.place = True, None
        elif len(entries) > len(taken) or not any(each.more for each in self._partitions):
            self.place = taken[-1].place if taken else self.place
        else:  # all entries of later milliseconds were given out
            self.place = Place(self._frontier(), "")
        return taken

    def _known(self) -> list[Indexed]:
        """Return the entries that were read, up to where a partition may have more in between."""
        frontier = self._frontier()
        found = [entry for each in self._partitions for entry in each.entries if entry.at > frontier]
        return sorted(found, key=lambda entry: _order(entry.place))

    def _frontier(self) -> int:
        """Return the latest time of which entries may not have been read yet."""
        return max((each.after.at if each.after else 2**63 for each in self._partitions if each.more), default=-1)

    def _tired(self) -> bool:
        started = self._start is None or self._frontier() < self._start.at
        return self.examined >= MOST_EXAMINED and started

    async def _read(self) -> None:
        """Read on in the partitions that hold up the order."""
        frontier = self._frontier()
        behind = [each for each in self._partitions if each.more and (each.after is None or each.after.at == frontier)]
        await asyncio.gather(*map(self._read_partition, behind))

    async def _read_partition(self, part: _Partition) -> None:
        wanted = self._wanted
        if self._start is not None:
            until = self._start.at + 1 if wanted.until is None else min(wanted.until, self._start.at + 1)
            wanted = Wanted(wanted.since, until, wanted.handler, wanted.key, wanted.ended)
        entries, part.after = await self._query(part.name, self._size, part.after, wanted)
        part.more = part.after is not None
        self.examined += self._size if part.more else len(entries)
        part.entries += [entry for entry in entries if self._start is None or _order(entry.place) > _order(self._start)]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of invocations.

    Attributes:
        complete: False if some may be missing, because the index is off.
    """

    metas: list[Meta]
    cursor: str | None
    complete: bool = True


def _itself(meta: Meta) -> Hashable:
    return meta.id


async def page(
    engine: Engine,
    services: Sequence[str],
    filter: Filter,
    limit: int,
    cursor: str | None,
    counted: Callable[[Meta], Hashable | None] = _itself,
) -> Page:
    """Return a page of the invocations that a filter matches, with their records.

    Args:
        engine: Reads the store.
        services: The services to list, if the filter names none.
        filter: Which invocations to list.
        limit: The most that are counted.
        cursor: Where the page before ended.
        counted: Returns what an invocation counts as, once on a page. Those of ``None`` are left out.

    Raises:
        TerminalError: If the cursor is none.
    """
    names = sorted(filter.services) or services
    start = read_cursor(cursor)
    if isinstance(start, _DuePlace):
        return await _due_page(engine, filter, limit, start, counted)
    many = filter.leaves_out or counted is not _itself
    chunk = BATCH * PARALLEL if many else limit
    index = open_index(engine, names, filter.wanted, start, chunk)
    found: list[Meta] = []
    count: set[Hashable] = set()
    read = 0
    try:
        while not index.exhausted and len(count) < limit:
            entries = await index.next(chunk if many else limit - len(found))
            entries = [entry for entry in entries if filter.may_match(entry)]
            records = await records_of(engine, [entry.id for entry in entries])
            read += len(entries)
            for entry in entries:
                meta = records.get(entry.id)
                if meta is None or meta.created != entry.at or not filter.matches(meta):
                    continue
                counts_as = counted(meta)
                if counts_as is not None:
                    found.append(meta)
                    count.add(counts_as)
                    if len(count) == limit and entry is not entries[-1]:
                        return Page(found, write_cursor(entry.place))
            if index.examined >= MOST_EXAMINED or read >= MOST_READ:
                break
    except NotIndexed:
        return await _due_page(engine, filter, limit, _DuePlace(0, None), counted)
    return Page(found, write_cursor(index.place) if not index.exhausted else None)


def open_index(engine: Engine, services: Sequence[str], wanted: Wanted, start: Place | None, size: int) -> Index:
    """Return the index of the invocations of some services."""
    return Index(
        lambda name, limit, after, wanted: engine.storage.read(
            lambda: engine.storage.store.index(name, limit, wanted=wanted, after=after)
        ),
        [f"{service}#{number}" for service in dict.fromkeys(services) for number in range(SHARDS)],
        wanted,
        start,
        size,
    )


async def records_of(engine: Engine, ids: Sequence[str]) -> dict[str, Meta]:
    """Return the records of invocations that exist and have not expired, however many."""
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    found: dict[str, Meta] = {}
    for start in range(0, len(batches), PARALLEL):
        answers = await asyncio.gather(*(_batch(engine, batch) for batch in batches[start : start + PARALLEL]))
        for answer in answers:
            found |= answer
    now = engine.process.now()
    return {id: meta for id, meta in found.items() if not meta.expired(now)}


async def _batch(engine: Engine, ids: Sequence[str]) -> dict[str, Meta]:
    try:
        found = await engine.storage.peek_all(ids)
        missing = [id for id in ids if id not in found]
        if missing:  # DynamoDB may have left them unprocessed
            found |= await engine.storage.peek_all(missing)
        return found
    except Unreadable:  # one of them: the others are listed all the same
        return {meta.id: meta for id in ids if (meta := await _readable(engine, id)) is not None}


async def _readable(engine: Engine, id: str) -> Meta | None:
    try:
        return await engine.storage.find(id)
    except Unreadable:
        return None


# --- without the index: what has a due time --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _DuePlace:
    """A place in the due index."""

    shard: int
    after: Place | None


async def _due_page(
    engine: Engine, filter: Filter, limit: int, start: _DuePlace, counted: Callable[[Meta], Hashable | None]
) -> Page:
    """Return a page of the live invocations that have a due time, shard by shard."""
    found: list[Meta] = []
    count: set[Hashable] = set()
    shard, after = start.shard, start.after
    requests = 0
    while shard < DUE_SHARDS and len(count) < limit and requests < MOST_REQUESTS:
        size, place = min(limit - len(count), BATCH), after
        listed, after = await engine.storage.read(
            lambda shard=shard, size=size, place=place: engine.storage.store.active(shard, size, after=place)  # type: ignore[misc]
        )
        ids = [entry.id for entry in listed if INVOCATION_ID.fullmatch(entry.id)]
        records = await records_of(engine, ids)
        requests += 1
        for id in ids:
            meta = records.get(id)
            if meta is not None and meta.live and filter.matches(meta) and (counts_as := counted(meta)) is not None:
                found.append(meta)
                count.add(counts_as)
        if after is None:
            shard += 1
    cursor = None if shard == DUE_SHARDS else _write(["due", shard, *(after or ())])
    return Page(found, cursor, complete=False)


# --- cursors ---------------------------------------------------------------------------------------------------------


def write_cursor(place: Place | None) -> str | None:
    """Return a place in the index as a cursor."""
    return None if place is None else _write([*place])


def read_cursor(cursor: str | None) -> Place | _DuePlace | None:
    """Return the place that a cursor stands for.

    Raises:
        TerminalError: If it is none.
    """
    if cursor is None:
        return None
    try:
        data: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        match data:
            case [int(at), str(id)] if 0 <= at < 2**63:
                return Place(at, id)
            case ["due", int(shard)] if 0 <= shard < DUE_SHARDS:
                return _DuePlace(shard, None)
            case ["due", int(shard), int(at), str(id)] if 0 <= shard < DUE_SHARDS and 0 <= at < 2**63:
                return _DuePlace(shard, Place(at, id))
            case _:
                raise ValueError(data)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise TerminalError("the cursor is invalid: send the cursor of the page before, unchanged", code=400) from None


def _write(data: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data, separators=(",", ":")).encode()).decode().rstrip("=")
