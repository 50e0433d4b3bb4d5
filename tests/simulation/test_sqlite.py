"""The store in a file under the simulator: it answers each request as the store in memory does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from adapter.engine.ports import Place
from adapter.engine.records import Record
from adapter.local.changes import Address, Write, address
from adapter.local.sqlite import SqliteStore
from tests.simulation.run import case, run
from tests.simulation.watch import WatchedStore
from tests.simulation.world import World

T = TypeVar("T")


def mirrored(file: Path) -> type[WatchedStore]:
    """Return the simulator's store, which also writes to a file, and compares all that it reads."""

    class Mirrored(WatchedStore):
        def __init__(self, world: World) -> None:
            super().__init__(world)
            self.mirror = SqliteStore(file)

        def _same(self, ours: T, theirs: T) -> T:
            assert ours == theirs
            return ours

        def _lookup(self, address: Address) -> Record | None:
            return self._same(super()._lookup(address), self.mirror._lookup(address))

        def _range(self, pk: str, first: str, end: str) -> Iterator[Record]:
            return iter(self._same(list(super()._range(pk, first, end)), list(self.mirror._range(pk, first, end))))

        def _due(self, shard: int, after: Place | None, limit: int) -> Sequence[Place]:
            return self._same(super()._due(shard, after, limit), self.mirror._due(shard, after, limit))

        def _created(self, partition: str, since: Place, until: Place | None, limit: int) -> Sequence[Place]:
            ours = super()._created(partition, since, until, limit)
            return self._same(ours, self.mirror._created(partition, since, until, limit))

        def _overdue(self, now: int) -> Iterable[Record]:
            ours = super()._overdue(now)
            assert sorted(map(address, ours)) == sorted(map(address, self.mirror._overdue(now)))
            return ours

        def _save(self, writes: Sequence[Write]) -> None:
            super()._save(writes)
            self.mirror._save(writes)

    return Mirrored


@pytest.mark.parametrize("focus", ["", "operators", "costs", "fan-in", "crowd"])
def test_every_read_gives_what_memory_gives(tmp_path: Path, focus: str) -> None:
    for seed in range(4):
        store = mirrored(tmp_path / str(seed))
        assert run(case(seed, focus), store=store).violations == [], f"seed {seed}, focus {focus!r}"
