"""The indexes as an operator reads them: what is under way, and what a service has done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import chain

import pytest

from adapter.aws.store import DynamoStore
from adapter.engine.ids import random_id, shard
from adapter.engine.ports import Create, Listed, NotIndexed, Place, Store
from adapter.engine.records import Status
from adapter.engine.types import Target
from adapter.local.memory import MemoryStore
from tests.contract.samples import NOW, commit, completed, meta

SHARD = 3
TARGET = Target("Counter", "add", "Mary")


def ids(count: int) -> list[str]:
    """Ids in one shard."""
    found: list[str] = []
    while len(found) < count:
        id = random_id()
        if shard(id) == SHARD:
            found.append(id)
    return found


@pytest.fixture
def history() -> bool:
    return True


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.dynamodb)])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    names: tuple[str, str] = request.getfixturevalue("tables")
    return DynamoStore(*names, api=request.getfixturevalue("api"))


async def pages(query: Callable[[Place | None], Awaitable[tuple[list[Listed], Place | None]]]) -> list[list[str]]:
    """The ids, page by page, to the end."""
    listed, end = await query(None)
    found = [[each.id for each in listed]]
    while end is not None:
        listed, end = await query(end)
        found.append([each.id for each in listed])
    return found


async def test_active_is_what_has_not_completed_by_due_time(store: Store) -> None:
    first, second, third, done, paused = ids(5)
    other = next(id for id in iter(random_id, "") if shard(id) != SHARD)
    await commit(store, Create(meta(second, due=NOW + 20, status=Status.SUSPENDED), NOW))
    await commit(store, Create(meta(first, due=NOW + 10), NOW))
    await commit(store, Create(meta(third, due=NOW + 20), NOW))
    await commit(store, Create(completed(done, due=NOW + 15), NOW))
    await commit(store, Create(meta(paused, status=Status.PAUSED), NOW))
    await commit(store, Create(meta(other, due=NOW), NOW))
    listed, end = await store.active(SHARD, 10)
    assert end is None
    assert listed[0] == Listed(first, TARGET, Status.READY, NOW + 10)
    assert {each.id for each in listed[1:]} == {second, third}
    assert (await store.active(SHARD, 10, status=Status.SUSPENDED))[0] == [
        Listed(second, TARGET, Status.SUSPENDED, NOW + 20)
    ]
    for limit in (1, 2, 3, 4):
        found = await pages(lambda after, limit=limit: store.active(SHARD, limit, after=after))  # type: ignore[misc]
        assert sorted(chain(*found)) == sorted([first, second, third])
        assert all(len(page) <= limit for page in found)


async def test_history_is_a_services_invocations_latest_first(store: Store) -> None:
    mine = ids(5)
    for at, id in enumerate(mine):
        await commit(store, Create((completed if at % 2 else meta)(id, created=NOW + at), NOW))
    await commit(store, Create(meta(ids(1)[0], target=Target("Other", "add", "Mary")), NOW))
    listed, _ = await store.history("Counter", SHARD, 10)
    assert [(each.id, each.at) for each in listed] == [(id, NOW + at) for at, id in reversed([*enumerate(mine)])]
    assert listed[0].target == TARGET
    assert (await store.history("Counter", SHARD + 1, 10))[0] == []
    done, _ = await store.history("Counter", SHARD, 10, status=Status.COMPLETED)
    assert [each.id for each in done] == [mine[3], mine[1]]
    for limit in (1, 2, 5):
        found = await pages(lambda after, limit=limit: store.history("Counter", SHARD, limit, after=after))  # type: ignore[misc]
        assert list(chain(*found)) == mine[::-1]


async def test_each_is_one_request(store: Store) -> None:
    await store.active(SHARD, 10)
    await store.history("Counter", SHARD, 10)
    assert store.usage.requests == 2
    assert store.usage.read_units == 1


@pytest.mark.dynamodb
@pytest.mark.parametrize("history", [False])
async def test_without_the_index_there_is_no_history(dynamodb: DynamoStore) -> None:
    with pytest.raises(NotIndexed):
        await dynamodb.history("Counter", SHARD, 10)
