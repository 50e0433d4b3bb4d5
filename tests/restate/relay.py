"""Passes what it is given on to other services by name, whatever language they are written in: with Restate's Python
SDK. The names of its services begin as ``NAME`` says."""

from __future__ import annotations

import json
import os
from typing import Any

import restate

NAME = os.environ.get("NAME", "Second")

relay, place = restate.Service(f"{NAME}Relay"), restate.VirtualObject(f"{NAME}Place")


async def call_next(ctx: restate.Context, route: list[dict[str, str]]) -> list[str]:
    """Call the rest of a route, and return the places that it led through."""
    if not route:
        return []
    argument = json.dumps(route[1:]).encode()
    return list(json.loads(await ctx.generic_call(route[0]["service"], "call", argument, route[0].get("key"))))


def send_next(ctx: restate.Context, route: list[dict[str, str]]) -> None:
    """Send a message along the rest of a route."""
    if route:
        ctx.generic_send(route[0]["service"], "send", json.dumps(route[1:]).encode(), route[0].get("key"))


@relay.handler("call")
async def relay_call(ctx: restate.Context, route: list[dict[str, str]]) -> list[str]:
    return [f"{NAME}Relay", *await call_next(ctx, route)]


@relay.handler("send")
async def relay_send(ctx: restate.Context, route: list[dict[str, str]]) -> None:
    send_next(ctx, route)


async def visited(ctx: restate.ObjectContext) -> str:
    visits = (await ctx.get("visits", type_hint=int) or 0) + 1
    ctx.set("visits", visits)
    return f"{NAME}Place/{ctx.key()} {visits}"


@place.handler("call")
async def place_call(ctx: restate.ObjectContext, route: list[dict[str, str]]) -> list[str]:
    return [await visited(ctx), *await call_next(ctx, route)]


@place.handler("send")
async def place_send(ctx: restate.ObjectContext, route: list[dict[str, str]]) -> None:
    await visited(ctx)
    send_next(ctx, route)


@place.handler("visits", kind="shared")
async def place_visits(ctx: restate.ObjectSharedContext) -> int:
    return await ctx.get("visits", type_hint=int) or 0


app: Any = restate.app(services=[relay, place])
