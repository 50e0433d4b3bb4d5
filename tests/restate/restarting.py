"""An endpoint whose first life hangs in a step, and whose second life offers another service. ``LIFE`` says which it
is."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import restate

FIRST = os.environ.get("LIFE") == "first"

policy = restate.InvocationRetryPolicy(max_interval=timedelta(milliseconds=200), max_attempts=1_000_000)
working, added = restate.Service("Working", invocation_retry_policy=policy), restate.Service("Added")
counter = restate.VirtualObject("Counter")


def append(line: str) -> None:
    with open(os.environ["STEPS"], "a") as file:
        file.write(line)


async def step(ctx: restate.Context, how: str, name: str, hangs: bool = False) -> str:
    async def run() -> str:
        append(f"{how} {name}\n")
        if hangs:
            await asyncio.Event().wait()
        return name

    return await ctx.run_typed(name, run)


@working.handler()
async def work(ctx: restate.Context, how: str) -> list[str]:
    done = [await step(ctx, how, "one")]
    if how == "waits":
        done.append(await ctx.signal("go", type_hint=str))
    if how == "sleeps":
        await ctx.sleep(timedelta(seconds=2))
    done.append(await step(ctx, how, "two", FIRST and how == "works"))
    done.append(await step(ctx, how, "three"))
    return done


@counter.handler()
async def add(ctx: restate.ObjectContext) -> int:
    count = (await ctx.get("count", type_hint=int) or 0) + 1
    ctx.set("count", count)
    return count


@added.handler()
async def echo(ctx: restate.Context, it: str) -> str:
    return it


key = os.environ.get("IDENTITY_KEY")
services: list[Any] = [working, counter] if FIRST else [working, counter, added]
app: Any = restate.app(services=services, identity_keys=[key] if key else None)
