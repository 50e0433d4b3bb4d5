"""An app of Restate's Python SDK, on a development server: what operators see of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import httpx
import restate

from tests.drills.world import PATIENCE
from tests.unit.dev import ROOT, Dev

stock = restate.Service("Stock")
orders = restate.VirtualObject("Orders")


@stock.handler()
async def reserve(ctx: restate.Context, item: str) -> str:
    return f"reserved {item}"


@orders.handler()
async def place(ctx: restate.ObjectContext, item: str) -> list[str]:
    count = await ctx.get("count", type_hint=int) or 0
    price = await ctx.run_typed("quote", lambda: "7 EUR")
    ctx.set("count", count + 1)
    reserved = await ctx.service_call(reserve, item)
    await ctx.sleep(timedelta(milliseconds=1))
    _, approval = ctx.awakeable(type_hint=str)
    return [price, reserved, await approval]


app = restate.app(services=[stock, orders])


@dataclass(frozen=True)
class Placed:
    """An order that waits for its approval: its key, its invocation and its awakeable."""

    key: str
    id: str
    awakeable: str


@contextmanager
def serving() -> Iterator[str]:
    """Serve the app. Yields the URL."""
    server = Dev(ROOT, "tests.drills.orders", "--no-reload")
    try:
        url = server.url
        server.drain()
        yield url
    finally:
        server.stop()


def placed(url: str) -> Placed:
    """Place an order, and wait until it waits for its approval."""
    key = uuid4().hex[:10]
    with httpx.Client(base_url=url, timeout=PATIENCE) as http:
        id = http.post(f"/Orders/{key}/place/send", json="pear").json()["invocationId"]
        end = time.monotonic() + PATIENCE
        while True:
            shown = http.get(f"/admin/invocations/{id}").json()
            awaited = [each["id"] for each in shown.get("waits", ()) if each["kind"] == "awakeable"]
            if shown["status"] == "suspended" and awaited:
                return Placed(key, id, awaited[0])
            assert time.monotonic() < end, shown
            time.sleep(0.05)
