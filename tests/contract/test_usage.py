"""What requests cost: the memory store's estimate is what DynamoDB reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from adapter.aws import tables as layout
from adapter.aws.store import DynamoStore
from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Change, Create, Delete, Finish, Put, Store, Update, Usage, WriteHead
from adapter.engine.records import Calling, Head, InboxEntry, Meta, Parent, Record, Ref, StateEntry, Status, Waiter
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome, Target
from adapter.local.memory import MemoryStore
from adapter.local.sizes import size
from tests.contract.samples import (
    GENERATION,
    KEY,
    NOW,
    OTHER_GENERATION,
    commit,
    completed,
    meta,
    notification,
    part,
    segment,
    waiting,
)

REF = Ref("inv_" + "a" * 32, GENERATION)
NONCE = new_commit_id()
OWNED = Head(KEY, owner=REF, state_generation=GENERATION, state={"total": b"12"}, commit_id=NONCE)

CALLING = Calling(3, GENERATION, Target("S", "h", "é"), Kind.SERVICE, NOW, {"a": "é"}, b'"\xc3"')

RECORDS: list[Record] = [
    meta(commit_id=NONCE),
    meta(commit_id=NONCE, due=NOW, input=b"x" * 900, deployment="arn:" + "x" * 60, headers={"traceparent": "x" * 55}),
    meta(commit_id=NONCE, parent=Parent(REF, 12, "Service", "arn:" + "x" * 60), target=Target("S", "h", "é" * 30)),
    meta(commit_id=NONCE, calling=CALLING),
    completed(
        commit_id=NONCE, due=NOW, inline_journal="x" * 500, error="é" * 20, ticket="0" * 28, failures=3, dispatches=1
    ),
    completed(commit_id=NONCE, outcome=Outcome(failure=Failure(500, "é" * 10))),
    completed(commit_id=NONCE, outcome=Outcome(failure=Failure(409, "é", {"ü": "x" * 9}, "cancelled"))),
    replace(segment(REF, 0, "é" * 100), commit_id=NONCE),
    replace(segment(REF, 0, "é" * 100), commit_id=NONCE, calling=CALLING),
    replace(notification(REF, "c1"), commit_id=NONCE),
    part(REF, "input", 0, b"x" * 1000),
    part(REF, "output", 0, b"x" * 1000),
    Waiter(*REF, REF, 1, "Service", "arn:" + "x" * 60),
    Head(KEY, version=1, queued=True, commit_id=NONCE),
    OWNED,
    InboxEntry(KEY, "0" * 28, REF),
    StateEntry(KEY, GENERATION, "é", b"x" * 500),
]


def attribute_size(value: dict[str, object]) -> int:
    """By DynamoDB's `rules <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>`_."""
    match value:
        case {"S": str(text)}:
            return len(text.encode())
        case {"N": str(digits)}:
            return (len(digits.rstrip("0")) + 1) // 2 + 1
        case {"B": bytes(data)}:
            return len(data)
        case {"BOOL": _}:
            return 1
        case {"M": dict(entries)}:
            return 3 + sum(1 + len(name.encode()) + attribute_size(entry) for name, entry in entries.items())
        case _:
            raise AssertionError(value)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_estimated_sizes(record: Record) -> None:
    exact = sum(len(name.encode()) + attribute_size(value) for name, value in layout.write(record).items())
    assert size(record) == pytest.approx(exact, rel=0.03, abs=12)


RUNNING = meta(REF.id, status=Status.RUNNING, epoch=1, due=NOW)
LARGE = b"x" * 1000
BIG = b"x" * 5000
ITEMS: list[Change] = [Put(segment(REF, 0)), Put(notification(REF, "c1")), WriteHead(OWNED, version=0)]


async def renew_first(store: Store) -> None:
    keys, _ = await store.dependents(REF.id)
    store.usage = Usage()
    await store.renew(keys[0], NOW + 1)


REQUESTS: dict[str, tuple[list[Change], Callable[[Store], Awaitable[object]]]] = {
    "create": ([], lambda store: commit(store, Create(meta(REF.id), NOW))),
    "create, due": ([], lambda store: commit(store, Create(RUNNING, NOW))),
    "create, large": ([], lambda store: commit(store, Create(meta(REF.id, input=LARGE), NOW))),
    "replace": (
        [Create(completed(REF.id, due=NOW, generation=OTHER_GENERATION), NOW)],
        lambda store: commit(store, Create(RUNNING, NOW * 2)),
    ),
    "update": ([Create(RUNNING, NOW)], lambda store: commit(store, Update(REF, {"error": "e"}))),
    "update, status": ([Create(RUNNING, NOW)], lambda store: commit(store, Update(REF, {"status": Status.SUSPENDED}))),
    "update, due": ([Create(RUNNING, NOW)], lambda store: commit(store, Update(REF, {"due": NOW + 1}))),
    "update, no due": ([Create(RUNNING, NOW)], lambda store: commit(store, Update(REF, {"due": None}))),
    "complete": (
        [Create(RUNNING, NOW)],
        lambda store: commit(
            store, Update(REF, {"status": Status.COMPLETED, "outcome": Outcome(LARGE), "due": None}, epoch=1)
        ),
    ),
    "finish": ([Create(completed(REF.id), NOW)], lambda store: commit(store, Finish(REF, {"due": 7}))),
    "transaction": (
        [Create(RUNNING, NOW)],
        lambda store: commit(
            store, Update(REF, {"due": None}), Put(segment(REF, 0, "x" * 3000)), WriteHead(OWNED, version=0)
        ),
    ),
    "head": ([WriteHead(OWNED, version=0)], lambda store: commit(store, WriteHead(OWNED, owner=REF))),
    "inbox entry gone": ([Put(waiting(1))], lambda store: commit(store, Delete(waiting(1)))),
    "state": ([], lambda store: commit(store, Put(StateEntry(KEY, GENERATION, "n", BIG)))),
    "state gone": (
        [Put(StateEntry(KEY, GENERATION, "n", BIG))],
        lambda store: commit(store, Delete(StateEntry(KEY, GENERATION, "n", b""))),
    ),
    "load": ([Create(RUNNING, NOW), *ITEMS], lambda store: store.load(REF.id)),
    "peek": ([Create(RUNNING, NOW)], lambda store: store.peek(REF.id)),
    "peek, absent": ([], lambda store: store.peek(REF.id)),
    "read_notifications": (ITEMS, lambda store: store.read_notifications(REF)),
    "one head": (ITEMS, lambda store: store.heads([KEY])),
    "inbox": ([Put(waiting(1))], lambda store: store.inbox(KEY, 1)),
    "due": ([Create(RUNNING, NOW)], lambda store: store.due(0, NOW, 10)),
    "dependents": (ITEMS, lambda store: store.dependents(REF.id)),
    "renew": ([Put(replace(segment(REF, 0), ttl=NOW))], renew_first),
    "forget": ([Create(completed(REF.id, due=NOW), NOW)], lambda store: store.forget(REF, NOW * 2)),
}


async def cost(store: Store, given: list[Change], request: Callable[[Store], Awaitable[object]]) -> Usage:
    for change in given:
        await commit(store, change)
    store.usage = Usage()
    await request(store)
    return store.usage


@pytest.mark.dynamodb
@pytest.mark.parametrize("name", REQUESTS)
async def test_memory_agrees_with_dynamodb(dynamodb: DynamoStore, name: str) -> None:
    given, request = REQUESTS[name]
    assert await cost(MemoryStore(), given, request) == await cost(dynamodb, given, request)


async def test_many_heads_cost_each(store: Store) -> None:
    """In memory only: of BatchGetItem the emulator reports nothing."""
    keys = [KEY, ObjectKey("S", "a"), ObjectKey("S", "b")]
    usage = await cost(store, ITEMS, lambda store: store.heads(keys))
    assert usage.requests == 1
    if isinstance(store, MemoryStore):
        assert usage.read_units == 3


async def test_a_transaction_costs_twice(store: Store) -> None:
    usage = await cost(store, [], lambda store: commit(store, Put(segment(REF, 0)), Put(segment(REF, 1))))
    assert usage == Usage(requests=1, write_units=4)


async def test_an_index_entry_costs_once_to_make_and_twice_to_move(store: Store) -> None:
    record: Meta = meta(due=NOW)
    assert (await cost(store, [], lambda store: commit(store, Create(record, NOW)))).write_units == 2
    assert (await cost(store, [], lambda store: commit(store, Update(record.ref, {"due": 1})))).write_units == 3
    assert (await cost(store, [], lambda store: commit(store, Update(record.ref, {"error": "e"})))).write_units == 1
