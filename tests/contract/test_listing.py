"""The indexes as an operator reads them: what is under way, and what a service has done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

import pytest

from adapter.aws.store import DynamoStore
from adapter.engine.ids import DUE_SHARDS, due_shard, random_id
from adapter.engine.ports import Create, Finish, Indexed, Listed, NotIndexed, Place, Store, Update, Wanted
from adapter.engine.records import Ended, Ref, Status
from adapter.engine.types import CANCELLED, KILLED, Failure, Outcome, Target
from tests.contract.samples import GENERATION, NOW, OTHER_GENERATION, commit, completed, meta

SHARD = 3
TARGET = Target("Counter", "add", "Mary")
PARTITION = f"Counter#{SHARD}"

Entry = Listed | Indexed


def ids(count: int) -> list[str]:
    """Ids in one shard."""
    found: list[str] = []
    while len(found) < count:
        id = random_id()
        if due_shard(id) == SHARD:
            found.append(id)
    return found


@pytest.fixture
def history() -> bool:
    return True


async def pages(query: Callable[[Place | None], Awaitable[tuple[Sequence[Entry], Place | None]]]) -> list[list[str]]:
    """The ids, page by page, to the end."""
    listed, end = await query(None)
    found = [[each.id for each in listed]]
    while end is not None:
        listed, end = await query(end)
        found.append([each.id for each in listed])
    return found


async def test_active_is_what_has_not_completed_by_due_time(store: Store) -> None:
    first, second, third, done, paused = ids(5)
    other = next(id for id in iter(random_id, "") if due_shard(id) != SHARD)
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
    for limit in (1, 2, 3, 4):
        found = await pages(lambda after, limit=limit: store.active(SHARD, limit, after=after))  # type: ignore[misc]
        assert sorted(chain(*found)) == sorted([first, second, third])
        assert all(len(page) <= limit for page in found)


async def test_the_index_has_all_invocations_of_a_service_latest_first(store: Store) -> None:
    mine = ids(5)
    for at, id in enumerate(mine):
        await commit(store, Create((completed if at % 2 else meta)(id, created=NOW + at), NOW))
    await commit(store, Create(meta(ids(1)[0], target=Target("Other", "add", "Mary")), NOW))
    listed, _ = await store.index(PARTITION, 10)
    assert [(each.id, each.at) for each in listed] == [(id, NOW + at) for at, id in reversed([*enumerate(mine)])]
    assert listed[0] == Indexed(mine[4], TARGET, NOW + 4, None)
    assert listed[1].ended is Ended.COMPLETED
    assert (await store.index(f"Counter#{SHARD + 1}", 10))[0] == []
    for limit in (1, 2, 5):
        found = await pages(lambda after, limit=limit: store.index(PARTITION, limit, after=after))  # type: ignore[misc]
        assert list(chain(*found)) == mine[::-1]
        assert all(len(page) <= limit for page in found)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (Wanted(since=NOW + 1), [4, 3, 2, 1]),
        (Wanted(until=NOW + 3), [2, 1, 0]),
        (Wanted(since=NOW + 1, until=NOW + 3), [2, 1]),
        (Wanted(since=NOW + 3, until=NOW + 3), []),
        (Wanted(handler="add"), [4, 3, 1, 0]),
        (Wanted(handler="get", key="Bob"), [2]),
        (Wanted(key="Mary"), [3, 1, 0]),
        (Wanted(ended=frozenset({None})), [4, 0]),
        (Wanted(ended=frozenset({Ended.FAILED, Ended.KILLED})), [3, 2]),
        (Wanted(ended=frozenset({None, Ended.CANCELLED})), [4, 1, 0]),
    ],
)
async def test_the_wanted_entries(store: Store, wanted: Wanted, places: list[int]) -> None:
    mine = ids(5)
    records = [
        meta(mine[0], created=NOW),
        completed(mine[1], created=NOW + 1, outcome=Outcome(failure=CANCELLED)),
        completed(mine[2], created=NOW + 2, outcome=Outcome(failure=KILLED), target=Target("Counter", "get", "Bob")),
        completed(mine[3], created=NOW + 3, outcome=Outcome(failure=Failure(500, "no"))),
        meta(mine[4], created=NOW + 4, target=Target("Counter", "add", "a/b#c")),
    ]
    for record in records:
        await commit(store, Create(record, NOW))
    for limit in (1, 3, 10):
        found = await pages(lambda after, limit=limit: store.index(PARTITION, limit, wanted=wanted, after=after))  # type: ignore[misc]
        assert list(chain(*found)) == [mine[place] for place in places]


async def test_an_entry_says_how_its_invocation_ended(store: Store) -> None:
    [id] = ids(1)
    await commit(store, Create(meta(id), NOW))
    values = {"status": Status.COMPLETED, "outcome": Outcome(failure=CANCELLED), "ended": Ended.CANCELLED}
    await commit(store, Update(Ref(id, GENERATION), set=values))
    assert (await store.index(PARTITION, 10))[0] == [Indexed(id, TARGET, NOW, Ended.CANCELLED)]
    await commit(store, Finish(Ref(id, GENERATION), set={"expires": NOW}))
    await store.forget(Ref(id, GENERATION), NOW)
    assert (await store.index(PARTITION, 10))[0] == []


async def test_an_expired_invocation_that_is_created_again_has_a_new_entry(store: Store) -> None:
    [id] = ids(1)
    await commit(store, Create(completed(id), NOW))
    await commit(store, Create(meta(id, created=NOW + 5000, generation=OTHER_GENERATION), NOW + 5000))
    assert (await store.index(PARTITION, 10))[0] == [Indexed(id, TARGET, NOW + 5000, None)]


async def test_promises_are_listed_by_their_workflow_and_markers_nowhere(store: Store) -> None:
    target = Target("Counter", "code", "Mary")
    promise, marker = "prm_" + ids(1)[0][4:], "gc_" + ids(1)[0][4:]
    for id in (promise, marker):
        await commit(store, Create(meta(id, target=target), NOW))
    assert (await store.index("Counter/Mary", 10))[0] == [Indexed(promise, target, NOW, None)]
    for number in range(DUE_SHARDS):
        assert (await store.index(f"Counter#{number}", 10))[0] == []


async def test_each_is_one_request(store: Store) -> None:
    await store.active(SHARD, 10)
    await store.index(PARTITION, 10)
    assert store.usage.requests == 2
    assert store.usage.read_units == 1


@pytest.mark.dynamodb
@pytest.mark.parametrize("history", [False])
async def test_without_the_index_nothing_is_listed(dynamodb: DynamoStore) -> None:
    with pytest.raises(NotIndexed):
        await dynamodb.index(PARTITION, 10)
