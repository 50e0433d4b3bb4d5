"""A shop: an order is carried out in several places, in another function too, or undone in all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from pydantic import BaseModel, PositiveInt

from adapter import (
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)
from tests.chaos.functions.bank import Account
from tests.chaos.functions.ledger import perform

STOCK = 500
TILL = "till"
"""The shop's account."""

SOLD_OUT = 410
UNDELIVERABLE = 422
NOWHERE = "Atlantis"


class Stock(VirtualObject):
    """How many pieces of something there are."""

    @handler
    async def move(self, ctx: ObjectContext, quantity: int) -> int:
        """Add to it, or take from it; returns what there is then."""
        left = await ctx.get("left", int)
        left = (STOCK if left is None else left) + quantity
        if left < 0:
            raise TerminalError(f"{ctx.key}: {-quantity} wanted, {left - quantity} in stock", code=SOLD_OUT)
        ctx.set("left", left)
        return left

    @handler
    async def left(self, ctx: ObjectSharedContext) -> int:
        """What there is."""
        left = await ctx.get("left", int)
        return STOCK if left is None else left


class Order(BaseModel):
    """What somebody wants."""

    customer: str
    sku: str
    quantity: PositiveInt
    cents: PositiveInt
    country: str


class Orders(Workflow):
    """Sells: the id is the order's."""

    @handler
    async def run(self, ctx: WorkflowContext, order: Order) -> int:
        """Reserve, charge, pack and ship, and at last keep the money. What was done before a failure is undone."""
        undo: list[Callable[[], Awaitable[object]]] = []
        stock, account = ctx.object_client(Stock, order.sku), ctx.object_client(Account, order.customer)
        try:
            await stock.move(-order.quantity)
            undo.append(partial(stock.move, order.quantity))
            await account.move(-order.cents)
            undo.append(partial(account.move, order.cents))
            await ctx.run("pack", perform, ctx.request.id, "pack")
            undo.append(partial(ctx.run, "unpack", perform, ctx.request.id, "unpack"))
            await ctx.run("ship", ship, ctx.request.id, order.country)
        except TerminalError:
            for compensate in reversed(undo):
                await compensate()
            raise
        return await ctx.object_client(Account, TILL).move(order.cents)


def ship(invocation: str, country: str) -> int:
    """Hand over to the post, which does not go everywhere."""
    pid = perform(invocation, "ship")
    if country == NOWHERE:
        raise TerminalError(f"nothing is delivered to {country}", code=UNDELIVERABLE)
    return pid


SERVICES = (Stock, Orders)
