"""The store refuses everything for a while."""

from __future__ import annotations

from typing import Any

from adapter.engine import commands as c
from adapter.engine.ports import Unavailable
from adapter.engine.records import Status
from adapter.engine.types import Outcome
from tests.unit.world import World, pack, unpack, value


def refuse_until(world: World, end: int, methods: str = "") -> None:
    async def hook(phase: str, method: str, *_: Any) -> None:
        if phase == "before" and world.clock.now() < end and (not methods or method in methods.split()):
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


async def test_steps_keep_their_results_although_the_attempt_reads_in_an_outage() -> None:
    world = World()
    ran: list[str] = []

    async def step() -> bytes:
        ran.append("step")
        await world.clock.sleep(20)
        return pack("done")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        result = ctx.issue(c.Run("step", step), unpack)
        await ctx.issue(c.Sleep(5_000), unpack)
        output = await ctx.issue(c.Output("inv_" + "a" * 32), lambda data: data)
        return [await result, output == c.NOT_FOUND]

    task = world.start("S/work")
    await world.clock.advance(1)
    refuse_until(world, world.clock.now() + 15_000, "peek")
    await world.clock.advance(40)
    assert ran == ["step"]
    assert value((await task).outcome) == ["done", True]
