"""What happens if a write is applied once more, after a later one.

A request to the store may be applied although its answer was lost. It is then sent again, and the first copy may come
late. DynamoDB recognises a transaction that comes again, for ten minutes; it does not recognise a plain update. These
tests apply each plain update of a record, then each transition that may follow it, then the first one once more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from adapter.engine import lifecycle, transitions
from adapter.engine.awaiting import Awaiting, Leaf, Node
from adapter.engine.ports import Conflict, Create, Update, Wake
from adapter.engine.records import Meta, Status
from adapter.engine.transitions import Times
from adapter.engine.types import Failure, Kind, Target
from adapter.local.memory import MemoryStore

Make = Callable[[Meta, Times], Update]

FAILURE = Failure(409, "failed")


def _suspend(meta: Meta, times: Times) -> Update:
    stored = meta
    if meta.status in transitions.RESTING:  # by an attempt that was not claimed
        meta, _ = lifecycle.claim(stored, times, deployment=None, segments=None)
    two = Node(True, (Leaf("signal", (0, 0)), Leaf("sleep", (1, 1), until=times.now + 100)))
    values: dict[str, Any] = {"awaiting": Awaiting(meta.notifications, two), "seen": 0, "check_at": times.now + 50}
    after = lifecycle.suspended(meta, **values, progress=True, commit_id="c")
    return lifecycle.committed(stored, after, counted=meta.notifications)


def _fail(meta: Meta, times: Times, *, pause: bool = False) -> Update:
    due = None if pause else times.now + 100
    after = lifecycle.failed(meta, times.now, due=due, failures=1, error="failed", commit_id="c")
    return lifecycle.committed(meta, after, counted=meta.notifications)


PLAIN: dict[str, Make] = {
    "claim": lambda meta, times: lifecycle.claim(meta, times, deployment=None, segments=1).change,
    "await": lambda meta, times: (
        lifecycle.blocked(meta, Awaiting(0, Node(True, (Leaf("attach", (0, 0), f"inv_{times.now}"),)))).change
    ),
    "suspend": _suspend,
    "fail": _fail,
    "fail, paused": lambda meta, times: _fail(meta, times, pause=True),
    "wake": lifecycle.woken,
    "redispatch": lambda meta, times: lifecycle.redispatched(meta, times.now),
    "release": lifecycle.released,
    "check": lambda meta, times: lifecycle.checked(meta, times.now),
    "extend": lifecycle.extended,
    "report": lambda meta, times: lifecycle.reported(meta, Failure(409, str(times.now))),
    "cannot read": lambda meta, times: (
        lifecycle.unreadable(meta, times.now, failures=1, error="", due=times.now + 1).change
    ),
    "cannot read, paused": lambda meta, times: (
        lifecycle.unreadable(meta, times.now, failures=1, error="", due=None).change
    ),
    "lose": lambda meta, _: lifecycle.lost(meta),
    "pause": lambda meta, _: lifecycle.paused(meta, 1).change,
    "resume": lambda meta, times: lifecycle.resumed(meta, times, None).change,
    "move": lambda meta, times: lifecycle.resumed(meta, times, f"v{times.now}").change,
    "end": lambda meta, times: lifecycle.ending(meta, FAILURE, times, 1).change,
}
"""The transitions that may be a plain update of one item, by what makes them. What else is in a commit is left out."""

TRANSACTIONS: dict[str, Make] = {
    "take key": lambda meta, times: lifecycle.committed(meta, lifecycle.running(meta, times, "c"), counted=0),
    "queue": lambda meta, times: lifecycle.committed(
        meta, lifecycle.queued(meta, "t", times.now, "c"), counted=meta.notifications
    ),
    "grant": lambda meta, times: lifecycle.granted(meta.ref, times),
}
"""Transitions that come with changes of other items. They may follow a plain update."""

COUNTS = ("count, urgent", "count, cancels", "count only")


def _makes(name: str) -> Make:
    return (PLAIN | TRANSACTIONS)[name]


def _record(status: Status) -> Meta:
    meta = Meta("inv_a", "g", Target("Counter", "add", "Mary"), Kind.EXCLUSIVE, status, created=1)
    waits: dict[str, Any] = {"wake_after": 0, "timer": 300} if status is Status.SUSPENDED else {}
    waits |= {"ticket": "t"} if status is Status.QUEUED else {}
    return replace(meta, epoch=3, due=None if status is Status.PAUSED else 200, **waits)


def _times(step: int) -> Times:
    """Later times in each step, so that no two due times are equal by accident."""
    return Times(1000 * step, 1000 * step + 600, 1000 * step + 300)


async def _follow(store: MemoryStore, name: str, meta: Meta, times: Times) -> bool:
    """Carry out a transition. Return False if it does not lead from there."""
    if name in COUNTS:
        wake = {"count, urgent": Wake.SUSPENDED, "count, cancels": Wake.WAITING}
        return (await store.count_notifications(meta.ref, count=1, wake=wake.get(name, Wake.NONE), due=times.grace))[0]
    try:
        await store.commit([_makes(name)(meta, times)], f"c-{times.now}")
    except (AssertionError, Conflict):
        return False
    return True


async def _applies_late(first: str, source: Status, second: str) -> bool:
    """Return True if a copy of the first transition still changes the record after the second one."""
    change = PLAIN[first](_record(source), _times(1))
    store = await _holding(_record(source), change)
    if not await _follow(store, second, await _peek(store), _times(2)):
        return False
    before = await _peek(store)
    with suppress(Conflict):
        await store.commit([change], "c1")
    return replace(await _peek(store), commit_id="") != replace(before, commit_id="")


async def _peek(store: MemoryStore) -> Meta:
    meta = await store.peek("inv_a")
    assert meta is not None
    return meta


HARMLESS = {
    ("suspend", "redispatch"): "its timer or its check is overdue, so it is dispatched again",
    ("suspend", "check"): "it is checked once more",
    ("suspend", "extend"): "its timer is overdue, and its attempt has ended: it is dispatched",
    ("suspend", "resume"): "it is moved, and is due a millisecond earlier",
    ("suspend", "move"): "it stays moved, and is due a millisecond earlier",
    ("suspend", "cannot read"): "it is overdue, so it is dispatched again; one failure is not counted",
    ("await", "await"): "a deadlock that it is part of is found when it waits for something else, or its lease is over",
    ("report", "report"): "the next check reports the deadlock again",
    ("fail", "redispatch"): "its next attempt is overdue, so it is dispatched again",
    ("fail", "extend"): "its next attempt is overdue, and no attempt runs: it is dispatched",
    ("fail", "cannot read"): "its next attempt is overdue, so it is dispatched again; one failure is not counted",
}
"""The late copies that apply, and why that loses nothing: nearly always, a due time in the past leads on."""


@pytest.mark.parametrize("first", PLAIN)
async def test_a_late_copy_of_a_plain_update_applies_only_where_that_is_harmless(first: str) -> None:
    sources = [each for each in transitions.LIVE if _leads_from(first, each)]
    late = {
        (first, second)
        for source in sources
        for second in (*PLAIN, *TRANSACTIONS, *COUNTS)
        if await _applies_late(first, source, second)
    }

    assert sources
    assert late == {pair for pair in HARMLESS if pair[0] == first}


def _leads_from(name: str, source: Status) -> bool:
    try:
        PLAIN[name](_record(source), _times(1))
    except AssertionError:
        return False
    return True


async def test_of_two_late_copies_only_a_suspension_and_a_move_undo_what_lasts() -> None:
    """The first copy brings back the due time that the second one requires. Most pairs change no more than when it is
    dispatched or checked. An operator who moves an invocation twice within minutes may find it where the first move has
    put it, if copies of both the suspension before and the first move come after the second move."""
    undone: set[tuple[str, str, str]] = set()
    for source in transitions.LIVE:
        for first in (each for each in PLAIN if _leads_from(each, source)):
            early = PLAIN[first](_record(source), _times(1))
            for second in PLAIN:
                store = await _holding(_record(source), early)
                try:
                    later = PLAIN[second](await _peek(store), _times(2))
                    await store.commit([later], "c2")
                except (AssertionError, Conflict):
                    continue
                meta = await _peek(store)
                for third in (*PLAIN, *TRANSACTIONS, *COUNTS):
                    store = await _holding(meta)
                    if await _follow(store, third, meta, _times(3)) and await _undoes(store, early, later):
                        undone.add((first, second, third))

    assert undone == {("suspend", "move", "move")}


async def _holding(meta: Meta, *changes: Update) -> MemoryStore:
    store = MemoryStore()
    await store.commit([Create(meta, 0)], "c0")
    for change in changes:
        await store.commit([change], "c1")
    return store


async def _undoes(store: MemoryStore, *late: Update) -> bool:
    """Return True if late copies change what no due time leads on from."""
    before = await _peek(store)
    for change in late:
        with suppress(Conflict):
            await store.commit([change], "late")
    after = await _peek(store)
    return (before.epoch, before.deployment, before.outcome) != (after.epoch, after.deployment, after.outcome)


def test_an_invocation_that_is_queued_has_another_due_time_than_it_had() -> None:
    meta = replace(_record(Status.RUNNING), due=1000 + transitions.OWNER_CHECK)  # claimed in the same millisecond

    assert lifecycle.queued(meta, "t", 1000, "c").due != meta.due
    assert lifecycle.queued(meta, "t", 1001, "c").due == 1001 + transitions.OWNER_CHECK


@pytest.mark.parametrize("name", PLAIN)
def test_no_change_takes_the_due_time_of_a_call_away(name: str) -> None:
    """A change of a call that its caller looks after cannot require that it has no due time, so it may be applied after
    the call was given one."""
    call = replace(_record(Status.READY), epoch=0, due=None)
    with suppress(AssertionError):  # it does not lead from there
        assert PLAIN[name](call, _times(1)).set.get("due", 0) is not None, name
