"""What is put ahead of a commit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapter.engine.commit_log import CommitLog
from adapter.engine.conflicts import Drop, Interrupted
from adapter.engine.ports import Put
from adapter.engine.preparation import Preparation
from adapter.engine.records import Head, InboxEntry, JournalSegment, Ref
from adapter.engine.types import ObjectKey
from tests.unit.world import World


async def test_the_invocation_whose_segment_is_there_already_is_dropped_and_no_other() -> None:
    world = World()
    process, runtime = world.engine.process, world.engine.runtime
    segments = [JournalSegment(id, "g", 0, "2.[]") for id in ("inv_a", "inv_b")]
    await world.store.commit([Put(segments[1])], "an earlier attempt")
    executions = {id: SimpleNamespace(execution=SimpleNamespace(stored=True)) for id in ("inv_a", "inv_b")}
    transaction = cast(Any, SimpleNamespace(deltas=executions, items=1000, makes=lambda _: False))

    with pytest.raises(Interrupted) as raised:
        await Preparation(runtime, CommitLog(process, {})).put_out_of_line(transaction, segments)

    assert isinstance(raised.value.verdict, Drop)
    assert raised.value.verdict.ref == Ref("inv_b", "g")


async def test_entries_that_were_put_among_those_that_were_read_come_next() -> None:
    world = World()
    process, runtime = world.engine.process, world.engine.runtime
    name = ObjectKey("S", "k")
    late, known, last = (InboxEntry(name, ticket, Ref(f"inv_{ticket}", "g")) for ticket in ("1", "2", "3"))
    log = CommitLog(process, {})
    key = log.key(name)
    key.head = Head(name, owner=Ref("inv_owner", "g"), queued=True)
    await world.store.commit([Put(known)], "one")
    await Preparation(runtime, log).read_front(key)
    await world.store.commit([Put(late), Put(last)], "another")
    await Preparation(runtime, log).read_front(key)
    assert key.front == [known, late, last]
