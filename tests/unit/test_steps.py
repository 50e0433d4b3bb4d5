"""A step runs again only if it failed, or if its process died before its result was stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapter.engine import commands as c
from adapter.engine.ports import Create, Delete
from adapter.engine.types import Kind
from tests.unit.world import World, pack, settle, target, unpack, value


async def test_the_result_of_a_step_outlives_a_rewind_whose_key_is_read_again() -> None:
    world = World(2)
    ran: list[int] = []

    async def step() -> bytes:
        ran.append(1)
        await world.clock.sleep(5)
        return pack("paid")

    @world.handler("S")
    async def shared(ctx: Any, _: Any) -> Any:
        return "shared"

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        paid = await ctx.issue(c.Run("pay", step), unpack)
        ctx.issue(c.Call(target("S/shared"), b"", idempotency_key="same"), unpack)
        return paid

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)

    await world.call("S/shared", idempotency_key="same")
    await world.send("O/k/hold")  # so that the head already counts who waits when `work` begins
    await settle()
    id = await world.send("O/k/work")
    next_ = await world.send("O/k/work")
    await world.clock.advance(12)
    assert ran == [1]

    async def cancel_next(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        commits = (phase, method) == ("before", "commit")
        if commits and {Create, Delete} <= {type(change) for change in args[0]}:
            world.store.hook = None
            assert await world.engines[1].control.cancel(next_) == "accepted"
            world.store.hook = take_time

    async def take_time(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "heads"):  # as any request does outside of tests
            await world.clock.sleep(0.01)

    world.store.hook = cancel_next
    await world.clock.advance(30)
    assert world.store.hook is take_time
    assert value((await world.meta(id)).outcome) == "paid"
    assert ran == [1]
