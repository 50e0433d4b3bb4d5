"""A saga: what is done in several places is done in all of them, or undone in all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from pydantic import BaseModel, Field, PositiveInt

from adapter import TerminalError, Workflow, WorkflowContext, handler, lambda_handler
from handlers.contracts import Charge, Inventory, Item, Packed, Parcel, Payment, Shipping


class Order(BaseModel):
    """What a customer wants."""

    customer: str = Field(min_length=1, max_length=100)
    items: list[Item] = Field(min_length=1)
    cents: PositiveInt
    country: str = "DE"


class Receipt(BaseModel):
    """What a customer gets."""

    balance: int
    parcel: list[Packed]


class Checkout(Workflow):
    """Sells: the id is the order's, and no order is carried out twice."""

    @handler
    async def run(self, ctx: WorkflowContext, order: Order) -> Receipt:
        """Reserve, charge and ship. If one of them fails for good, what was done before is undone."""
        undo: list[Callable[[], Awaitable[object]]] = []
        try:
            for item in order.items:
                inventory = ctx.object_client(Inventory, item.sku)
                await inventory.reserve(item.quantity)
                undo.append(partial(inventory.release, item.quantity))

            payment = ctx.service_client(Payment)
            charge = Charge(customer=order.customer, cents=order.cents)
            balance = await payment.charge(charge, idempotency_key=ctx.key)
            undo.append(partial(payment.refund, charge, idempotency_key=ctx.key))

            parcel = Parcel(items=order.items, country=order.country)
            packed = await ctx.object_client(Shipping, ctx.key).ship(parcel)
        except TerminalError:
            for compensate in reversed(undo):
                await compensate()
            raise
        return Receipt(balance=balance, parcel=packed)


entry = lambda_handler(Checkout)
