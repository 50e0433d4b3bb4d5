"""Handler code that goes on after its attempt has ended, or does not end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from adapter import TerminalError
from adapter.engine import commands as c
from adapter.engine.ids import awakeable_id
from adapter.engine.loop import AWAITS_TO_LEAVE
from adapter.engine.records import Status
from adapter.engine.types import Kind, Outcome
from tests.unit.world import World, closure, pack, settle, target, unpack, value


async def test_a_handler_may_go_on_after_a_state_entry_was_refused() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        with suppress(TerminalError):
            ctx.issue(c.SetState("a", b"x" * 5_000_000), unpack)
        await ctx.issue(c.Run("step", closure(1)), unpack)
        await ctx.issue(c.Sleep(100_000), unpack)
        return await ctx.issue(c.Run("step", closure(2)), unpack)

    id = await world.send("O/k/work")
    await settle()
    await world.clock.advance(101)
    await settle()
    meta = await world.meta(id)
    assert (meta.status, meta.error, meta.outcome and value(meta.outcome)) == (Status.COMPLETED, None, 2)


async def test_what_a_handler_does_after_a_journal_mismatch_counts_for_nothing() -> None:
    world = World()
    changed = False
    ran: list[str] = []

    @world.handler("S")
    async def refund(ctx: Any, _: Any) -> Any:
        ran.append("refund")

    @world.handler("S")
    async def order(ctx: Any, _: Any) -> Any:
        try:
            if changed:
                await ctx.issue(c.Run("another", closure(0)), unpack)
            return await ctx.issue(c.Awakeable(), unpack)
        except Exception:
            ctx.issue(c.Send(target("S/refund"), b""), unpack)
            raise

    id = await world.send("S/order")
    await settle()
    ref = (await world.meta(id)).ref
    changed = True
    await world.engine.outbound.signal(id, "wake", Outcome(pack(1)))
    await world.clock.advance(1)
    changed = False
    assert (await world.meta(id)).status is Status.BACKING_OFF
    await world.engine.outbound.complete(awakeable_id(ref, 0), Outcome(pack("paid")))
    await world.clock.advance(100)
    meta = await world.meta(id)
    assert (meta.error, meta.outcome and value(meta.outcome), ran) == (None, "paid", [])


async def test_an_exception_that_nobody_retrieves_is_no_failure() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def fails() -> None:
            await ctx.issue(c.Run("step", closure(1)), unpack)
            raise TerminalError("x")

        async def slow() -> int:
            await ctx.issue(c.Sleep(1000), unpack)
            return 2

        t1, t2 = asyncio.create_task(fails()), asyncio.create_task(slow())
        await asyncio.wait({t1, t2})
        return await t2

    id = await world.send("S/work")
    await world.clock.advance(50)
    meta = await world.meta(id)
    assert (meta.status, meta.error, meta.outcome and value(meta.outcome)) == (Status.COMPLETED, None, 2)


@pytest.mark.parametrize("how", ["failed", "returned"])
async def test_what_a_task_does_after_its_handler_has_ended_counts_for_nothing(how: str) -> None:
    world = World()
    tries = 0
    ran: list[str] = []

    @world.handler("S")
    async def refund(ctx: Any, _: Any) -> Any:
        ran.append("refund")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1

        async def beside() -> None:
            ctx.issue(c.Send(target("S/refund"), b""), unpack)

        task = asyncio.create_task(beside())
        if how == "returned":
            return 1
        if tries == 1:
            raise ValueError("unlucky")
        task.cancel()
        return await ctx.issue(c.Run("step", closure(1)), unpack)

    id = await world.send("S/work")
    await world.clock.advance(10)
    meta = await world.meta(id)
    assert (meta.error, meta.outcome and value(meta.outcome), ran) == (None, 1, [])


@pytest.mark.filterwarnings("ignore:Exception ignored in")
async def test_a_handler_that_catches_everything_is_abandoned_all_the_same() -> None:
    world = World()
    count = 0

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal count
        while count < 1000:
            count += 1
            with suppress(BaseException):
                await ctx.issue(c.Awakeable(), unpack)

    await world.send("S/work")
    await settle()
    assert count < 2 * AWAITS_TO_LEAVE


async def test_a_generator_that_is_left_early_is_closed() -> None:
    world = World()
    said: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def pages() -> Any:
            try:
                for n in range(3):
                    yield await ctx.issue(c.Run("page", closure(n)), unpack)
            finally:
                await ctx.issue(c.Run("close", closure(0)), unpack)
                said.append("closed")

        async for page in pages():
            first = page
            break
        await ctx.issue(c.Sleep(100), unpack)
        return first

    id = await world.send("S/work")
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == 0
    assert said == ["closed"]
