"""In a Lambda function a client gets its answer only when all work in the process has ended: what is kept from that."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from adapter.engine import commands as c
from adapter.engine.engine import Engine
from adapter.engine.preparation import INBOX_PAGE
from adapter.engine.records import Status
from adapter.engine.requests import Answer, Request
from adapter.engine.types import Kind, Outcome, RetryPolicy
from tests.unit.test_batches import counting
from tests.unit.world import World, closure, pack, settle, target, unpack

RETRY = RetryPolicy(initial=timedelta(milliseconds=500))


def event(engine: Engine, path: str) -> asyncio.Task[Answer]:
    """Call a handler as the entry of a Lambda function does: it returns when no work is left in the process."""
    engine.process.deadline = engine.process.now() + 60_000

    async def handled() -> Answer:
        answer = await engine.call(Request(target(path), b'"client"'), until=engine.process.now() + 25_000)
        await engine.process.drain()
        return answer

    return asyncio.create_task(handled())


async def test_the_retry_of_another_invocation_is_left_to_a_timer() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE, retry=RETRY)
    async def fail(ctx: Any, _: Any) -> Any:
        raise ConnectionError

    @world.handler("S")
    async def forget(ctx: Any, _: Any) -> Any:
        return ctx.issue(c.Call(target("O/k/fail"), b""), unpack).id

    client = event(world.engine, "S/forget")
    await settle()

    assert client.done(), "it waits for the next attempt of the call"
    failing = unpack((client.result().outcome or Outcome()).value)
    attempts = (await world.meta(failing)).failures
    assert (await world.meta(failing)).status is Status.BACKING_OFF
    await world.clock.advance(1)
    assert (await world.meta(failing)).failures > attempts


async def test_a_retry_that_the_process_waits_for_is_left_to_a_timer_once_an_answer_is_ready() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE, retry=RETRY)
    async def fail(ctx: Any, _: Any) -> Any:
        raise ConnectionError

    @world.handler("S")
    async def forget(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Call(target("O/k/fail"), b""), unpack)
        await ctx.issue(c.Run("first", closure(1)), unpack)
        await ctx.issue(c.Sleep(100), unpack)

    client = event(world.engine, "S/forget")
    await settle()
    assert not client.done()
    await world.clock.advance(0.2)

    assert client.done(), "it waits for the next attempt of the call"


async def test_a_sleep_of_another_invocation_is_not_waited_for() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def nap(ctx: Any, _: Any) -> Any:
        for _ in range(10):
            await ctx.issue(c.Sleep(1500), unpack)
        return "rested"

    @world.handler("S")
    async def forget(ctx: Any, _: Any) -> Any:
        return ctx.issue(c.Call(target("O/k/nap"), b""), unpack).id

    client = event(world.engine, "S/forget")
    await settle()

    assert client.done(), "it waits for the sleeps of the call"
    napping = unpack((client.result().outcome or Outcome()).value)
    await world.clock.advance(16)
    assert (await world.meta(napping)).outcome == Outcome(pack("rested"))


async def test_an_invocation_that_waited_in_the_inbox_does_not_run_those_after_it_before_its_answer() -> None:
    world = World(2)
    ran = counting(world)
    others = world.engines[1]
    await world.send("O/k/hold", process=1)
    await settle()
    client = event(world.engine, "O/k/add")
    await settle()
    for n in range(150):
        await world.send("O/k/add", n, process=1)

    async def lost(*_: object) -> None: ...

    for dispatcher in world.dispatchers:
        dispatcher.dispatch = lost  # type: ignore[method-assign]
    others.process.deadline = world.clock.now() + 10_500  # which leaves no time to run those that wait
    for _ in range(200):
        await world.clock.advance(0.1)
        if client.done():
            break

    assert client.done()
    assert ran[0] == "client"
    assert len(ran) <= 1 + INBOX_PAGE, "only those that are committed together with it"
