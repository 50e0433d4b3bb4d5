"""A commit: all of its changes or none, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Change, Conflict, Create, Delete, Put, Store, TooLarge, Update, WriteHead
from adapter.engine.records import Head, JournalSegment, Ref, StateEntry, Status, Waiter
from adapter.engine.types import Outcome
from tests.contract.samples import (
    GENERATION,
    KEY,
    NOW,
    commit,
    created,
    meta,
    notification,
    part,
    put,
    refused,
    segment,
    waiting,
)

REF = Ref("inv_a", GENERATION)
WAITER = Waiter("inv_a", GENERATION, Ref("inv_w", GENERATION), 3, "Service", "arn:d")


async def test_every_kind_of_change_in_one(store: Store) -> None:
    owner = await created(store)
    gone = waiting(1)
    await put(store, gone)
    child = meta()
    await commit(
        store,
        Create(child, NOW),
        Update(owner.ref, {"status": Status.SUSPENDED}, epoch=0),
        Put(segment(owner.ref, 0)),
        Put(notification(owner.ref, "c1")),
        Put(part(owner.ref, "input", 0)),
        Put(WAITER),
        Put(waiting(2)),
        Put(StateEntry(KEY, GENERATION, "big", b"x")),
        Delete(gone),
        WriteHead(Head(KEY, owner=owner.ref, queued=True), version=0),
    )
    page = await store.load(owner.id)
    assert page.meta
    assert page.meta.status is Status.SUSPENDED
    assert [len(page.segments), len(page.notifications), len(page.parts)] == [1, 1, 1]
    assert await store.peek(child.id)
    assert await store.inbox(KEY, 9) == [waiting(2)]
    assert await store.state(KEY, GENERATION, "big") == StateEntry(KEY, GENERATION, "big", b"x")
    assert (await store.heads([KEY]))[KEY].owner == owner.ref
    assert await store.waiters(REF) == ([WAITER], None)


async def test_none_if_one_is_refused(store: Store) -> None:
    record = await created(store)
    there = segment(record.ref, 0)
    commit_id = await commit(store, Put(there))
    found = await refused(
        store,
        Update(record.ref, {"status": Status.COMPLETED, "outcome": Outcome(b"1")}),
        Put(segment(record.ref, 0, '["other"]')),
        Put(segment(record.ref, 1)),
        Update(Ref("inv_absent", GENERATION), {"error": "e"}),
    )
    assert found == {1: replace(there, commit_id=commit_id), 3: None}
    page = await store.load(record.id)
    assert page.meta
    assert page.meta.live
    assert page.segments == [replace(there, commit_id=commit_id)]


@pytest.mark.parametrize("conditions", ["that hold", "of which one fails"])
async def test_two_changes_of_one_item_are_a_mistake(store: Store, conditions: str) -> None:
    """AWS refuses them before it looks at the conditions: nothing that the engine could learn from."""
    record = await created(store)
    ref = record.ref if conditions == "that hold" else Ref(record.id, "another")
    with pytest.raises(ValueError, match="two changes of one item"):
        await commit(store, Update(record.ref, {"error": "e"}), Put(segment(ref, 0)), Update(ref, {"failures": 1}))
    page = await store.load(record.id)
    assert page.meta
    assert (page.meta.error, page.segments) == (None, [])


@pytest.mark.parametrize("item", [segment(REF, 0), notification(REF, "c1"), WAITER, waiting(7)])
async def test_puts_are_put_if_absent(store: Store, item: JournalSegment) -> None:
    await put(store, item)
    other = new_commit_id()
    changed: Change = Put(replace(item, data="[1]")) if isinstance(item, JournalSegment) else Put(item)
    with pytest.raises(Conflict) as raised:
        await store.commit([changed, Put(segment(REF, 9))], other)
    [(place, found)] = raised.value.found.items()
    assert place == 0
    assert type(found) is type(item)


async def test_state_is_put_and_deleted_unconditionally(store: Store) -> None:
    entry = StateEntry(KEY, GENERATION, "name", b"1")
    await put(store, entry, replace(entry, value=b"2"))
    assert await store.state(KEY, GENERATION, "name") == StateEntry(KEY, GENERATION, "name", b"2")
    await commit(store, Delete(entry))
    await commit(store, Delete(entry))
    assert await store.state(KEY, GENERATION, "name") is None


async def test_parts_are_put_unconditionally(store: Store) -> None:
    await put(store, part(REF, "output", 0, b"1"), part(REF, "output", 0, b"2"))
    assert await store.output(REF) == ([part(REF, "output", 0, b"2")], None)


@pytest.mark.parametrize("item", [waiting(3), WAITER])
async def test_what_is_deleted_has_to_be_there(store: Store, item: Waiter) -> None:
    await put(store, item)
    await commit(store, Delete(item))
    assert await refused(store, Delete(item)) == {0: None}


class TestAgain:
    """The same commit with the same id, as after a lost answer."""

    async def test_a_transaction_applies_once(self, store: Store) -> None:
        record = await created(store)
        changes: list[Change] = [Put(notification(record.ref, "c1")), Update(record.ref, add={"notifications": 1})]
        commit_id = await commit(store, *changes)
        await commit(store, *changes, commit_id=commit_id)
        found = await store.peek(record.id)
        assert found
        assert found.notifications == 1

    async def test_other_changes_under_the_nonce_of_a_refused_transaction_apply(self, store: Store) -> None:
        record = await created(store)
        put = Put(notification(record.ref, "c1"))
        commit_id = new_commit_id()
        assert await refused(store, put, Update(record.ref, epoch=7), commit_id=commit_id)
        await commit(store, put, Update(record.ref, add={"notifications": 1}), commit_id=commit_id)
        assert len((await store.read_notifications(record.ref))[0]) == 1

    async def test_a_transaction_made_anew_under_its_nonce_applies_once(self, store: Store) -> None:
        record = await created(store)
        note = notification(record.ref, "c1")
        commit_id = new_commit_id()
        for created_at in (NOW, NOW + 1):
            put = Put(replace(note, created=created_at))
            await commit(store, put, Update(record.ref, add={"notifications": 1}), commit_id=commit_id)
        found = await store.peek(record.id)
        assert found
        assert found.notifications == 1

    @pytest.mark.parametrize(
        "change",
        [
            Create(meta("inv_a"), NOW),
            Put(segment(REF, 0)),
            Put(notification(REF, "c1")),
            Put(part(REF, "input", 0)),
            Put(WAITER),
            Put(waiting(1)),
            WriteHead(Head(KEY), version=0),
        ],
    )
    async def test_a_single_change_knows_its_own_write(self, store: Store, change: Change) -> None:
        commit_id = await commit(store, change)
        await commit(store, change, commit_id=commit_id)

    @pytest.mark.parametrize(
        "change",
        [
            Create(meta("inv_a"), NOW),
            Put(segment(REF, 0)),
            Put(notification(REF, "c1")),
            WriteHead(Head(KEY), version=0),
        ],
    )
    async def test_and_another_nonce_s(self, store: Store, change: Change) -> None:
        await commit(store, change)
        assert await refused(store, change)

    async def test_a_single_update_knows_its_own_write(self, store: Store) -> None:
        record = await created(store)
        change = Update(record.ref, {"status": Status.COMPLETED}, {"epoch": 1}, epoch=0)
        commit_id = await commit(store, change)
        await commit(store, change, commit_id=commit_id)
        found = await store.peek(record.id)
        assert found
        assert found.epoch == 1


class TestLimits:
    async def test_a_hundred_changes(self, store: Store) -> None:
        changes = [Put(segment(REF, index)) for index in range(101)]
        with pytest.raises(ValueError, match="100"):
            await commit(store, *changes)
        await commit(store, *changes[:100])
        assert len((await store.load("inv_a")).segments) == 100

    async def test_none(self, store: Store) -> None:
        with pytest.raises(ValueError, match="1"):
            await commit(store)

    async def test_two_of_one_item(self, store: Store) -> None:
        with pytest.raises(ValueError, match="two changes"):
            await commit(store, Put(segment(REF, 0)), Put(segment(REF, 0, "[1]")))

    async def test_an_item_of_400_kb(self, store: Store) -> None:
        await commit(store, Put(segment(REF, 0, "x" * 400_000)))
        with pytest.raises(TooLarge):
            await commit(store, Put(segment(REF, 1, "x" * 410_000)))
        with pytest.raises(TooLarge):
            await commit(store, Put(segment(REF, 1, "x" * 410_000)), Put(segment(REF, 2)))
        assert [found.index for found in (await store.load("inv_a")).segments] == [0]

    async def test_an_update_to_400_kb(self, store: Store) -> None:
        record = await created(store, error="x" * 200_000)
        with pytest.raises(TooLarge):
            await commit(store, Update(record.ref, {"inline_journal": "x" * 220_000}))
        with pytest.raises(TooLarge):
            await commit(store, Update(record.ref, {"inline_journal": "x" * 220_000}), Put(segment(REF, 2)))

    async def test_a_transaction_of_more_than_4_mb(self, store: Store) -> None:
        with pytest.raises(TooLarge):
            await commit(store, *(Put(segment(REF, index, "x" * 390_000)) for index in range(12)))
        assert (await store.load("inv_a")).segments == []

    async def test_a_transaction_of_3_mb(self, store: Store) -> None:
        await commit(store, *(Put(segment(REF, index, "x" * 375_000)) for index in range(8)))
