"""What a transaction finds out about its effects before it is committed."""

from __future__ import annotations

import pytest

from adapter.engine.execution import (
    Completed,
    Created,
    EffectGroup,
    Execution,
    JournalAppended,
    KeyReleased,
    KeyRequested,
)
from adapter.engine.journal import CommandIssued
from adapter.engine.known_key import Key
from adapter.engine.records import Head, Meta, Ref, Status
from adapter.engine.transaction import LOOKAHEAD, Transaction, plan
from adapter.engine.transitions import Times
from adapter.engine.types import CANCELLED, Kind, ObjectKey, Outcome, Target
from adapter.frozen import replace

KEY = ObjectKey("Counter", "Mary")


def running(id: str) -> Execution:
    target = Target("Counter", "add", "Mary")
    meta = Meta(id, "g", target, Kind.EXCLUSIVE, Status.RUNNING, created=1, epoch=1)
    return Execution(meta, b"", None, stored=True)


def ended(*executions: Execution, owner: str) -> Transaction:
    """A transaction in which these executions of one key complete one after the other."""
    head = Head(KEY, version=1, owner=Ref(owner, "g"), state_generation="s")
    transaction = Transaction({KEY: Key(KEY, head, front=[])}, Times(1, 2, 3))
    for execution in executions:
        transaction.add((Completed(execution, Outcome(b"1")), KeyReleased(execution)))
    return transaction


def test_an_owner_releases_its_key() -> None:
    assert not ended(running("inv_a"), owner="inv_a").ran_without_key()


def test_a_release_by_another_than_the_owner_is_noticed() -> None:
    assert ended(running("inv_b"), owner="inv_a").ran_without_key()
    assert ended(running("inv_a"), running("inv_b"), owner="inv_a").ran_without_key()


@pytest.mark.parametrize(
    ("outcome", "ran"), [(Outcome(b"1"), True), (Outcome(failure=CANCELLED), False)], ids=["ran", "cancelled"]
)
def test_a_call_that_ran_although_another_owns_the_key_is_noticed(outcome: Outcome, ran: bool) -> None:
    """A session runs calls of a key ahead of its commits. Between two of these, the inbox gives the key to another."""
    head = Head(KEY, version=1, owner=Ref("inv_a", "g"), state_generation="s")
    transaction = Transaction({KEY: Key(KEY, head, front=[])}, Times(1, 2, 3))
    call = running("inv_b")
    call.stored = False
    transaction.add((Created(call), KeyRequested(call, 1)))
    transaction.add((Completed(call, outcome), KeyReleased(call)))

    assert transaction.ran_without_key() is ran


@pytest.mark.parametrize("count", [1, 3, LOOKAHEAD + 1, LOOKAHEAD + 2])
@pytest.mark.parametrize("most", [1, 5, 8, 100])
def test_a_plan_takes_the_longest_prefix_that_fits(count: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation that is created touches two items, and one when it has completed."""
    monkeypatch.setattr("adapter.engine.transaction.MAX_ITEMS", most)
    groups: list[EffectGroup] = []
    for number in range(count):
        execution = replace(running(f"inv_{number // 2}"), stored=False)
        if number % 2 == 0:
            groups.append((Created(execution), JournalAppended(execution, CommandIssued(0, "run", "x"), 1)))
        else:
            groups.append((Completed(groups[-1][0].execution, Outcome(b"1")),))

    def first(places: int) -> Transaction:
        transaction = Transaction({}, Times(1, 2, 3))
        for group in groups[:places]:
            transaction.add(group)
        return transaction

    transaction, taken = plan({}, Times(1, 2, 3), groups)

    fitting = [places for places in range(2, count + 1) if first(places).items <= most]
    assert taken == max([1, *fitting])
    assert transaction.changes("c") == first(taken).changes("c")
    assert (transaction.items, transaction.bytes) == (first(taken).items, first(taken).bytes)


def test_items_are_counted_as_effects_come() -> None:
    execution = running("inv_a")
    transaction = Transaction({}, Times(1, 2, 3))
    counts: list[int] = []
    for effect in (JournalAppended(execution, CommandIssued(0, "run", "x"), 1), Completed(execution, Outcome(b"1"))):
        transaction.add((effect,))
        counts.append(transaction.items)
    assert counts == [1, 1]  # a completed record holds its journal
