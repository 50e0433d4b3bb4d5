"""The store refuses everything for a while."""

from __future__ import annotations

from typing import Any

from adapter.engine import commands as c
from adapter.engine.ports import Unavailable
from adapter.engine.records import Status
from adapter.engine.types import Outcome
from tests.unit.world import World, pack, unpack, value


def refuse_until(world: World, end: int) -> None:
    async def hook(phase: str, method: str, *_: Any) -> None:
        if phase == "before" and world.clock.now() < end:
            raise Unavailable("refused")

    world.store.hook = hook


async def test_an_attempt_outlives_an_outage_in_which_it_reads_its_record() -> None:
    world = World()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return unpack(await ctx.issue(c.Signal("tick"), lambda data: data))

    task = world.start("S/listen", idempotency_key="k")
    await world.clock.advance(1)
    (id,) = world.engine.process.active
    refuse_until(world, world.clock.now() + 30_000)
    await world.clock.advance(35)
    assert (await world.meta(id)).status is Status.RUNNING

    await world.engine.outbound.signal(id, "tick", Outcome(pack("tock")))
    await world.clock.advance(1)

    assert task.done()
    assert value((await task).outcome) == "tock"
    assert (await world.meta(id)).epoch == 1
