"""Keys of objects and workflows: head, inbox, state."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from adapter.engine.ports import Conflict, Delete, MarkQueued, Put, Store, TakeKey, WriteHead
from adapter.engine.records import Head, Ref, StateEntry
from adapter.engine.types import ObjectKey
from tests.contract.samples import GENERATION, KEY, OTHER_GENERATION, commit, owned, put, refused, waiting

OWNER = Ref("inv_a", GENERATION)
OTHER = Ref("inv_b", GENERATION)
HEAD = Head(
    KEY,
    owner=OWNER,
    queued=True,
    state_generation=GENERATION,
    state={"a": b"\x00", "S": b"", "é☃#": b"x" * 500},
    has_overflow=True,
    large=True,
    expires=7,
)


class TestHeads:
    async def test_untouched_keys_have_version_0(self, store: Store) -> None:
        keys = [ObjectKey("Counter", name) for name in ("", "a/b#c?é", "x" * 512)]
        assert await store.heads(keys) == {key: Head(key) for key in keys}
        assert await store.heads(keys[:1]) == {keys[0]: Head(keys[0])}

    async def test_one_and_many(self, store: Store) -> None:
        keys = [ObjectKey("Counter", str(n)) for n in range(100)]
        await commit(store, *(WriteHead(Head(key, expires=n), version=0) for n, key in enumerate(keys[:99])))
        heads = await store.heads(keys)
        assert [heads[key].expires for key in keys[:99]] == list(range(99))
        assert heads[keys[99]].version == 0
        assert (await store.heads(keys[7:8])) == {keys[7]: heads[keys[7]]}

    async def test_the_same_twice(self, store: Store) -> None:
        assert await store.heads([KEY, KEY]) == {KEY: Head(KEY)}

    async def test_at_most_100(self, store: Store) -> None:
        with pytest.raises(ValueError, match="100"):
            await store.heads([ObjectKey("Counter", str(n)) for n in range(101)])


class TestWriteHead:
    @pytest.mark.parametrize("head", [HEAD, Head(KEY), Head(KEY, state={"S": b"x"}), Head(ObjectKey("A", "b/c"))])
    async def test_every_field_comes_back(self, store: Store, head: Head) -> None:
        commit_id = await commit(store, WriteHead(head, version=0))
        assert await store.heads([head.key]) == {head.key: replace(head, version=1, commit_id=commit_id)}

    async def test_under_the_version(self, store: Store) -> None:
        await commit(store, WriteHead(HEAD, version=0))
        commit_id = await commit(store, WriteHead(Head(KEY, owner=OTHER), version=1))
        assert await store.heads([KEY]) == {KEY: Head(KEY, version=2, owner=OTHER, commit_id=commit_id)}

    async def test_under_the_owner(self, store: Store) -> None:
        """The owner sets `queued`, and never resets it: another process may have set it since the owner read."""
        await commit(store, WriteHead(HEAD, version=0))
        new = Head(KEY, version=99, owner=OWNER, state={"N": b"1"})
        commit_id = await commit(store, WriteHead(new, owner=OWNER))
        assert await store.heads([KEY]) == {KEY: replace(new, version=2, queued=True, commit_id=commit_id)}

    async def test_the_owner_sets_queued(self, store: Store) -> None:
        await owned(store, OWNER)
        await commit(store, WriteHead(Head(KEY, owner=OTHER, queued=True), owner=OWNER))
        head = (await store.heads([KEY]))[KEY]
        assert (head.owner, head.queued) == (OTHER, True)

    async def test_released_if_nothing_waits(self, store: Store) -> None:
        await owned(store, OWNER)
        await commit(store, WriteHead(Head(KEY), owner=OWNER, empty=True))
        assert (await store.heads([KEY]))[KEY].owner is None

    @pytest.mark.parametrize(
        "wanted",
        [
            {"version": 0},
            {"version": 2},
            {"owner": OTHER},
            {"owner": Ref("inv_a", OTHER_GENERATION)},
            {"version": 1, "owner": OTHER},
            {"owner": OWNER, "empty": True},
            {"version": 1, "empty": True},
        ],
    )
    async def test_what_refuses(self, store: Store, wanted: dict[str, Any]) -> None:
        commit_id = await commit(store, WriteHead(HEAD, version=0))
        stored = replace(HEAD, version=1, commit_id=commit_id)
        assert await refused(store, WriteHead(Head(KEY, owner=OTHER), **wanted)) == {0: stored}
        assert await store.heads([KEY]) == {KEY: stored}

    @pytest.mark.parametrize("wanted", [{"version": 1}, {"owner": OWNER}, {"version": 0, "owner": OWNER}])
    async def test_absent(self, store: Store, wanted: dict[str, Any]) -> None:
        assert await refused(store, WriteHead(Head(KEY), **wanted)) == {0: None}

    async def test_empty_on_an_untouched_key(self, store: Store) -> None:
        await commit(store, WriteHead(Head(KEY), version=0, empty=True))

    async def test_needs_a_guard(self, store: Store) -> None:
        with pytest.raises(ValueError, match="version or an owner"):
            await commit(store, WriteHead(Head(KEY)))

    async def test_of_many_at_once_one_wins(self, store: Store) -> None:
        await owned(store, OWNER)
        writes = [commit(store, WriteHead(Head(KEY, expires=n), version=1)) for n in range(10)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 9
        assert (await store.heads([KEY]))[KEY].version == 2


class TestTakeKey:
    async def test_keeps_the_state(self, store: Store) -> None:
        await commit(store, WriteHead(replace(HEAD, owner=None, queued=False), version=0))
        commit_id = await commit(store, TakeKey(KEY, OTHER, queued=True, empty=True))
        assert await store.heads([KEY]) == {
            KEY: replace(HEAD, version=2, owner=OTHER, queued=True, commit_id=commit_id)
        }

    async def test_of_an_untouched_key(self, store: Store) -> None:
        commit_id = await commit(store, TakeKey(KEY, OTHER, queued=False, empty=True))
        assert await store.heads([KEY]) == {KEY: Head(KEY, version=1, owner=OTHER, commit_id=commit_id)}

    async def test_resets_queued(self, store: Store) -> None:
        await commit(store, WriteHead(Head(KEY, queued=True), version=0))
        await commit(store, TakeKey(KEY, OTHER, queued=False, empty=False))
        assert not (await store.heads([KEY]))[KEY].queued

    @pytest.mark.parametrize(
        ("head", "empty"),
        [(Head(KEY, owner=OWNER), False), (Head(KEY, owner=OTHER), True), (Head(KEY, queued=True), True)],
    )
    async def test_what_refuses(self, store: Store, head: Head, empty: bool) -> None:
        commit_id = await commit(store, WriteHead(head, version=0))
        stored = replace(head, version=1, commit_id=commit_id)
        assert await refused(store, TakeKey(KEY, OTHER, queued=False, empty=empty)) == {0: stored}
        assert await store.heads([KEY]) == {KEY: stored}

    async def test_of_many_at_once_one_wins(self, store: Store) -> None:
        takes = [commit(store, TakeKey(KEY, Ref(f"inv_{n}", GENERATION), False, True)) for n in range(10)]
        outcomes = await asyncio.gather(*takes, return_exceptions=True)
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 1


class TestMarkQueued:
    async def test_keeps_the_version(self, store: Store) -> None:
        stored = await owned(store, OWNER)
        await commit(store, MarkQueued(KEY, OWNER))
        assert await store.heads([KEY]) == {KEY: replace(stored, queued=True)}

    async def test_requires_the_owner(self, store: Store) -> None:
        stored = await owned(store, OWNER)
        assert await refused(store, MarkQueued(KEY, OTHER)) == {0: stored}
        assert await refused(store, MarkQueued(ObjectKey("Counter", "other"), OWNER)) == {0: None}


class TestInbox:
    async def test_lowest_tickets_first(self, store: Store) -> None:
        await put(store, *(waiting(ticket) for ticket in (100, 9, 10, 2)), waiting(1, ObjectKey("Counter", "other")))
        assert await store.inbox(KEY, 3) == [waiting(2), waiting(9), waiting(10)]
        await commit(store, Delete(waiting(2)))
        assert await store.inbox(KEY, 1) == [waiting(9)]

    async def test_empty(self, store: Store) -> None:
        await owned(store, OWNER)
        await put(store, StateEntry(KEY, GENERATION, "in#", b"1"))
        assert await store.inbox(KEY, 3) == []


class TestState:
    async def test_by_generation_and_name(self, store: Store) -> None:
        entries = [StateEntry(KEY, GENERATION, name, name.encode()) for name in ("b", "a#☃", "")]
        other = StateEntry(KEY, OTHER_GENERATION, "b", b"other")
        await commit(store, *(Put(entry) for entry in (*entries, other)))
        for entry in (*entries, other):
            assert await store.state(KEY, entry.generation, entry.name) == entry
        assert await store.state(KEY, OTHER_GENERATION, "a#☃") is None
        without_values = [StateEntry(KEY, GENERATION, name) for name in ("", "a#☃", "b")]
        assert await store.entries(KEY, GENERATION) == (without_values, None)

    async def test_where_parts_lie(self, store: Store) -> None:
        entry = StateEntry(KEY, GENERATION, "large", blob=Ref("blb_a", OTHER_GENERATION), parts=3)
        await put(store, entry)
        assert await store.state(KEY, GENERATION, "large") == entry
        assert await store.entries(KEY, GENERATION) == ([entry], None)

    async def test_in_pages(self, store: Store) -> None:
        await put(store, *(StateEntry(KEY, GENERATION, f"n{n}", b"x" * 350_000) for n in range(4)))
        first, cursor = await store.entries(KEY, GENERATION)
        assert cursor is not None
        second, end = await store.entries(KEY, GENERATION, cursor)
        assert [entry.name for entry in first + second] == ["n0", "n1", "n2", "n3"]
        assert end is None
