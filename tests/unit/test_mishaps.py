"""What goes wrong at an unlucky moment: each has lost something once."""

from __future__ import annotations

import asyncio
from typing import Any

from adapter.engine import commands as c
from tests.unit.world import World, settle, unpack, value


async def test_a_step_in_which_something_was_cancelled_has_failed() -> None:
    world = World()
    tries = 0

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError
        return b"1"

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 1
