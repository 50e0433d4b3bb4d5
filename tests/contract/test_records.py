"""An invocation's record: creating, starting, changing, completing, forgetting it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from adapter.engine.ports import Create, Finish, Store, Update, Wake
from adapter.engine.records import Meta, Parent, Ref, Status
from adapter.engine.types import Failure, Kind, Outcome, Target
from tests.contract.samples import (
    GENERATION,
    NOW,
    OTHER_GENERATION,
    commit,
    completed,
    created,
    meta,
    refused,
)

FULL = meta(
    target=Target("Café.Service", "add", "a/b#c?☃"),
    kind=Kind.WORKFLOW,
    status=Status.COMPLETED,
    deployment="arn:aws:lambda:us-east-1:123456789012:function:f:7",
    parent=Parent(Ref("inv_parent", OTHER_GENERATION), 7, "Parent", "arn:parent"),
    headers={"x-trace": "1", "é": "ü"},
    input=b"\x00\xff",
    input_parts=2,
    epoch=3,
    failures=4,
    error="it broke ☃",
    notifications=5,
    wake_after=6,
    seen=4,
    timer=NOW + 6,
    waiters=6,
    dispatches=1,
    due=NOW + 5,
    ticket="0000000000000012aaaaaaaaaaaa",
    outcome=Outcome(failure=Failure(409, "no ☃", {"a": "ü"}, "cancelled")),
    output_parts=3,
    output_name="output-3",
    inline_journal='["ü"]',
    completed=NOW + 4,
    expires=NOW + 5,
)


class TestCreate:
    @pytest.mark.parametrize(
        "record", [FULL, meta(), meta(outcome=Outcome()), meta(outcome=Outcome(b"")), meta(input=b"")]
    )
    async def test_every_field_comes_back(self, store: Store, record: Meta) -> None:
        commit_id = await commit(store, Create(record, NOW))
        assert await store.peek(record.id) == replace(record, commit_id=commit_id)

    async def test_absent_is_none(self, store: Store) -> None:
        assert await store.peek("inv_absent") is None

    @pytest.mark.parametrize("other", [meta(), completed()])
    async def test_one_that_is_there_refuses(self, store: Store, other: Meta) -> None:
        commit_id = await commit(store, Create(other, NOW))
        found = await refused(store, Create(meta(other.id, generation=OTHER_GENERATION), NOW + 999))
        assert found == {0: replace(other, commit_id=commit_id)}

    async def test_an_expired_one_is_replaced_whole(self, store: Store) -> None:
        old = completed(error="old", inline_journal="old")
        await commit(store, Create(old, NOW))
        new = meta(old.id, generation=OTHER_GENERATION)
        commit_id = await commit(store, Create(new, NOW + 1000))
        assert await store.peek(new.id) == replace(new, commit_id=commit_id)

    async def test_an_expired_one_that_somebody_waits_for_refuses(self, store: Store) -> None:
        old = completed(waiters=1)
        commit_id = await commit(store, Create(old, NOW))
        new = meta(old.id, generation=OTHER_GENERATION)
        assert await refused(store, Create(new, NOW + 1000)) == {0: replace(old, commit_id=commit_id)}
        await commit(store, Finish(old.ref, {"waiters": 0}))
        await commit(store, Create(new, NOW + 1000))

    async def test_a_late_copy_does_not_create_again_what_a_process_with_another_clock_has_purged(
        self, store: Store
    ) -> None:
        record = completed()
        await commit(store, Create(record, NOW))
        await commit(store, Finish(record.ref, {"expires": NOW - 2000}))
        assert await refused(store, Create(record, NOW))
        await commit(store, Create(meta(record.id, generation=OTHER_GENERATION), NOW))

    async def test_of_many_at_once_one_wins(self, store: Store) -> None:
        records = [meta("inv_same", generation=f"{n:016}") for n in range(10)]
        outcomes = await asyncio.gather(
            *(commit(store, Create(record, NOW)) for record in records), return_exceptions=True
        )
        winners = [record for record, outcome in zip(records, outcomes, strict=True) if isinstance(outcome, str)]
        assert len(winners) == 1
        found = await store.peek("inv_same")
        assert found
        assert found.generation == winners[0].generation


async def test_of_many_claims_at_once_one_wins(store: Store) -> None:
    record = await created(store)
    claims = [Update(record.ref, {"epoch": 1, "deployment": str(n)}, epoch=0) for n in range(10)]
    outcomes = await asyncio.gather(*(commit(store, claim) for claim in claims), return_exceptions=True)
    (winner,) = [claim for claim, outcome in zip(claims, outcomes, strict=True) if isinstance(outcome, str)]
    found = await store.peek(record.id)
    assert found
    assert (found.epoch, found.deployment) == (1, winner.set["deployment"])


ABSENT = Ref("inv_absent", GENERATION)
SUSPENDED = {"status": Status.SUSPENDED, "notifications": 4}


class TestPeekAll:
    async def test_those_that_are_there(self, store: Store) -> None:
        first, second = await created(store), await created(store)
        found = await store.peek_all([first.id, "inv_absent", second.id, first.id])
        assert found == {id: await store.peek(id) for id in (first.id, second.id)}

    async def test_at_most_100(self, store: Store) -> None:
        with pytest.raises(ValueError, match="100"):
            await store.peek_all([f"inv_{n}" for n in range(101)])


class TestTell:
    @pytest.mark.parametrize(
        ("record", "wake"),
        [
            (meta(status=Status.RUNNING, notifications=4), Wake.NONE),
            (meta(**SUSPENDED, wake_after=4), Wake.NONE),
            (meta(**SUSPENDED, wake_after=9), Wake.SUSPENDED),
            (meta(**SUSPENDED, wake_after=9, epoch=2), Wake.WAITING),
            (meta(status=Status.PAUSED, notifications=4, epoch=2), Wake.WAITING),
            (meta(status=Status.BACKING_OFF, notifications=4, due=NOW), Wake.WAITING),
        ],
    )
    async def test_counts_and_wakes(self, store: Store, record: Meta, wake: Wake) -> None:
        commit_id = await commit(store, Create(record, NOW))
        expected = replace(record, notifications=6, commit_id=commit_id)
        if wake is not Wake.NONE:
            expected = replace(expected, status=Status.READY, due=NOW + 9, epoch=record.epoch + 1)
        assert await store.count_notifications(record.ref, count=2, wake=wake, due=NOW + 9) == (True, expected)
        assert await store.peek(record.id) == expected

    @pytest.mark.parametrize(
        ("record", "wake"),
        [
            (meta(generation=OTHER_GENERATION), Wake.NONE),
            (completed(), Wake.NONE),
            (meta(status=Status.RUNNING), Wake.SUSPENDED),
            (meta(status=Status.PAUSED), Wake.SUSPENDED),
            (meta(status=Status.RUNNING), Wake.WAITING),
            (meta(status=Status.QUEUED), Wake.WAITING),
        ],
    )
    async def test_what_refuses(self, store: Store, record: Meta, wake: Wake) -> None:
        commit_id = await commit(store, Create(record, NOW))
        stored = replace(record, commit_id=commit_id)
        ref = Ref(record.id, GENERATION)
        assert await store.count_notifications(ref, count=1, wake=wake, due=NOW) == (False, stored)
        assert await store.peek(record.id) == stored

    async def test_absent(self, store: Store) -> None:
        assert await store.count_notifications(ABSENT, count=1, wake=Wake.NONE, due=NOW) == (False, None)
        assert await store.peek(ABSENT.id) is None

    async def test_many_at_once_are_all_counted(self, store: Store) -> None:
        record = await created(store)
        told = await asyncio.gather(
            *(store.count_notifications(record.ref, count=1, wake=Wake.NONE, due=NOW) for _ in range(20))
        )
        assert sorted(found.notifications for _, found in told if found) == list(range(1, 21))


class TestUpdate:
    async def test_sets_adds_and_removes(self, store: Store) -> None:
        record = await created(store, error="e", wake_after=2, due=NOW, failures=3, headers={"a": "b"})
        await commit(
            store,
            Update(
                record.ref,
                set={
                    "status": Status.SUSPENDED,
                    "error": None,
                    "wake_after": None,
                    "due": None,
                    "failures": None,
                    "outcome": Outcome(b"x"),
                    "expires": NOW + 5,
                },
                add={"notifications": 2, "dispatches": 1},
            ),
        )
        found = await store.peek(record.id)
        assert found
        assert found == replace(
            record,
            status=Status.SUSPENDED,
            error=None,
            wake_after=None,
            due=None,
            failures=0,
            outcome=Outcome(b"x"),
            expires=NOW + 5,
            notifications=2,
            dispatches=1,
            commit_id=found.commit_id,
        )

    async def test_removed_numbers_still_match_conditions(self, store: Store) -> None:
        record = await created(store, notifications=3, waiters=1)
        await commit(store, Update(record.ref, set={"notifications": None, "waiters": None}))
        await commit(store, Update(record.ref, set={"error": "e"}, notifications=0, waiters=0))

    async def test_requires_the_item(self, store: Store) -> None:
        assert await refused(store, Update(Ref("inv_absent", GENERATION), {"error": "e"})) == {0: None}
        assert await store.peek("inv_absent") is None

    async def test_a_field_that_is_always_there_is_not_removed(self, store: Store) -> None:
        record = await created(store)
        with pytest.raises((TypeError, ValueError)):
            await commit(store, Update(record.ref, {"status": None}))

    @pytest.mark.parametrize(
        ("record", "wanted"),
        [
            (meta(generation=OTHER_GENERATION), {}),
            (completed(), {}),
            (meta(epoch=1), {"epoch": 2}),
            (meta(epoch=2), {"epoch": 1}),
            (meta(notifications=1), {"notifications": 0}),
            (meta(waiters=1), {"waiters": 0}),
            (meta(due=5), {"due": 6}),
            (meta(), {"due": 6}),
            (meta(notifications=3), {"notifications": 2}),
            (meta(status=Status.READY), {"status": Status.QUEUED}),
        ],
    )
    async def test_what_refuses(self, store: Store, record: Meta, wanted: dict[str, Any]) -> None:
        commit_id = await commit(store, Create(record, NOW))
        stored = replace(record, commit_id=commit_id)
        assert await refused(store, Update(Ref(record.id, GENERATION), {"error": "e"}, **wanted)) == {0: stored}
        assert await store.peek(record.id) == stored

    @pytest.mark.parametrize(
        ("record", "wanted"),
        [
            (meta(epoch=2), {"epoch": 2}),
            (meta(), {"epoch": 0, "notifications": 0, "waiters": 0}),
            (
                meta(notifications=12, waiters=3, due=7, epoch=1),
                {"notifications": 12, "waiters": 3, "due": 7, "epoch": 1},
            ),
            (meta(notifications=2), {"notifications": 3}),
            (meta(status=Status.QUEUED), {"status": Status.QUEUED}),
        ],
    )
    async def test_what_allows(self, store: Store, record: Meta, wanted: dict[str, Any]) -> None:
        await commit(store, Create(record, NOW))
        await commit(store, Update(record.ref, {"error": "e"}, **wanted))
        found = await store.peek(record.id)
        assert found
        assert found.error == "e"

    async def test_nonce_is_stored_with_an_epoch_only(self, store: Store) -> None:
        record = await created(store)
        first = await store.peek(record.id)
        assert first
        await commit(store, Update(record.ref, {"error": "e"}))
        second = await store.peek(record.id)
        commit_id = await commit(store, Update(record.ref, {"error": "f"}, epoch=0))
        third = await store.peek(record.id)
        assert second
        assert third
        assert (second.commit_id, third.commit_id) == (first.commit_id, commit_id)

    async def test_may_only_require(self, store: Store) -> None:
        first, second = await created(store), await created(store)
        await commit(store, Update(first.ref))
        await commit(store, Update(first.ref), Update(second.ref, {"error": "e"}))
        assert await refused(store, Update(first.ref, waiters=1), Update(second.ref, {"error": "f"}))


class TestFinish:
    async def test_changes_a_completed_record(self, store: Store) -> None:
        record = completed(waiters=2)
        await commit(store, Create(record, NOW))
        await commit(store, Finish(record.ref, {"due": NOW + 1000}, {"waiters": -1}))
        found = await store.peek(record.id)
        assert found
        assert (found.due, found.waiters) == (NOW + 1000, 1)

    @pytest.mark.parametrize("record", [meta(), completed(generation=OTHER_GENERATION)])
    async def test_refuses(self, store: Store, record: Meta) -> None:
        commit_id = await commit(store, Create(record, NOW))
        assert await refused(store, Finish(Ref(record.id, GENERATION), {"due": 1})) == {
            0: replace(record, commit_id=commit_id)
        }

    async def test_absent(self, store: Store) -> None:
        assert await refused(store, Finish(Ref("inv_absent", GENERATION), {"due": 1})) == {0: None}


class TestForget:
    async def test_only_what_has_expired_in_this_generation(self, store: Store) -> None:
        record = completed()
        await commit(store, Create(record, NOW))
        await store.forget(record.ref, NOW + 999)
        await store.forget(Ref(record.id, OTHER_GENERATION), NOW + 1000)
        assert await store.peek(record.id)
        await store.forget(record.ref, NOW + 1000)
        assert await store.peek(record.id) is None

    async def test_need_not_be_there(self, store: Store) -> None:
        await store.forget(Ref("inv_absent", GENERATION), NOW)

    async def test_a_live_one_stays(self, store: Store) -> None:
        record = await created(store)
        await store.forget(record.ref, NOW * 2)
        assert await store.peek(record.id)

    async def test_an_expired_one_stays_until_it_is_forgotten(self, store: Store) -> None:
        record = completed()
        await commit(store, Create(record, NOW))
        found = await store.peek(record.id)
        assert found
        assert found.expired(NOW + 1000)
        assert not found.expired(NOW + 999)
