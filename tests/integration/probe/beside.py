"""Handlers of Restate's Python SDK in one function with Python definitions; `tests.integration.probes` packs it."""

from __future__ import annotations

from datetime import timedelta

import restate

clerk = restate.Service("BesideClerk")
counter = restate.VirtualObject("BesideCounter")


@clerk.handler()
async def nap(ctx: restate.Context, key: str) -> list[str]:
    """Sleep between a step and calls to definitions in Python: one in this function, and one in another."""
    name = await ctx.run_typed("fall asleep", lambda: "slept")
    await ctx.sleep(timedelta(seconds=1))
    text = await ctx.generic_call("Copier", "text", b'"woke up"')
    await ctx.generic_call("Board", "pin", text, key)
    return [name, text.decode()]


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


app = restate.app(services=[clerk, counter])
