"""State reads see what was there when they were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.requests import Request
from adapter.engine.types import Kind, Outcome
from tests.unit.world import World, closure, pack, target, unpack, value


@pytest.mark.parametrize("lazy", [True, False])
async def test_a_state_read_gives_what_was_there_when_it_was_asked_for(lazy: bool) -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE, lazy_state=lazy)
    async def go_on(ctx: Any, _: Any) -> Any:
        read = ctx.issue(c.GetState("a"), unpack)
        for name in "ab":
            ctx.issue(c.SetState(name, pack("new" * 1000)), unpack)
        await ctx.issue(c.Run("step", closure(1)), unpack)
        later = [await ctx.issue(c.GetState(name), unpack) for name in "ab"]
        return [value[:3] for value in (await read, *later)]

    await world.call("O/k/begin")
    assert await world.call("O/k/go_on") == ["old", "new", "new"]


async def test_a_shared_handler_reads_what_others_have_written_since_its_caller_did() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("total", pack((await ctx.issue(c.GetState("total"), unpack) or 0) + 1)), unpack)

    @world.handler("O", Kind.SHARED)
    async def total(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetState("total"), unpack)

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/add"), b""), unpack)
        mine = await ctx.issue(c.Call(target("O/k/total"), b""), unpack)
        awakeable = ctx.issue(c.Awakeable(), unpack)
        ids.append(awakeable.id)
        await awakeable
        return [mine, await ctx.issue(c.Call(target("O/k/total"), b""), unpack)]

    task = world.start("S/ask")
    await world.clock.advance(1)
    await world.engines[1].call(Request(target("O/k/add"), b""), until=world.clock.now() + 1000)
    assert await world.engines[1].outbound.complete(ids[0], Outcome(pack(None))) == "accepted"
    await world.clock.advance(5)
    assert value((await task).outcome) == [1, 2]


@pytest.mark.parametrize("lazy", [True, False], ids=["lazily", "eagerly"])
async def test_a_shared_handler_is_shown_no_earlier_state_than_before(lazy: bool) -> None:
    world = World()

    async def look(ctx: Any) -> int:
        return await ctx.issue(c.GetState("total"), unpack) or 0

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("total", pack((await ctx.issue(c.GetState("total"), unpack) or 0) + 1)), unpack)

    @world.handler("O", Kind.SHARED, lazy_state=lazy)
    async def watch(ctx: Any, _: Any) -> Any:
        seen = [await look(ctx)]
        await ctx.issue(c.Call(target("O/k/add"), b""), unpack)
        seen.append(await look(ctx))
        await ctx.issue(c.Sleep(500), unpack)
        return [*seen, await look(ctx)]

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("O/k/watch"), b""), unpack)

    assert await world.call("S/ask") == ([0, 1, 1] if lazy else [0, 0, 0])


async def test_a_read_under_way_when_its_attempt_fails_does_not_see_a_later_write() -> None:
    world = World()
    tries = 0

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def go_on(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1
        read = ctx.issue(c.GetState("a"), unpack)
        ctx.issue(c.SetState("a", pack("new" * 1000)), unpack)
        if tries == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Run("another", closure(1)), unpack)
        return (await read)[:3]

    await world.call("O/k/begin")
    assert await world.call("O/k/go_on") == "old"


@pytest.mark.parametrize("how", ["a step has failed", "a result makes it fail"])
@pytest.mark.parametrize("later", range(8))
async def test_a_read_s_answer_counts_whatever_fails_before_the_handler_is_told(how: str, later: int) -> None:
    """The answer comes while the step is under way, in the same moment, or some time after it has ended."""
    world = World()
    tries = 0
    end = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        await end
        if how == "a step has failed" and tries == 1:
            raise ValueError("unlucky")
        return b"1"

    async def end_the_step(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "state"):
            world.store.hook = None
            end.set_result(None)
            for _ in range(later):
                await asyncio.sleep(0)

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def go_on(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1
        long = ctx.issue(c.Run("long", step), unpack)
        await ctx.issue(c.Run("short", closure(1)), unpack)
        read = ctx.issue(c.GetState("a"), unpack)
        ctx.issue(c.SetState("a", pack("new" * 1000)), unpack)
        await long
        if tries == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Run("another", closure(1)), unpack)
        return (await read)[:3]

    await world.call("O/k/begin")
    world.store.hook = end_the_step
    assert await world.call("O/k/go_on") == "old"
    assert (tries, world.store.hook) == (2, None)
