"""An invocation is dispatched once it has all results. Its record changes only if it is not checked soon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter import gather, select
from adapter.engine import commands as c
from adapter.engine.engine import Engine
from adapter.engine.ports import Put, Unavailable
from adapter.engine.records import Meta, Notification, Ref, Status
from adapter.engine.transitions import SOON
from adapter.engine.types import Failure, Kind, Outcome
from tests.unit.world import World, dispatches_lost, pack, settle, unpack, value

FAILURE = Failure(409, "failed")


class Lost:
    """A dispatcher that loses what it is given."""

    def __init__(self) -> None:
        self.dispatched: list[str] = []

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        self.dispatched.append(ref.id)


class Waiting:
    """An invocation that waits for signals, and the process that sends them."""

    def __init__(self, signals: int) -> None:
        self.world = World()

        @self.world.handler("S")
        async def work(ctx: Any, _: Any) -> Any:
            return await gather(*(ctx.issue(c.Signal(f"go {number}"), unpack) for number in range(signals)))

        self.dispatcher = Lost()
        self.sender = Engine(
            store=self.world.store,
            timers=self.world.timers[0],
            dispatcher=self.dispatcher,
            clock=self.world.clock,
            handlers=[],
        )

    async def begin(self) -> str:
        id = await self.world.send("S/work")
        await settle()
        assert (await self.meta(id)).status is Status.SUSPENDED
        return id

    async def meta(self, id: str) -> Meta:
        return await self.world.meta(id)

    async def go(self, id: str, number: int, failure: Failure | None = None) -> None:
        outcome = Outcome(failure=failure) if failure else Outcome(pack(number))
        assert await self.sender.outbound.signal(id, f"go {number}", outcome) == "accepted"
        await settle()


async def test_one_that_is_checked_soon_stays_as_it_is() -> None:
    waiting = Waiting(1)
    id = await waiting.begin()
    before = await waiting.meta(id)
    await waiting.go(id, 0)
    after = await waiting.meta(id)
    assert waiting.dispatcher.dispatched == [id]
    assert (after.status, after.due, after.epoch) == (Status.SUSPENDED, before.due, before.epoch)
    assert after.resolved


async def test_the_sweeper_makes_up_for_a_lost_dispatch() -> None:
    waiting = Waiting(1)
    id = await waiting.begin()
    await waiting.go(id, 0)
    await waiting.world.clock.advance(SOON / 1000)
    await waiting.world.engine.sweeper.sweep()
    await settle()
    assert value((await waiting.meta(id)).outcome) == [0]


async def test_one_that_is_checked_late_is_due_after_a_moment() -> None:
    waiting = Waiting(1)
    id = await waiting.begin()
    for _ in range(4):
        await waiting.world.clock.advance(3600)
        await waiting.world.engine.sweeper.sweep()
    now = waiting.world.clock.now()
    assert ((await waiting.meta(id)).due or 0) > now + SOON
    await waiting.go(id, 0)
    after = await waiting.meta(id)
    assert waiting.dispatcher.dispatched == [id]
    assert after.status is Status.READY
    assert (after.due or 0) < now + SOON


@pytest.mark.parametrize("count", [2, 5])
async def test_only_the_last_result_dispatches_it(count: int) -> None:
    waiting = Waiting(count)
    id = await waiting.begin()
    for number in range(count):
        await waiting.go(id, number)
        if number < count - 1:
            assert not (await waiting.meta(id)).resolved
    # A further one, before the dispatch is delivered.
    await waiting.go(id, count)
    assert waiting.dispatcher.dispatched.count(id) == 1


async def test_of_results_that_are_counted_at_once_one_dispatches_it() -> None:
    waiting = Waiting(2)
    id = await waiting.begin()
    await asyncio.gather(waiting.go(id, 0), waiting.go(id, 1))
    assert waiting.dispatcher.dispatched == [id]


async def test_results_that_are_counted_together_dispatch_it() -> None:
    waiting = Waiting(2)
    id = await waiting.begin()
    ref = (await waiting.meta(id)).ref
    notifications = [Notification(ref, f"s{n}:go {n}", Outcome(pack(n)), n) for n in range(3)]
    await waiting.world.store.commit([Put(each) for each in notifications], "both")
    await waiting.sender.runtime.notifier.notify(notifications, "S", "")
    await settle()
    assert waiting.dispatcher.dispatched == [id]


async def test_a_count_whose_answer_was_lost_dispatches_it_although_another_came_between() -> None:
    """The first of two results is counted, and the answer is lost. The second one is counted, and is not the first
    that was enough. When the first one is counted again, its process cannot know that it was."""
    waiting = Waiting(1)
    id = await waiting.begin()
    counted = asyncio.Event()
    held = asyncio.Event()

    async def lose_the_first_answer(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("after", "count_notifications") and not counted.is_set():
            counted.set()
            await held.wait()
            raise Unavailable("no answer")

    waiting.world.store.hook = lose_the_first_answer
    first = asyncio.ensure_future(waiting.go(id, 0))
    await counted.wait()
    await waiting.go(id, 0)
    held.set()
    await waiting.world.clock.advance(1)
    await first
    assert id in waiting.dispatcher.dispatched


async def test_a_failure_is_counted_although_another_one_woke_it_in_the_same_millisecond() -> None:
    """The interleaving:

    1. A process counts a failure. The request gets no answer, and is not applied.
    2. In the same millisecond, by its clock, another process counts another failure, which wakes the invocation.
    3. The first process sends its request again. The invocation is ready, and due when this request would have made it
       due, so the process took its failure for counted.
    """
    waiting = Waiting(2)
    id = await waiting.begin()
    asked, woken = asyncio.Event(), asyncio.Event()

    async def lose_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "count_notifications") and not asked.is_set():
            asked.set()
            await woken.wait()
            raise Unavailable("no answer")

    waiting.world.store.hook = lose_the_first
    first = asyncio.ensure_future(waiting.go(id, 0, FAILURE))
    await asked.wait()
    await waiting.go(id, 1, FAILURE)
    woken.set()
    await waiting.world.clock.advance(1)
    await first
    assert (await waiting.meta(id)).notifications == 2
    assert waiting.dispatcher.dispatched == [id, id]


async def test_a_failure_that_woke_it_dispatches_it_although_the_answer_was_lost() -> None:
    waiting = Waiting(2)
    id = await waiting.begin()

    async def lose_the_first_answer(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("after", "count_notifications"):
            waiting.world.store.hook = None
            raise Unavailable("no answer")

    waiting.world.store.hook = lose_the_first_answer
    first = asyncio.ensure_future(waiting.go(id, 0, FAILURE))
    await waiting.world.clock.advance(1)
    await first
    assert waiting.dispatcher.dispatched == [id]
    assert (await waiting.meta(id)).notifications == 2  # a count errs upwards only


async def test_one_that_is_dispatched_too_early_is_dispatched_again() -> None:
    waiting = Waiting(1)

    @waiting.world.handler("S")
    async def two(ctx: Any, _: Any) -> Any:
        early = await select(*(ctx.issue(c.Signal(f"early {number}"), unpack) for number in range(2)))
        return [await early, await ctx.issue(c.Signal("last"), unpack)]

    async def go(name: str) -> None:
        assert await waiting.sender.outbound.signal(id, name, Outcome(pack(name))) == "accepted"
        await settle()

    id = await waiting.world.send("S/two")
    await settle()
    ref = (await waiting.meta(id)).ref
    uncounted = Notification(ref, "s1:early 1", Outcome(pack("early 1")), 1)
    await waiting.world.store.commit([Put(uncounted)], "uncounted")
    await go("early 0")
    await waiting.world.engine.resume(id)
    await settle()
    assert (await waiting.meta(id)).seen == 2
    await waiting.sender.runtime.notifier.notify([uncounted], "S", "")
    await settle()
    assert waiting.dispatcher.dispatched == [id, id], "the count is higher than what it waits for"
    await waiting.world.engine.resume(id)
    await settle()
    await go("last")
    assert waiting.dispatcher.dispatched == [id, id, id]
    await waiting.world.engine.resume(id)
    await settle()
    assert not (await waiting.meta(id)).live


@pytest.mark.parametrize("refused", [0, 9])
async def test_a_dispatch_is_kept_that_comes_while_a_late_attempt_begins(refused: int) -> None:
    """The attempt was loaded before another one suspended the invocation. It does not get far.

    Args:
        refused: How many reads the store refuses, so that the attempt notices only when it suspends the invocation.
    """
    world = World(2)
    answer = asyncio.Event()

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    async def hold_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "heads":
            world.store.hook = None
            await answer.wait()

    async def refuse(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        nonlocal refused
        if refused and phase == "before" and method == "peek":
            refused -= 1
            raise Unavailable("throttled")

    late, other = world.engines
    with dispatches_lost(world):
        id = await world.send("O/k/work")
        world.store.hook = hold_the_first
        beginning = asyncio.create_task(late.resume(id))
        await settle()
        await other.resume(id)
        assert (await world.meta(id)).status is Status.SUSPENDED
        assert await other.outbound.signal(id, "go", Outcome(pack("gone"))) == "accepted"
        await late.resume(id)
    world.store.hook = refuse
    answer.set()
    for _ in range(20):
        await world.clock.advance(0.5)
    await beginning
    await settle()
    assert refused == 0
    assert value((await world.meta(id)).outcome) == "gone"
