"""Orders that take steps, and wait for an approval: with Restate's Python SDK."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import restate

orders, stock = restate.VirtualObject("Orders"), restate.Service("Stock")
locks, probe = restate.VirtualObject("Locks"), restate.Service("Probe")

ran: dict[str, Counter[str]] = {}
"""How often each step ran, by the key of its handler."""

holding: dict[str, asyncio.Event] = {}
"""What the step ``charge`` waits for, by the key of its handler."""


def step(key: str, name: str, value: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def run() -> Any:
        ran.setdefault(key, Counter())[name] += 1
        if name == "charge" and key in holding:
            await holding[key].wait()
        return value

    return run


@stock.handler()
async def reserve(ctx: restate.Context, number: str) -> str:
    return f"reserved {number}"


@stock.handler()
async def recount(ctx: restate.Context) -> None:
    async def fail() -> None:
        raise ConnectionError("no answer")

    options = restate.RunOptions(initial_retry_interval=timedelta(hours=1), max_attempts=9)
    await ctx.run_typed("count", fail, options)


@orders.handler()
async def place(ctx: restate.ObjectContext, size: int) -> Any:
    key = ctx.key()
    seen = await ctx.get("orders", type_hint=int) or 0
    quote = ctx.run_typed("quote", step(key, "quote", "x" * size))
    pack = ctx.run_typed("pack", step(key, "pack", 7))
    await restate.gather(quote, pack)
    ctx.set("orders", seen + 1)
    reserved = await ctx.service_call(reserve, str(ctx.uuid()))
    await ctx.run_typed("charge", step(key, "charge", reserved))
    id, approval = ctx.awakeable(type_hint=str)
    await ctx.run_typed("ask", step(key, "ask", id))
    approved = await approval
    await ctx.sleep(timedelta(milliseconds=1))
    return [reserved, approved]


@orders.handler()
async def nested(ctx: restate.ObjectContext, key: str) -> Any:
    return await ctx.object_call(place, key, 1)


@locks.handler()
async def lock(ctx: restate.ObjectContext, other: str) -> None:
    await ctx.signal("go", type_hint=str)
    await ctx.object_call(touch, other, None)


@locks.handler()
async def touch(ctx: restate.ObjectContext) -> None:
    pass


@probe.handler("ran")
async def steps_that_ran(ctx: restate.Context, key: str) -> dict[str, int]:
    return ran.get(key, Counter())


@probe.handler()
async def hold(ctx: restate.Context, key: str) -> None:
    holding[key] = asyncio.Event()


@probe.handler()
async def release(ctx: restate.Context, key: str) -> None:
    holding.pop(key).set()


app: Any = restate.app(services=[orders, stock, locks, probe])
