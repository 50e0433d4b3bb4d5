"""A function with handlers of Restate's Python SDK; `tests.integration.sdk` packs it."""

from __future__ import annotations

from datetime import timedelta

import restate

clerk = restate.Service("PyClerk", metadata={"team": "probes"})
counter = restate.VirtualObject("PyCounter")


@clerk.handler()
async def nap(ctx: restate.Context, key: str) -> list[int | str | None]:
    """Sleep between a step and a call to a key."""
    name = await ctx.run_typed("fall asleep", lambda: "slept")
    await ctx.sleep(timedelta(seconds=3))
    return [name, await ctx.object_call(add, key, 2), ctx.request().idempotency_key]


@clerk.handler()
async def ask(ctx: restate.Context, key: str) -> int:
    """Call a handler in Python without the SDK, which calls another SDK's counter."""
    answer = await ctx.generic_call("Relay", "count", f'"{key}"'.encode())
    return int(answer)


@clerk.handler()
async def carry(ctx: restate.Context, megabytes: int) -> int:
    """Keep so many megabytes in the journal."""
    for n in range(megabytes):
        await ctx.run_typed(f"piece {n}", lambda: "x" * 1_000_000)
    return megabytes


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


handler = restate.app(services=[clerk, counter])
