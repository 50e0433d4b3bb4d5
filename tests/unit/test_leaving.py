"""A client that leaves what is suspended: no process waits along with it, and it asks for the outcome later."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapter import gather
from adapter.engine import commands as c
from adapter.engine.records import Meta, Status
from adapter.engine.requests import LEAVE_AFTER, Answer, Request
from adapter.engine.types import Kind, Outcome, RetryPolicy
from tests.unit.world import World, pack, settle, target, unpack, value

HOUR = 3_600_000


def leaving(world: World, path: str, *, process: int = 0, **options: Any) -> asyncio.Task[Answer]:
    """Call a handler, and leave when it is suspended."""
    request = Request(target(path), pack(None), **options)
    return asyncio.create_task(world.engines[process].call(request, until=world.clock.now() + 600_000, leave=True))


def sleeper(world: World, milliseconds: int) -> None:
    @world.handler("S")
    async def nap(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(milliseconds), unpack)
        return "slept"

    @world.handler("S")
    async def calls(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/nap"), b""), unpack)


def hindered(world: World, backoff: timedelta) -> None:
    """A handler that holds its key for an hour, and one that fails."""

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(HOUR), unpack)

    @world.handler("S", retry=RetryPolicy(initial=backoff))
    async def fail(ctx: Any, _: Any) -> Any:
        raise ConnectionError


@pytest.mark.parametrize("handler", ["nap", "calls"])
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_client_leaves_what_sleeps_at_once(handler: str, key: str | None) -> None:
    """What an invocation calls in its process sleeps there as well."""
    world = World()
    sleeper(world, LEAVE_AFTER + 1)
    client = leaving(world, f"S/{handler}", idempotency_key=key)
    await settle()
    answer = client.result()
    assert answer.outcome is None
    assert (await world.meta(answer.id)).status is Status.SUSPENDED
    assert not world.engine.process.active
    await world.clock.advance(LEAVE_AFTER / 1000 + 1)
    assert value((await world.meta(answer.id)).outcome) == "slept"


@pytest.mark.parametrize("handler", ["nap", "calls"])
async def test_a_short_sleep_is_waited_out(handler: str) -> None:
    world = World()
    sleeper(world, LEAVE_AFTER)
    client = leaving(world, f"S/{handler}")
    await world.clock.advance(LEAVE_AFTER / 1000)
    assert value(client.result().outcome) == "slept"


async def test_a_client_that_does_not_leave_waits_for_the_sleep() -> None:
    world = World()
    sleeper(world, HOUR // 60)
    client = world.start("S/nap")
    await world.clock.advance(59)
    assert not client.done()
    await world.clock.advance(1)
    assert value(client.result().outcome) == "slept"


async def test_a_client_waits_a_second_for_what_comes_from_elsewhere() -> None:
    world = World()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        signal, sleep = ctx.issue(c.Signal("go"), unpack), ctx.issue(c.Sleep(HOUR), unpack)
        return await gather(signal, sleep)

    @world.handler("S")
    async def hear(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    heard, left = leaving(world, "S/hear"), leaving(world, "S/listen")
    await world.clock.advance(LEAVE_AFTER / 1000 - 0.1)
    assert not left.done()
    assert not heard.done()
    id = next(record.id for record in world.store.records() if getattr(record, "target", None) == target("S/hear"))
    assert await world.engine.outbound.signal(id, "go", Outcome(b'"now"'), commit_id="n") == "accepted"
    await settle()
    assert value(heard.result().outcome) == "now"
    await world.clock.advance(0.2)
    assert left.result().outcome is None


async def test_a_client_waits_as_long_as_something_runs() -> None:
    world = World()
    end = asyncio.Event()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def slow() -> bytes:
            await end.wait()
            return pack("done")

        return await ctx.issue(c.Run("slow", slow), unpack)

    client = leaving(world, "S/work")
    await world.clock.advance(30)
    assert not client.done()
    end.set()
    await settle()
    assert value(client.result().outcome) == "done"


async def test_a_client_leaves_what_does_not_run_here() -> None:
    """Its key is another's, or it backs off, or waits in another process."""
    world = World(2)
    sleeper(world, HOUR)
    hindered(world, timedelta(minutes=1))

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        return 1

    await world.send("O/k/hold")
    await world.clock.advance(1)
    began = world.clock.now()
    queued, failed = leaving(world, "O/k/add", process=1), leaving(world, "S/fail")
    id = await world.send("S/nap", process=1)
    await settle()
    attached = asyncio.create_task(world.engine.outcome(id, until=began + HOUR, leave=True))
    await world.clock.advance(0.1)
    assert attached.result() is None
    assert not queued.done()
    await world.clock.advance(2)
    assert failed.result().outcome is None
    assert (await world.meta(failed.result().id)).status is Status.BACKING_OFF
    assert queued.result().outcome is None
    assert (await world.meta(queued.result().id)).status is Status.QUEUED


async def test_one_that_does_not_leave_waits_for_what_another_left() -> None:
    world = World()
    sleeper(world, HOUR // 60)
    leaves = leaving(world, "S/nap", id="inv_same")
    await settle()
    waits = world.start("S/nap", id="inv_same")
    await world.clock.advance(59)
    assert leaves.result().outcome is None
    assert not waits.done()
    await world.clock.advance(3)
    assert value(waits.result().outcome) == "slept"


@pytest.mark.parametrize("what", ["pause", "resume", "kill", "cancel"])
async def test_an_operator_acts_in_another_process_while_a_client_waits(what: str) -> None:
    """The attempt here ends. The client waits for what becomes of the invocation, and not for longer than a second."""
    world = World(2)

    @world.handler("S")
    async def hear(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Signal("go"), unpack)

    client = leaving(world, "S/hear")
    await world.clock.advance(0.3)
    [id] = [record.id for record in world.store.records() if isinstance(record, Meta)]
    control = world.engines[1].control
    if what == "resume":
        assert await control.pause(id) == "accepted"
    assert await getattr(control, what)(id) == "accepted"
    await world.clock.advance(2.2)
    outcome, status = client.result().outcome, (await world.meta(id)).status
    if what in ("pause", "resume"):
        assert (outcome, status) == (None, Status.PAUSED if what == "pause" else Status.SUSPENDED)
    else:
        assert (value(outcome), status) == ((409, "killed" if what == "kill" else "cancelled"), Status.COMPLETED)


async def test_a_lambda_process_has_nothing_left_to_do_once_its_client_has_left() -> None:
    """It is frozen when it answers. What its session waits for here does not keep it from that."""
    world = World(2)
    sleeper(world, HOUR)
    hindered(world, timedelta(seconds=1.9))

    @world.handler("S")
    async def root(ctx: Any, _: Any) -> Any:
        awakeable = ctx.issue(c.Awakeable(), unpack)
        calls = [ctx.issue(c.Call(target(path), b""), unpack) for path in ("S/nap", "S/calls", "S/fail", "O/k/hold")]
        await gather(awakeable, *calls)

    await world.send("O/k/hold", process=1)
    await settle()
    process = world.engine.process
    process.deadline = world.clock.now() + 30_000
    client = leaving(world, "S/root")
    await world.clock.advance(LEAVE_AFTER / 1000 + 0.3)
    assert client.result().outcome is None
    await asyncio.wait_for(process.drain(), 1)
    assert not process.active
