"""What hangs on an invocation: its journal, notifications, payloads, waiters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapter.engine.ports import Dependent, Put, Store
from adapter.engine.records import JournalSegment, Notification, Part, Ref, Waiter
from adapter.engine.types import Failure, Outcome
from tests.contract.samples import (
    GENERATION,
    NOW,
    OTHER_GENERATION,
    commit,
    created,
    notification,
    part,
    put,
    segment,
)

REF = Ref("inv_a", GENERATION)
OTHER = Ref("inv_a", OTHER_GENERATION)


def waiter(command: int, ref: Ref = REF) -> Waiter:
    return Waiter(*ref, Ref("inv_w", GENERATION), command, "Service", "arn:d")


class TestLoad:
    async def test_nothing(self, store: Store) -> None:
        page = await store.load("inv_absent")
        assert (page.parts, page.segments, page.meta, page.notifications, page.cursor) == ([], [], None, [], None)

    async def test_each_in_order(self, store: Store) -> None:
        record = await created(store, id="inv_a")
        await put(
            store,
            *(notification(REF, id) for id in ("c2", "c1", "signal-é#x")),
            *(segment(REF, index) for index in (10, 9, 0)),
            *(part(REF, "input", index) for index in (10, 2)),
            part(REF, "output", 0),
            part(REF, "n-c7", 0),
            waiter(1),
        )
        page = await store.load("inv_a")
        assert [part.index for part in page.parts] == [2, 10]
        assert [segment.index for segment in page.segments] == [0, 9, 10]
        assert [notification.id for notification in page.notifications] == ["c1", "c2", "signal-é#x"]
        assert page.meta
        assert page.meta.ref == record.ref
        assert page.cursor is None

    async def test_values_come_back(self, store: Store) -> None:
        items: list[JournalSegment | Notification] = [
            JournalSegment("inv_a", GENERATION, 3, '["é☃"]'),
            Notification(REF, "c1", Outcome(b"\x00\xff"), NOW),
            Notification(REF, "c2", Outcome(failure=Failure(404, "☃")), NOW),
            Notification(REF, "c3", Outcome(), NOW),
        ]
        commit_ids = [await commit(store, Put(item)) for item in items]
        page = await store.load("inv_a")
        stored = [replace(item, commit_id=commit_id) for item, commit_id in zip(items, commit_ids, strict=True)]
        assert [*page.segments, *page.notifications] == stored

    async def test_every_generation(self, store: Store) -> None:
        await put(store, segment(REF, 0), segment(OTHER, 0), notification(OTHER, "c1"))
        page = await store.load("inv_a")
        assert {segment.generation for segment in page.segments} == {GENERATION, OTHER_GENERATION}
        assert page.notifications[0].to == OTHER

    async def test_more_than_a_megabyte(self, store: Store) -> None:
        await created(store, id="inv_a")
        await put(store, part(REF, "input", 0, b"x" * 300_000), part(REF, "input", 1, b"x" * 300_000))
        await put(store, *(segment(REF, index, "x" * 300_000) for index in range(4)), notification(REF, "c1"))
        pages = [await store.load("inv_a")]
        while pages[-1].cursor is not None:
            pages.append(await store.load("inv_a", pages[-1].cursor))
        assert len(pages) == 2
        assert [part.index for page in pages for part in page.parts] == [0, 1]
        assert [segment.index for page in pages for segment in page.segments] == [0, 1, 2, 3]
        assert [page.meta is not None for page in pages] == [False, True]
        assert [len(page.notifications) for page in pages] == [0, 1]


class TestNews:
    async def test_of_this_generation(self, store: Store) -> None:
        await put(store, notification(OTHER, "c1"), segment(REF, 0))
        commit_id = await commit(store, Put(notification(REF, "c2")))
        assert await store.read_notifications(REF) == ([replace(notification(REF, "c2"), commit_id=commit_id)], None)

    async def test_in_pages(self, store: Store) -> None:
        large = Outcome(b"x" * 300_000)
        await put(store, *(notification(REF, f"c{n}", large) for n in range(5)))
        first, cursor = await store.read_notifications(REF)
        second, end = await store.read_notifications(REF, cursor)
        assert [note.id for note in first + second] == [f"c{n}" for n in range(5)]
        assert cursor is not None
        assert end is None


class TestOutput:
    async def test_by_name_in_order(self, store: Store) -> None:
        await put(
            store,
            *(part(REF, "output", index, bytes([index])) for index in (1, 0, 11)),
            part(REF, "output#1", 0),
            part(REF, "n-é#x", 0, b"note"),
            part(REF, "input", 0, b"in"),
            part(OTHER, "output", 0),
        )
        parts, cursor = await store.output(REF)
        assert [(part.name, part.index, part.data) for part in parts] == [
            ("output", 0, b"\x00"),
            ("output", 1, b"\x01"),
            ("output", 11, b"\x0b"),
        ]
        assert cursor is None
        assert await store.output(REF, "n-é#x") == ([part(REF, "n-é#x", 0, b"note")], None)
        assert await store.output(REF, "input") == ([part(REF, "input", 0, b"in")], None)

    async def test_put_apart(self, store: Store) -> None:
        parts = [part(REF, name, index, b"x" * 350_000) for name in ("input", "output") for index in range(12)]
        assert await store.put(parts) == []
        assert await store.put(parts[:1]) == [], "again"
        found, cursor = await store.output(REF, "input")
        while cursor is not None:
            more, cursor = await store.output(REF, "input", cursor)
            found += more
        assert found == parts[:12]

    async def test_at_most_25(self, store: Store) -> None:
        with pytest.raises(ValueError, match="25"):
            await store.put([part(REF, "output", n) for n in range(26)])

    async def test_in_pages(self, store: Store) -> None:
        await put(store, *(part(REF, "output", index, b"x" * 350_000) for index in range(4)))
        first, cursor = await store.output(REF)
        second, end = await store.output(REF, cursor=cursor)
        assert [part.index for part in first + second] == [0, 1, 2, 3]
        assert end is None


async def test_waiters_of_this_generation(store: Store) -> None:
    await put(store, waiter(1), waiter(2), waiter(1, OTHER))
    assert await store.waiters(REF) == ([waiter(1), waiter(2)], None)


class TestDependents:
    async def test_all_but_the_record(self, store: Store) -> None:
        await created(store, id="inv_a")
        items = [segment(REF, 0), notification(OTHER, "c#1"), part(REF, "input", 0), part(REF, "output", 0), waiter(1)]
        await put(store, *items)
        keys, cursor = await store.dependents("inv_a")
        assert sorted(key.generation for key in keys) == [GENERATION] * 4 + [OTHER_GENERATION]
        assert {key.id for key in keys} == {"inv_a"}
        assert cursor is None
        assert await store.delete(keys) == []
        assert await store.dependents("inv_a") == ([], None)
        assert await store.peek("inv_a")

    async def test_renewed(self, store: Store) -> None:
        await created(store, id="inv_a")
        now = 1_800_000_000
        items = [segment(REF, 0), notification(REF, "c1"), part(REF, "input", 0)]
        await put(store, *(replace(item, ttl=now + n) for n, item in enumerate(items)), waiter(1))
        keys, _ = await store.dependents("inv_a")
        for key in keys:
            await store.renew(key, now + 1)
        times = [key.ttl for key in (await store.dependents("inv_a"))[0]]
        assert sorted(times, key=str) == [now + 1, now + 1, now + 2, None], "later ones stay, as does a waiter's none"
        [stored] = (await store.load("inv_a")).segments
        assert stored.data == segment(REF, 0).data

    async def test_renewing_what_is_gone_makes_nothing(self, store: Store) -> None:
        await put(store, replace(segment(REF, 0), ttl=1_700_000_000))
        [key], _ = await store.dependents("inv_a")
        await store.delete([key])
        await store.renew(key, 1_800_000_000)
        assert await store.dependents("inv_a") == ([], None)

    async def test_deleting_again_does_nothing(self, store: Store) -> None:
        await put(store, segment(REF, 0))
        keys, _ = await store.dependents("inv_a")
        await store.delete(keys)
        assert await store.delete(keys) == []

    async def test_at_most_25(self, store: Store) -> None:
        with pytest.raises(ValueError, match="25"):
            await store.delete([Dependent("inv_a", GENERATION, n) for n in range(26)])

    async def test_in_pages(self, store: Store) -> None:
        await put(store, *(Part("inv_a", GENERATION, "output", index, b"x" * 350_000) for index in range(4)))
        first, cursor = await store.dependents("inv_a")
        assert cursor is not None
        second, _ = await store.dependents("inv_a", cursor)
        assert len(first + second) == 4
