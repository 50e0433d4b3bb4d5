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


def append(line: str) -> None:
    with open(os.environ["STEPS"], "a") as file:
        file.write(line)


async def step(ctx: restate.Context, name: str, hangs: bool) -> str:
    async def run() -> str:
        append(f"{ctx.request().id} {name}\n")
        if hangs:
            await asyncio.Event().wait()
        return name

    return await ctx.run_typed(name, run)


@working.handler()
async def work(ctx: restate.Context, waits: bool) -> list[str]:
    done = [await step(ctx, "one", False)]
    if waits:
        done.append(await ctx.signal("go", type_hint=str))
    done.append(await step(ctx, "two", FIRST and not waits))
    done.append(await step(ctx, "three", False))
    return done


@added.handler()
async def echo(ctx: restate.Context, it: str) -> str:
    return it


app: Any = restate.app(services=[working] if FIRST else [working, added])
