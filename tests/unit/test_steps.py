"""A step runs again only if it failed, or if its process died before its result was stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter import gather
from adapter.engine import commands as c
from adapter.engine.ports import Create, Delete
from adapter.engine.records import Status
from adapter.engine.types import Kind, RetryPolicy
from adapter.errors import RetryableError
from tests.unit.world import World, closure, pack, settle, target, unpack, value


async def test_the_result_of_a_step_outlives_a_rewind_whose_key_is_read_again() -> None:
    world = World(2)
    ran: list[int] = []

    async def step() -> bytes:
        ran.append(1)
        await world.clock.sleep(5)
        return pack("paid")

    @world.handler("S")
    async def shared(ctx: Any, _: Any) -> Any:
        return "shared"

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        paid = await ctx.issue(c.Run("pay", step), unpack)
        ctx.issue(c.Call(target("S/shared"), b"", idempotency_key="same"), unpack)
        return paid

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)

    await world.call("S/shared", idempotency_key="same")
    await world.send("O/k/hold")  # so that the head already counts who waits when `work` begins
    await settle()
    id = await world.send("O/k/work")
    next_ = await world.send("O/k/work")
    await world.clock.advance(12)
    assert ran == [1]

    async def cancel_next(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        commits = (phase, method) == ("before", "commit")
        if commits and {Create, Delete} <= {type(change) for change in args[0]}:
            world.store.hook = None
            assert await world.engines[1].control.cancel(next_) == "accepted"
            world.store.hook = take_time

    async def take_time(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "heads"):  # as any request does outside of tests
            await world.clock.sleep(0.01)

    world.store.hook = cancel_next
    await world.clock.advance(30)
    assert world.store.hook is take_time
    assert value((await world.meta(id)).outcome) == "paid"
    assert ran == [1]


async def test_a_step_beside_a_call_that_is_killed_runs_once() -> None:
    world = World(2)
    calls: list[str] = []
    began: list[int] = []
    ended: list[int] = []

    async def charge() -> bytes:
        began.append(1)
        await world.clock.sleep(8)
        ended.append(1)
        return pack("charged")

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        calls.append(call.id)
        return await ctx.issue(c.Run("charge", charge), unpack)

    id = await world.send("S/parent")
    await settle()
    await world.clock.advance(1)
    assert began == [1]
    assert await world.engines[1].control.kill(calls[0]) == "accepted"
    for _ in range(12):
        await world.clock.advance(10)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert value((await world.meta(id)).outcome) == "charged"
    assert began == [1]


async def test_a_step_beside_one_that_fails_runs_once() -> None:
    world = World()
    began: list[int] = []
    failed: list[int] = []

    async def charge() -> bytes:
        began.append(1)
        await world.clock.sleep(3)
        return pack("charged")

    async def flaky() -> bytes:
        await world.clock.sleep(1)
        if not failed:
            failed.append(1)
            raise OSError("reset by peer")
        return pack("ok")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        one, two = ctx.issue(c.Run("charge", charge), unpack), ctx.issue(c.Run("flaky", flaky), unpack)
        return list(await gather(one, two))

    id = await world.send("S/work")
    for _ in range(10):
        await world.clock.advance(2)
    assert value((await world.meta(id)).outcome) == ["charged", "ok"]
    assert began == [1]


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("later", range(6))
async def test_the_result_of_a_step_that_ends_as_another_fails_is_kept(later: int, again: bool) -> None:
    """It ends in the moment in which the session hears of the other's failure, or some time after."""
    world = World()
    began: list[int] = []
    both, left = asyncio.get_running_loop().create_future(), ["once"]

    async def charge() -> bytes:
        began.append(1)
        await both
        for _ in range(later):
            await asyncio.sleep(0)
        return pack("charged")

    async def fail() -> bytes:
        await both
        if left:
            raise OSError(left.pop())
        return pack("ok")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        failing = ctx.issue(c.Run("fail", fail), unpack)
        return list(await gather(failing, ctx.issue(c.Run("charge", charge, at_most_once=not again), unpack)))

    id = await world.send("S/work")
    await settle()
    both.set_result(None)
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == ["ok", "charged"]
    assert began == [1]


@pytest.mark.parametrize("then", ["raises", "fails by another step"])
async def test_the_result_of_a_step_that_ends_after_its_attempt_has_failed_is_kept(then: str) -> None:
    world = World()
    began: list[int] = []
    left = ["once"]

    async def charge() -> bytes:
        began.append(1)
        await world.clock.sleep(3)
        return pack("charged")

    async def fail() -> bytes:
        if left:
            raise OSError(left.pop())
        return pack("ok")

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        charged = ctx.issue(c.Run("charge", charge), unpack)
        await ctx.issue(c.Sleep(1000), unpack)
        if then == "raises":
            await fail()
        else:
            await ctx.issue(c.Run("fail", fail), unpack)
        return await charged

    id = await world.send("O/k/work")
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == "charged"
    assert (began, left) == ([1], [])


@pytest.mark.parametrize("fails", [(1,), (1, 2)], ids=["once", "twice"])
@pytest.mark.parametrize("policy", [RetryPolicy.NONE, RetryPolicy(timedelta(milliseconds=20), attempts=2)])
async def test_a_step_runs_at_most_once_and_not_less_if_its_attempt_fails_before_it_begins(
    fails: tuple[int, ...], policy: RetryPolicy
) -> None:
    world = World()
    attempts: list[int] = []
    began: list[int] = []

    async def charge() -> bytes:
        began.append(1)
        return pack("charged")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        attempts.append(1)
        step = ctx.issue(c.Run("charge", charge, policy, at_most_once=True), unpack)
        if len(attempts) in fails:
            raise OSError("reset by peer")
        return await step

    assert await world.call("S/work") == "charged"
    assert (len(attempts), began) == (len(fails) + 1, [1])


@pytest.mark.parametrize("code", ["awaits it", "fails meanwhile"])
async def test_a_step_that_runs_at_most_once_and_asks_to_pause_has_run(code: str) -> None:
    world = World()
    began: list[int] = []

    async def charge() -> bytes:
        began.append(1)
        await world.clock.sleep(3)
        raise RetryableError("out of stock", pause=True)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        step = ctx.issue(c.Run("charge", charge, RetryPolicy.NONE, at_most_once=True), unpack)
        await ctx.issue(c.Run("another", closure(1)), unpack)
        if code == "fails meanwhile" and not (await world.meta(id)).error:
            raise OSError("reset by peer")
        await step

    id = await world.send("S/work")
    await world.clock.advance(5)
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engine.control.resume(id) == "accepted"
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == (
        500,
        "step 'charge' may have run in an earlier attempt, and is to run at most once",
    )
    assert began == [1]


@pytest.mark.parametrize("code", ["awaits it", "fails meanwhile"])
async def test_a_step_that_may_be_retried_and_asks_to_pause_is_tried_again(code: str) -> None:
    world = World()
    tries: list[int] = []

    async def charge() -> bytes:
        tries.append(1)
        await world.clock.sleep(3)
        if len(tries) == 1:
            raise RetryableError("out of stock", pause=True)
        if len(tries) == 2:
            raise OSError("reset by peer")
        return pack("charged")

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        policy = RetryPolicy(initial=timedelta(milliseconds=20), attempts=3)
        step = ctx.issue(c.Run("charge", charge, policy, at_most_once=True), unpack)
        await ctx.issue(c.Run("another", closure(1)), unpack)
        if code == "fails meanwhile" and not (await world.meta(id)).error:
            raise OSError("reset by peer")
        return await step

    id = await world.send("S/work")
    await world.clock.advance(5)
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engine.control.resume(id) == "accepted"
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == "charged"
    assert len(tries) == 3


async def test_a_step_between_two_tries_does_not_hold_up_the_attempt_that_has_failed() -> None:
    world = World()
    tries: list[int] = []

    async def flaky() -> bytes:
        tries.append(world.clock.now())
        if len(tries) < 3:
            raise OSError("try again")
        return pack("ok")

    attempts: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        attempts.append(world.clock.now())
        policy = RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1), attempts=3)
        step = ctx.issue(c.Run("flaky", flaky, policy), unpack)
        await ctx.issue(c.Sleep(1000), unpack)
        if len(attempts) == 1:
            raise OSError("once")
        return await step

    task = world.start("S/work")  # whose client has the step wait in the process
    await world.clock.advance(4)
    assert len(attempts) > 1
    assert attempts[1] - attempts[0] < 2000
    for _ in range(150):
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
    assert value((await world.meta((await task).id)).outcome) == "ok"
    assert len(tries) == 3


@pytest.mark.parametrize("act", ["nothing", "resume", "pause, resume"])
@pytest.mark.parametrize("tried", [False, True])
async def test_a_step_that_is_still_to_run_once_runs_after_a_pause(tried: bool, act: str) -> None:
    """It has not begun when its attempt fails, or its policy allows another try. An operator's marker in the journal
    stood for an attempt that had not tried it."""
    world = World()
    began: list[int] = []
    policy = RetryPolicy(initial=timedelta(seconds=30), maximum=timedelta(seconds=30))

    async def charge() -> bytes:
        began.append(1)
        if tried and len(began) == 1:
            raise OSError("reset by peer")
        return pack("paid")

    @world.handler("S", retry=policy)
    async def work(ctx: Any, _: Any) -> Any:
        step = ctx.issue(c.Run("charge", charge, policy if tried else None, at_most_once=True), unpack)
        if not tried and not (await world.meta(id)).error:
            raise OSError("reset by peer")
        return await step

    id = await world.send("S/work")
    await world.clock.advance(3)
    assert (await world.meta(id)).status is Status.BACKING_OFF
    if act == "pause, resume":
        assert await world.engine.control.pause(id) == "accepted"
    if act != "nothing":
        assert await world.engine.control.resume(id) == "accepted"
    await world.clock.advance(40)
    assert value((await world.meta(id)).outcome) == "paid"
    assert len(began) == 1 + tried
