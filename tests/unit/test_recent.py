"""A request to a key that this process has just written begins without a read; others who write it are noticed."""

from __future__ import annotations

from typing import Any

from adapter.engine import commands as c
from adapter.engine.recent import MOST, Recent
from adapter.engine.records import Head, Ref
from adapter.engine.types import Kind, ObjectKey
from tests.unit.world import ManualClock, World, closure, pack, unpack


def counters(processes: int = 1) -> World:
    world = World(processes)

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, steps: Any) -> Any:
        for n in range(steps):
            await ctx.issue(c.Run(f"step {n}", closure(1)), unpack)
        total = (await ctx.issue(c.GetState("total"), unpack) or 0) + 1
        ctx.issue(c.SetState("total", pack(total)), unpack)
        return total

    return world


async def requests(world: World, steps: int = 0, *, process: int = 0, **options: Any) -> tuple[Any, int]:
    """The total after one more, and how many requests that took."""
    before = world.store.usage.requests
    answer = await world.start("O/k/add", steps, process=process, **options)
    await world.clock.advance(0)
    assert answer.outcome is not None
    return unpack(answer.outcome.value), world.store.usage.requests - before


async def test_a_warm_key_is_not_read() -> None:
    world = counters()
    assert await requests(world) == (1, 2)
    assert await requests(world) == (2, 1)
    assert await requests(world, idempotency_key="a") == (3, 2)
    assert await requests(world, steps=2) == (4, 3)
    assert await requests(world) == (5, 1)
    await world.clock.advance(2)
    assert await requests(world) == (6, 2)


async def test_a_key_that_others_write_too_is_read_for_a_while() -> None:
    world = counters(2)
    assert await requests(world) == (1, 2)
    assert await requests(world, process=1) == (2, 2)
    assert (await requests(world))[0] == 3, "on a second look"
    assert await requests(world) == (4, 2), "shared, it is read"
    assert (await requests(world, process=1))[0] == 5, "on a second look, too"
    await world.clock.advance(11)
    assert await requests(world) == (6, 2)
    assert await requests(world) == (7, 1)
    assert await requests(world, process=1) == (8, 2)


def test_only_what_is_free_is_known_and_not_for_long() -> None:
    clock = ManualClock()
    recent = Recent(clock)
    key = ObjectKey("O", "k")
    recent.put(Head(key, 1, owner=Ref("inv_a", "g")))
    assert recent.get(key) is None
    recent.put(Head(key, 2))
    assert recent.get(key) == Head(key, 2)
    recent.put(Head(key, 3, owner=Ref("inv_a", "g")))
    assert recent.get(key) is None
    recent.put(Head(key, 4))
    clock.time += 1000
    assert recent.get(key) is None


def test_where_others_were_met_requests_go_to_the_inbox_for_a_while() -> None:
    clock = ManualClock()
    recent = Recent(clock)
    key = ObjectKey("O", "k")
    recent.mark_busy(key)
    recent.put(Head(key, 2))
    assert recent.get(key) == Head(key, queued=True)
    recent.mark_free(key)
    recent.put(Head(key, 3))
    assert recent.get(key) is None
    clock.time += 10_000
    recent.put(Head(key, 4))
    assert recent.get(key) == Head(key, 4)


def test_so_many_keys_are_remembered() -> None:
    recent = Recent(ManualClock())
    for n in range(MOST + 1):
        recent.put(Head(ObjectKey("O", str(n)), 1))
    assert recent.get(ObjectKey("O", "0")) is None
    assert recent.get(ObjectKey("O", "1")) is not None
    recent.mark_busy(ObjectKey("O", "new"))
    assert recent.get(ObjectKey("O", "1")) is None
