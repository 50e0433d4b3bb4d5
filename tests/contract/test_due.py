"""The index of what is due."""

from __future__ import annotations

from dataclasses import replace

from adapter.engine.ids import due_shard, random_id
from adapter.engine.ports import Create, Finish, Store, Update
from adapter.engine.records import Status
from tests.contract.samples import NOW, OTHER_GENERATION, commit, completed, created, meta

LATEST = NOW * 2


async def test_earliest_first_up_to_the_limit(store: Store) -> None:
    ids = [random_id() for _ in range(3000)]
    mine = [id for id in ids if due_shard(id) == 3][:5]
    other = next(id for id in ids if due_shard(id) == 4)
    for at, id in zip((50, 10, 30, 20, 40), mine, strict=True):
        await commit(store, Create(meta(id, due=at), NOW))
    await commit(store, Create(meta(other, due=1), NOW))
    assert [due.due for due in await store.due(3, 40, 10)] == [10, 20, 30, 40]
    assert [due.due for due in await store.due(3, 40, 2)] == [10, 20]
    assert (await store.due(3, 10, 9))[0].id == mine[1]
    assert await store.due(3, 9, 10) == []


async def due(store: Store, id: str) -> list[int]:
    return [entry.due for entry in await store.due(due_shard(id), LATEST, 100) if entry.id == id]


async def test_it_follows_the_record(store: Store) -> None:
    record = await created(store)
    assert await due(store, record.id) == []
    await commit(store, Update(record.ref, {"due": 5}))
    assert await due(store, record.id) == [5]
    await commit(store, Update(record.ref, {"due": 7}, due=5))
    assert await due(store, record.id) == [7]
    await commit(store, Update(record.ref, {"status": Status.SUSPENDED}))
    assert await due(store, record.id) == [7]
    await commit(store, Update(record.ref, {"due": None}))
    assert await due(store, record.id) == []


async def test_starting_moves_it(store: Store) -> None:
    record = await created(store, due=5)
    await commit(store, Update(record.ref, {"status": Status.RUNNING, "due": 9}, epoch=0))
    assert await due(store, record.id) == [9]


async def test_completed_records_are_due_at_their_expiry(store: Store) -> None:
    record = completed(due=NOW + 1000)
    await commit(store, Create(record, NOW))
    assert await due(store, record.id) == [NOW + 1000]
    await commit(store, Finish(record.ref, {"due": NOW + 2000}))
    assert await due(store, record.id) == [NOW + 2000]
    await store.forget(record.ref, NOW + 1000)
    assert await due(store, record.id) == []


async def test_a_record_that_replaces_another_replaces_its_entry(store: Store) -> None:
    record = completed(due=NOW + 1000)
    await commit(store, Create(record, NOW))
    await commit(store, Create(meta(record.id, generation=OTHER_GENERATION, due=3), NOW + 1000))
    assert await due(store, record.id) == [3]
    await commit(store, Create(replace(completed(), due=None), NOW))


async def test_a_refused_commit_leaves_it(store: Store) -> None:
    record = await created(store, due=5)
    changes = Update(record.ref, {"due": 9}), Update(record.ref._replace(id="inv_absent"), {"due": 9})
    try:
        await commit(store, *changes)
    except Exception:
        assert await due(store, record.id) == [5]
    else:
        raise AssertionError
