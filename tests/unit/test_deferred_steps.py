"""Steps that begin before their command is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ports import WriteHead
from adapter.engine.requests import Request
from adapter.engine.types import Kind
from tests.unit.world import World, closure, pack, settle, target, unpack, value


async def test_a_deferred_step_whose_handler_ends_in_the_same_turn_does_not_begin() -> None:
    world, ran = World(), list[str]()

    @world.handler("S")
    async def cut(ctx: Any, _: Any) -> Any:
        async def fail() -> None:
            raise ValueError

        async def step() -> None:
            await ctx.issue(c.Run("step", closure(lambda: ran.append("step")), deferred=True), unpack)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(step())
        except* ValueError:
            pass
        return "cut"

    assert await world.call("S/cut") == "cut"
    assert ran == []


@pytest.mark.parametrize("stored", [False, True])
async def test_a_deferred_step_runs_again_after_a_rewind_because_it_may_depend_on_what_was_undone(stored: bool) -> None:
    """Another process changes the counter before the first commit.

    Args:
        stored: False if a client waits for the invocation, so that its first commit creates its record.
    """
    world = World(2)

    @world.handler("O", Kind.EXCLUSIVE)
    async def count(ctx: Any, _: Any) -> Any:
        number = (await ctx.issue(c.GetState("number"), unpack) or 0) + 1
        ctx.issue(c.SetState("number", pack(number)), unpack)
        return number

    @world.handler("S")
    async def label(ctx: Any, _: Any) -> Any:
        number = await ctx.issue(c.Call(target("O/k/count"), b""), unpack)
        return [number, await ctx.issue(c.Run("label", closure(lambda: f"no. {number}"), deferred=True), unpack)]

    async def count_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and any(isinstance(change, WriteHead) for change in args[0]):
            world.store.hook = None
            await world.engines[1].call(Request(target("O/k/count"), b""), until=world.clock.now() + 1000)

    if stored:
        id = await world.send("S/label")
        world.store.hook = count_first
        await settle()
        assert value((await world.meta(id)).outcome) == [2, "no. 2"]
    else:
        world.store.hook = count_first
        assert await world.call("S/label") == [2, "no. 2"]
