"""One invocation that is large: it completes, at a cost that grows no faster than what it does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapter import gather
from adapter.engine import commands as c
from adapter.engine.records import Status
from adapter.engine.types import MAX_PAYLOAD, Kind, Outcome
from tests.unit.world import World, closure, pack, settle, target, unpack, value


def world() -> World:
    world = World()

    @world.handler("S")
    async def steps(ctx: Any, n: Any) -> Any:
        return sum([await ctx.issue(c.Run(f"step {i}", closure(1)), unpack) for i in range(n)])

    @world.handler("S")
    @world.handler("W", Kind.WORKFLOW, "run")
    async def sleeps(ctx: Any, n: Any) -> Any:
        for _ in range(n):
            await ctx.issue(c.Sleep(10_000), unpack)
        return n

    @world.handler("S")
    async def fan(ctx: Any, plan: Any) -> Any:
        handler, n, input = plan
        calls = (ctx.issue(c.Call(target(f"S/{handler}"), pack(input)), unpack) for _ in range(n))
        return sum(await gather(*calls))

    @world.handler("S")
    async def deep(ctx: Any, n: Any) -> Any:
        await ctx.issue(c.Run("step", closure(1)), unpack)
        return 1 + await ctx.issue(c.Call(target("S/deep"), pack(n - 1)), unpack) if n else 1

    @world.handler("Counter", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        total = (await ctx.issue(c.GetState("total"), unpack) or 0) + 1
        ctx.issue(c.SetState("total", pack(total)), unpack)
        return total

    @world.handler("S")
    async def sends(ctx: Any, n: Any) -> Any:
        for _ in range(n):
            ctx.issue(c.Send(target("Counter/k/add"), b""), unpack)
        return n

    return world


async def test_a_thousand_wait_for_one_promise() -> None:
    world = World(2)

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("p"), unpack)

    @world.handler("W", Kind.SHARED)
    async def wait(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetPromise("p"), unpack)

    @world.handler("W", Kind.SHARED)
    async def resolve(ctx: Any, value: Any) -> Any:
        return unpack(await ctx.issue(c.CompletePromise("p", Outcome(pack(value))), lambda said: said))

    ids = [await world.send("W/k/run"), *[await world.send("W/k/wait") for _ in range(1000)]]
    await settle()
    assert {(await world.meta(id)).status for id in ids} == {Status.SUSPENDED}
    before = world.store.usage.requests
    assert await world.call("W/k/resolve", "here") == "accepted"
    assert await world.call("W/k/resolve", "again") == "already"
    await world.clock.advance(60)
    assert {value((await world.meta(id)).outcome) for id in ids} == {"here"}
    assert world.store.usage.requests - before < 6_100, "each is put, counted, loaded, claimed and completed"


async def finish(world: World, path: str, input: Any, *, advance: float = 0, rounds: int = 5000) -> tuple[Any, int]:
    """Have it run without a client. Returns its output and the requests that it took."""
    before = world.store.usage.requests
    id = await world.send(path, input)
    for looks in range(1, rounds):
        await settle()
        meta = await world.store.peek(id)
        if meta is not None and not meta.live:
            outcome = await world.engine.storage.result(meta) or Outcome()
            return value(outcome), world.store.usage.requests - before - looks
        if advance:
            await world.clock.advance(advance)
    raise AssertionError(f"{path} has not completed")


async def test_ten_thousand_steps_cost_a_request_each() -> None:
    output, requests = await finish(world(), "S/steps", 10_000)
    assert output == 10_000
    assert requests <= 10_001 + 2, "a request a step, one to send, one to begin"


@pytest.mark.parametrize("size", [MAX_PAYLOAD, MAX_PAYLOAD + 1])
@pytest.mark.parametrize("what", ["input", "output", "step", "state"])
async def test_values_of_four_megabytes(what: str, size: int) -> None:
    """JSON's quotes are two bytes of them. What is too large is a terminal error, which a handler can catch."""
    world = World(2)
    text = "x" * (size - 2)

    @world.handler("S")
    async def length(ctx: Any, text: Any) -> Any:
        return len(text)

    @world.handler("S")
    async def give(ctx: Any, _: Any) -> Any:
        return text

    @world.handler("O", Kind.EXCLUSIVE)
    async def step(ctx: Any, _: Any) -> Any:
        found = await ctx.issue(c.Run("step", closure(text)), unpack)
        await ctx.issue(c.Sleep(60_000), unpack)
        return len(found)

    @world.handler("O", Kind.EXCLUSIVE)
    async def keep(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("text", pack(text)), unpack)

    @world.handler("O", Kind.SHARED)
    async def state(ctx: Any, _: Any) -> Any:
        return len(await ctx.issue(c.GetState("text"), unpack))

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        match what:
            case "input":
                return await ctx.issue(c.Call(target("S/length"), pack(text)), unpack)
            case "output":
                return len(await ctx.issue(c.Call(target("S/give"), b""), unpack))
            case "step":
                return await ctx.issue(c.Call(target("O/k/step"), b""), unpack)
            case _:
                await ctx.issue(c.Call(target("O/k/keep"), b""), unpack)
                return await ctx.issue(c.Call(target("O/k/state"), b""), unpack)

    id = await world.send("S/caller", idempotency_key="k")
    await world.clock.advance(70)
    outcome = value((await world.meta(id)).outcome)
    if size == MAX_PAYLOAD:
        assert outcome == size - 2
    else:
        assert outcome[0] == 413
        assert f"{size} bytes; the most is {MAX_PAYLOAD}" in outcome[1]


async def test_a_thousand_calls_with_steps_share_commits() -> None:
    output, requests = await finish(world(), "S/fan", ["steps", 1000, 1])
    assert output == 1000
    assert requests < 150


async def test_a_thousand_calls_that_all_suspend_wake_their_caller_once() -> None:
    output, requests = await finish(world(), "S/fan", ["sleeps", 1000, 1], advance=11)
    assert output == 1000
    assert requests < 1000 * 4 + 150, "each call loads, claims, completes and is counted; the caller resumes once"


async def test_a_chain_of_calls_fifty_deep() -> None:
    assert (await finish(world(), "S/deep", 50))[0] == 51


async def test_a_thousand_messages_to_one_key() -> None:
    place = world()
    assert (await finish(place, "S/sends", 1000))[0] == 1000
    await asyncio.sleep(0)
    assert await place.call("Counter/k/add") == 1001


async def test_five_hundred_suspensions() -> None:
    output, requests = await finish(world(), "W/k/run", 500, advance=11)
    assert output == 500
    assert requests < 500 * 5


async def test_a_handler_waits_for_thousands_of_invocations_by_their_ids() -> None:
    world = World()

    @world.handler("S")
    async def slow(ctx: Any, _: Any) -> Any:
        return 1

    @world.handler("S")
    async def wait(ctx: Any, id: Any) -> Any:
        return sum(await gather(*(ctx.issue(c.Attach(id), unpack) for _ in range(9_000))))

    awaited = await world.send("S/slow", delay=4_000_000)
    id = await world.send("S/wait", awaited)
    await world.clock.advance(60)
    assert (await world.meta(id)).status is Status.SUSPENDED
    await world.clock.advance(4_000)
    for _ in range(60):
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
    assert value((await world.meta(id)).outcome) == 9_000
