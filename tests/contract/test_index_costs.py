"""What the index of invocations costs: at most two writes in a life, and reads of little more than a page."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from adapter.engine.engine import Engine
from adapter.engine.ids import SHARDS
from adapter.engine.ports import Create, Indexed, Store
from adapter.engine.records import Status
from adapter.engine.types import Outcome, Target
from adapter.http.admin import listing
from adapter.http.admin.filters import Filter
from adapter.local.memory import MemoryStore
from tests.contract.breaking import Running
from tests.contract.samples import NOW, commit, completed, meta

WRITES = ("commit", "count_notifications", "forget")
SERVICES = ("Book", "Shop", "Ledger")


@pytest.fixture
def history() -> bool:
    return True


class Watched:
    """A store that looks at the index after each write, and counts how often each entry has changed.

    The index has an entry's keys, target and ending only, as the stores' tests say: so whatever DynamoDB writes to the
    index shows here.
    """

    def __init__(self, store: Store) -> None:
        self.changes: Counter[str] = Counter()
        self._store = store
        self._entries: dict[str, Indexed] = {}
        self._turn = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in WRITES:
            return method

        async def write(*args: Any, **kwargs: Any) -> Any:
            async with self._turn:
                try:
                    return await method(*args, **kwargs)
                finally:
                    await self._look()

        return write

    async def _look(self) -> None:
        names = [f"{service}#{number}" for service in SERVICES for number in range(SHARDS)]
        answers = await asyncio.gather(*(self._store.index(name, 100) for name in names))
        entries = {entry.id: entry for found, _ in answers for entry in found}
        for id in entries.keys() | self._entries.keys():
            self.changes[id] += entries.get(id) != self._entries.get(id)
        self._entries = entries


@pytest.fixture
async def watched(store: Store) -> Watched:
    return Watched(store)


async def test_a_life_has_two_index_writes(watched: Watched) -> None:
    running = Running(cast("Store", watched))
    try:
        lives: dict[str, int] = {}
        suspended = await running.suspended("Book/Mary/buy")
        queued = await running.send("Book/Mary/add", 1)
        await running.answer(suspended)
        await running.until(suspended.id, Status.COMPLETED)
        await running.until(queued, Status.COMPLETED)
        lives |= {suspended.id: 2, queued: 2}
        killed = await running.suspended("Ledger/Mary/buy")
        await running.engine.control.pause(killed.id)
        await running.engine.control.resume(killed.id)
        await running.engine.control.kill(killed.id)
        lives[killed.id] = 2
        await running.call("Book/Bob/add", 1)
        at_once = set(watched.changes) - set(lives)
        assert {watched.changes[id] for id in at_once} == {1}, "a record that is created completed has one"
        assert {id: watched.changes[id] for id in lives} == lives
    finally:
        await running.close()


async def filled(count: int) -> MemoryStore:
    store = MemoryStore()
    for n in range(count):
        target = Target(("Counter", "Shop")[n % 2], "add", str(n))
        record = (meta if n % 3 else completed)(target=target, created=NOW + n, expires=None)
        await commit(store, Create(record, NOW))
    return store


async def test_a_page_reads_little_more_than_the_page() -> None:
    store = await filled(3000)
    engine = reader(store)
    services = ["Counter", "Shop"]
    cursor: str | None = None
    for size in (50, 50, 100):
        before = store.usage.requests, store.usage.read_units
        page = await listing.page(engine, services, Filter(), size, cursor)
        cursor = page.cursor
        assert len(page.metas) == size
        requests, units = store.usage.requests - before[0], store.usage.read_units - before[1]
        partitions = len(services) * SHARDS
        assert requests <= 3 * partitions + 2
        # Half a unit for each request to the index, and one for each record.
        assert units <= 3 * partitions / 2 + size + 3


async def test_a_page_of_one_service_reads_that_service_only() -> None:
    store = await filled(3000)
    before = store.usage.requests
    page = await listing.page(reader(store), ["Counter", "Shop"], Filter(services=frozenset({"Shop"})), 50, None)
    assert {each.target.service for each in page.metas} == {"Shop"}
    assert store.usage.requests - before <= 3 * SHARDS + 2


async def test_a_filter_that_matches_nothing_ends_a_page_early() -> None:
    store = await filled(100)
    for n in range(6_000):
        id = meta().id
        record = completed(id, target=Target("Shop", "add", str(n)), created=NOW + 200 + n, outcome=Outcome(b"1"))
        await commit(store, Create(record, NOW))
    read, pages, cursor = 0.0, 0, None
    while True:
        before = store.usage.read_units
        page = await listing.page(reader(store), ["Shop"], Filter(deployments=frozenset({"shop:9"})), 50, cursor)
        read = max(read, store.usage.read_units - before)
        pages += 1
        assert page.metas == []
        cursor = page.cursor
        if cursor is None:
            break
    assert pages > 2
    assert read <= listing.MOST_READ + 1000 + listing.MOST_EXAMINED * 150 / 8192 + SHARDS


def reader(store: MemoryStore) -> Engine:
    from adapter.clock import SystemClock
    from adapter.local.ports import LocalDispatcher, LocalTimers

    clock = SystemClock()
    return Engine(store=store, timers=LocalTimers(clock), dispatcher=LocalDispatcher(), clock=clock, handlers=[])
