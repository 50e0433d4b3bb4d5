"""Each signal is delivered once, whatever the handler waits for besides."""

from __future__ import annotations

from typing import Any

import pytest

from adapter import gather
from adapter.engine import commands as c
from adapter.engine.types import Outcome
from tests.unit.world import World, settle, unpack, value


@pytest.mark.parametrize("first", [1, 2])
async def test_two_that_wait_for_one_name_get_one_signal_each(first: int) -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return await gather(ctx.issue(c.Signal("go"), unpack), ctx.issue(c.Signal("go"), unpack))

    id = await world.send("S/wait")
    await settle()
    for n in range(first):
        await world.engine.control.signal(id, "go", Outcome(str(n).encode()))
        await world.clock.advance(0.1)
    await world.clock.advance(11)
    for n in range(first, 2):
        assert (await world.meta(id)).live
        await world.engine.control.signal(id, "go", Outcome(str(n).encode()))
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == [0, 1]
