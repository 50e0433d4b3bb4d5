"""Steps that begin before their command is committed."""

from __future__ import annotations

import asyncio
from typing import Any

from adapter.engine import commands as c
from tests.unit.world import World, closure, unpack


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
