"""Sweeps that have more to do than they have time, or capacity, for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine import sweeper
from adapter.engine.ids import DUE_SHARDS, due_shard, random_id
from adapter.engine.ports import Create, Dependent, Wake
from adapter.engine.records import Meta, Status
from adapter.engine.types import Kind, Target
from tests.unit.world import World, closure, settle, unpack


def ids(shards: range, count: int) -> list[str]:
    """Random ids, so many in each shard."""
    found: dict[int, list[str]] = {shard: [] for shard in shards}
    while any(len(each) < count for each in found.values()):
        id = random_id()
        if len(of_shard := found.get(due_shard(id), [])) < count:
            of_shard.append(id)
    return [id for each in found.values() for id in each]


async def put(world: World, id: str, **fields: Any) -> None:
    now = world.clock.now()
    meta = Meta(id, "g", Target("S", "work"), Kind.SERVICE, **({"created": now} | fields))
    await world.store.commit([Create(meta, now)], "n")


def limit(world: World, monkeypatch: pytest.MonkeyPatch, records: int) -> list[str]:
    """Have time run out after so many records. Returns those that were acted on, as they are."""
    acted: list[str] = []
    act = sweeper.Sweeper._act

    async def counted(self: sweeper.Sweeper, id: str) -> bool:
        acted.append(id)
        return await act(self, id)

    monkeypatch.setattr(sweeper.Sweeper, "_act", counted)
    monkeypatch.setattr(world.engine.process, "remaining", lambda: 0 if len(acted) >= records else 60_000)
    return acted


@pytest.mark.parametrize("records", [1, 10, 20])
async def test_sweeps_that_end_early_come_to_all_shards(records: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for id in ids(range(DUE_SHARDS), 1):  # which stay due
        await put(world, id, status=Status.READY, due=world.clock.now() - 1000)
    acted: list[str] = []

    async def count(self: sweeper.Sweeper, id: str) -> bool:
        acted.append(id)
        return False

    monkeypatch.setattr(sweeper.Sweeper, "_act", count)
    sweeps, swept = 0, set[str]()
    while len(swept) < DUE_SHARDS:
        acted.clear()
        monkeypatch.setattr(world.engine.process, "remaining", lambda: 0 if len(acted) >= records else 60_000)
        await world.engine.sweeper.sweep()
        swept.update(acted)
        await world.clock.advance(60)
        sweeps += 1
        assert sweeps <= 2.1 * DUE_SHARDS / records


async def test_a_backlog_of_what_has_expired_keeps_up_no_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    now = world.clock.now()
    for id in ids(range(DUE_SHARDS), 150):
        await put(world, id, status=Status.COMPLETED, due=now - 1000, expires=now - 1000)
    waiting = ids(range(DUE_SHARDS), 1)
    for id in waiting:
        await put(world, id, status=Status.READY, due=now - 1)
    limit(world, monkeypatch, 100)
    await world.engine.sweeper.sweep()
    await settle()
    assert [(await world.meta(id)).status for id in waiting] == [Status.COMPLETED] * DUE_SHARDS


async def test_no_shards_backlog_hides_the_others_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any: ...

    now = world.clock.now()
    for id in ids(range(DUE_SHARDS), 900):
        await put(world, id, status=Status.COMPLETED, due=now - 1000, expires=now - 1000)
    swept: set[int] = set()
    for _ in range(DUE_SHARDS):
        acted = limit(world, monkeypatch, 100)
        await world.engine.sweeper.sweep()
        monkeypatch.undo()
        swept |= {due_shard(id) for id in acted}
        await world.clock.advance(60)
    assert swept == set(range(DUE_SHARDS))


async def test_backlogs_are_cleared_side_by_side() -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    now = world.clock.now()
    expired = ids(range(2, 4), 250)
    for id in [*expired, *ids(range(4, 6), 5)]:
        await put(world, id, status=Status.COMPLETED, due=now - 1000, expires=now - 1000)
    waiting = ids(range(DUE_SHARDS), 1)
    for id in waiting:
        await put(world, id, status=Status.READY, due=now - 1)
    shared: list[int] = []

    async def share(shard: int) -> None:
        shared.append(shard)

    assert await world.engine.sweeper.sweep(share) == 10 + DUE_SHARDS
    await settle()
    assert sorted(shared) == [2, 3]
    assert [(await world.meta(id)).status for id in waiting] == [Status.COMPLETED] * DUE_SHARDS
    assert await world.engines[1].sweeper.clear(2) == 250
    assert [await world.store.peek(id) for id in expired if due_shard(id) == 2] == [None] * 250
    assert await world.store.peek(next(id for id in expired if due_shard(id) == 3)) is not None


@pytest.mark.parametrize("throttled", [True, False])
async def test_what_does_not_begin_is_paused_unless_its_function_is_throttled(throttled: bool) -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    [id] = ids(range(1), 1)
    await put(world, id, status=Status.READY, due=world.clock.now() - 1, dispatches=10)
    asked: list[tuple[str, str]] = []

    async def is_throttled(service: str, deployment: str) -> bool:
        asked.append((service, deployment))
        return throttled

    world.engine.sweeper.is_throttled = is_throttled
    await world.engine.sweeper.sweep()
    await settle()
    assert asked == [("S", "")]
    assert (await world.meta(id)).status is (Status.COMPLETED if throttled else Status.PAUSED)


async def test_what_was_not_deleted_for_want_of_capacity_is_not_asked_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        for _ in range(5):
            await ctx.issue(c.Run("step", closure("x")), unpack)

    answer = await world.start("S/work")
    delete, asked = world.store.delete, 0

    async def busy(keys: Sequence[Dependent]) -> list[Dependent]:
        nonlocal asked
        asked += 1
        return [*keys] if asked < 3 else await delete(keys)

    monkeypatch.setattr(world.store, "delete", busy)
    purge = asyncio.create_task(world.engine.control.purge(answer.id))
    await settle()
    assert asked == 1
    await world.clock.advance(5)
    assert purge.done()
    assert asked == 3


async def test_a_suspended_invocation_continues_at_its_time_however_often_it_was_checked() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    now = world.clock.now()
    id = random_id()
    await put(world, id, status=Status.SUSPENDED, epoch=1, due=now - 1, timer=now - 1, wake_after=0, dispatches=300)
    await world.engine.sweeper.sweep()
    await settle()
    assert (await world.meta(id)).status is Status.COMPLETED


async def test_checks_of_a_suspended_invocation_are_not_counted_as_dispatches_once_it_is_woken() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    id = random_id()
    await put(world, id, status=Status.SUSPENDED, epoch=1, due=world.clock.now() + 1, wake_after=0, dispatches=300)
    ref = (await world.meta(id)).ref
    await world.store.count_notifications(ref, count=1, wake=Wake.SUSPENDED, due=world.clock.now() - 1)
    await world.engine.sweeper.sweep()  # the dispatch is lost
    await settle()
    assert (await world.meta(id)).status is Status.COMPLETED
