"""The table of what is under way, and the tasks that run it."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from random import Random
from typing import Any, cast

import pytest

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.events import REFRESHING, Event, Events
from adapter.engine.execution import Execution
from adapter.engine.known_key import Key
from adapter.engine.types import Kind, ObjectKey, Outcome
from adapter.engine.under_way import Load, Name, Read, Refresh, Request, Sleep, Stage, Step, Task, UnderWay
from adapter.engine.work import Work
from tests.unit.world import World, closure, settle, target

REFRESH = "inv_a", REFRESHING


def execution(id: str) -> Execution:
    meta = lifecycle.accepted(id, target("S/run"), Kind.SERVICE, now=1, input=b"", headers={}, idempotent=False)
    return Execution(meta, b"", None, True)


def work_of(under_way: UnderWay, events: Events) -> Work:
    nothing = cast(Any, None)
    return Work(World().engine.runtime, nothing, nothing, under_way, events, lambda *_: True)


async def test_a_later_read_stops_an_earlier_one_of_the_same_name() -> None:
    events = Events()
    under_way = UnderWay({}, events)
    work = work_of(under_way, events)
    ended: list[str] = []

    async def read(name: str, go: asyncio.Event) -> None:
        try:
            await go.wait()
            ended.append(f"{name} read")
        except asyncio.CancelledError:
            ended.append(f"{name} stopped")
            raise

    first, second = asyncio.Event(), asyncio.Event()
    work.read(REFRESH, Refresh(), partial(read, "first", first))
    await settle()
    work.read(REFRESH, Refresh(), partial(read, "second", second))
    first.set()
    second.set()
    await settle()

    assert ended == ["first stopped", "second read"]
    assert under_way.running == 0
    assert work.broken is None


async def test_a_read_that_fails_breaks_the_session_off_unless_it_was_dropped() -> None:
    events = Events()
    under_way = UnderWay({}, events)
    work = work_of(under_way, events)

    async def fail() -> None:
        raise OSError("no answer")

    work.read(REFRESH, Refresh(), fail)
    under_way.remove(REFRESH)
    await settle()
    assert work.broken is None

    work.read(REFRESH, Refresh(), fail)
    await settle()
    assert isinstance(work.broken, OSError)
    assert events.signal.is_set()


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_are_those_of_the_entries(seed: int) -> None:
    random = Random(seed)
    executions = {id: execution(id) for id in ("inv_a", "inv_b", "inv_c")}
    under_way = UnderWay(executions, Events())
    key = Key(ObjectKey("O", "k"))
    for _ in range(100):
        one = random.choice(list(executions.values()))
        n = random.randrange(6)
        tasks: list[Task] = [
            *(Sleep(5), Load(key), Refresh(), Read(one, c.GetState("total"), None)),
            *(Step(one, c.Run("step", closure(1))), Request(one, c.Cancel("inv_d"))),
        ]
        name: Name = one.meta.id, n
        match random.randrange(8):
            case 0:
                under_way.drop(one)
            case 1 if random.random() < 0.2:
                under_way.rewind()
            case 2:
                under_way.take_read(name)
            case 3 if under_way.holds_name(name):
                under_way.move(under_way.entry(name), random.choice(list(Stage)))
            case 4 if under_way.holds_name(name):
                under_way.on_end(name, under_way.entry(name))
            case _:
                under_way.put(name, random.choice(tasks), random.choice(list(Stage)))
        entries = [entry for stage in Stage for _, entry in under_way.in_stage(stage)]
        kinds, stages = Counter(type(entry.task) for entry in entries), Counter(entry.stage for entry in entries)
        assert under_way.reading == (kinds[Load] + kinds[Read] > 0)
        assert (under_way.loading, under_way.reads_state) == (kinds[Load] > 0, kinds[Read] > 0)
        assert under_way.running == stages[Stage.RUNNING] + stages[Stage.NEXT]
        assert under_way.is_new == (stages[Stage.ASKED] > 0)
        assert len(under_way.due_timers(9)) == kinds[Sleep]


def test_a_rewind_leaves_the_steps_and_reads_that_run_for_the_executions_that_are_left() -> None:
    kept, gone = execution("inv_a"), execution("inv_b")
    under_way = UnderWay({"inv_a": kept}, Events())
    step = c.Run("step", closure(1))
    for one in (kept, gone):
        under_way.put((one.meta.id, 0), Step(one, step), Stage.RUNNING)
        under_way.put((one.meta.id, 1), Step(one, step), Stage.ASKED)
        under_way.put((one.meta.id, 2), Request(one, c.Cancel("inv_c")), Stage.RUNNING)
        under_way.sleep(one, 3, due=5)
        under_way.put((one.meta.id, REFRESHING), Refresh(), Stage.RUNNING)
    under_way.rewind()

    left = [name for stage in Stage for name, _ in under_way.in_stage(stage)]
    assert left == [("inv_a", 0), ("inv_a", REFRESHING)]


def test_the_result_of_a_step_that_ran_before_a_rewind_is_an_event() -> None:
    events = Events()
    one = execution("inv_a")
    under_way = UnderWay({"inv_a": one}, events)
    one.step_results[0] = Outcome(b"1")
    under_way.step(one, 0, c.Run("step", closure(1)))

    assert list(events.waiting) == [Event("inv_a", 0, Outcome(b"1"))]
    assert not under_way.is_new
