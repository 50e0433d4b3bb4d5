"""What an invocation needs is kept as long as it lives, however long, and goes by its time to live after that."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapter.engine import commands as c
from adapter.engine.ids import idempotent_id
from adapter.engine.lifetimes import is_lost
from adapter.engine.records import JournalSegment, Meta, Part, Status
from adapter.engine.types import RetryPolicy
from tests.unit.world import World, closure, settle, target, unpack, value

DAY = 24 * 3600


async def live(world: World, days: int) -> None:
    """Let days pass, with a sweep each six hours and a DynamoDB that deletes as early as it may."""
    for _ in range(days):
        for _ in range(4):
            await world.clock.advance(DAY / 4)
            await world.engine.sweeper.sweep()
            await settle()
        world.store.expire(world.clock.now())


async def test_a_long_sleep_is_resumed_with_its_whole_journal() -> None:
    world = World()
    runs: list[int] = []

    @world.handler("S")
    async def wait(ctx: Any, text: Any) -> Any:
        first = await ctx.issue(c.Run("first", closure(lambda: runs.append(1) or "one")), unpack)
        await ctx.issue(c.Sleep(100 * DAY * 1000), unpack)
        return [len(text), first]

    id = await world.send("S/wait", "x" * 5000)
    await live(world, 101)
    assert value((await world.meta(id)).outcome) == [5000, "one"]
    assert runs == [1]


async def test_an_invocation_that_wakes_often_renews_its_items_itself() -> None:
    world = World()

    @world.handler("S")
    async def tick(ctx: Any, _: Any) -> Any:
        for _ in range(80):
            await ctx.issue(c.Sleep(DAY * 1000), unpack)
        return "done"

    id = await world.send("S/tick")
    for _ in range(85):  # no sweeper
        await world.clock.advance(DAY)
        world.store.expire(world.clock.now())
    assert value((await world.meta(id)).outcome) == "done"


async def test_what_is_paused_can_be_resumed_much_later() -> None:
    world = World()
    broken = True

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        first = await ctx.issue(c.Run("first", closure("one")), unpack)
        if broken:
            raise OSError
        return first

    id = await world.send("S/work")
    await settle()
    assert (await world.meta(id)).status is Status.PAUSED
    await live(world, 100)
    assert (await world.meta(id)).status is Status.PAUSED
    broken = False
    assert await world.engine.control.resume(id) == "accepted"
    await settle()
    assert value((await world.meta(id)).outcome) == "one"


async def test_a_delayed_message_keeps_its_large_input() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, text: Any) -> Any:
        await ctx.issue(c.Sleep(5000), unpack)
        return len(text)

    id = await world.send("S/work", "x" * 5000, delay=100 * DAY * 1000)
    meta = await world.meta(id)
    assert not is_lost(replace(meta, epoch=1), (meta.due or 0) + 29 * DAY * 1000), "its first process may end at once"
    for _ in range(101):  # no sweeper
        await world.clock.advance(DAY)
        world.store.expire(world.clock.now())
    assert value((await world.meta(id)).outcome) == 5000


async def test_a_result_with_a_long_retention_is_kept_and_then_goes() -> None:
    world = World()

    @world.handler("S", idempotency_retention=timedelta(days=200))
    async def work(ctx: Any, _: Any) -> Any:
        return "x" * 5000

    answer = await world.start("S/work", idempotency_key="k")
    await live(world, 199)
    assert value(await world.engine.storage.result(await world.meta(answer.id))) == "x" * 5000
    await world.outlive(80 * DAY)
    assert not list(world.store.records())


async def test_items_cost_nothing_to_delete() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        for n in range(10):
            await ctx.issue(c.Run("step", closure(n)), unpack)
        await ctx.issue(c.Sleep(5000), unpack)

    id = await world.send("S/work")
    await world.clock.advance(10)
    assert (await world.meta(id)).due is None
    units = world.store.usage.write_units
    await world.outlive()
    assert not list(world.store.records())
    assert world.store.usage.write_units == units


async def test_a_purge_does_not_wait_for_a_time_to_live() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, text: Any) -> Any:
        await ctx.issue(c.Sleep(5000), unpack)

    id = await world.send("S/work", "x" * 5000)
    await world.clock.advance(10)
    assert await world.engine.control.purge(id) == "accepted"
    assert [type(record) for record in world.store.records()] == [Meta]


async def test_a_journal_that_nothing_renewed_is_not_replayed_in_part() -> None:
    world = World()

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("first", closure("one")), unpack)
        await ctx.issue(c.Sleep(40 * DAY * 1000), unpack)

    id = await world.send("S/work")
    await settle()
    await world.clock.advance(41 * DAY)  # no sweeper in all that time
    await settle()
    meta = await world.meta(id)
    assert meta.status is Status.PAUSED
    assert meta.error is not None
    assert "restart it as a new one" in meta.error
    await world.engine.sweeper.sweep()
    assert (await world.meta(id)).due is None


async def test_a_long_wait_for_the_next_attempt_keeps_the_journal() -> None:
    world = World()
    attempts: list[int] = []
    policy = RetryPolicy(initial=timedelta(days=50), maximum=timedelta(days=50))

    @world.handler("S", retry=policy)
    async def work(ctx: Any, _: Any) -> Any:
        first = await ctx.issue(c.Run("first", closure("one")), unpack)
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError
        return first

    id = await world.send("S/work")
    await live(world, 49)
    assert (await world.meta(id)).status is Status.BACKING_OFF
    assert len(attempts) == 1
    await live(world, 2)
    assert value((await world.meta(id)).outcome) == "one"


async def test_an_id_that_is_used_again_and_again_does_not_pile_up_journals() -> None:
    world = World()

    @world.handler("S", idempotency_retention=timedelta(minutes=1), journal_retention=timedelta(minutes=1))
    async def work(ctx: Any, text: Any) -> Any:
        for n in range(10):
            await ctx.issue(c.Run("step", closure(n)), unpack)
        await ctx.issue(c.Sleep(5000), unpack)
        return "done"

    id = idempotent_id(target("S/work"), "k")
    for _ in range(30):
        assert await world.send("S/work", "x" * 5000, idempotency_key="k") == id
        await world.clock.advance(100)
        assert value((await world.meta(id)).outcome) == "done"
    kinds = Counter(type(record) for record in world.store.records())
    assert 0 < kinds[JournalSegment] < 130
    assert kinds[Part] < 20, "new inputs stay: they may be those of the next record"
