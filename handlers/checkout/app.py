"""A saga: reserve goods, charge the customer and ship. If one of them fails, the earlier ones are undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from pydantic import BaseModel, Field, PositiveInt

from adapter import TerminalError, TimedOutError, Workflow, WorkflowContext, handler, lambda_handler
from handlers.contracts import Approval, Charge, Inventory, Item, Packed, Parcel, Payment, Shipping


class Order(BaseModel):
    """A customer's order."""

    customer: str = Field(min_length=1, max_length=100)
    items: list[Item] = Field(min_length=1)
    cents: PositiveInt
    country: str = "DE"
    patience: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0), le=timedelta(days=7))
    """How long the goods are reserved while the customer has not approved the payment."""


class Receipt(BaseModel):
    """The result of a completed order."""

    balance: int
    parcel: list[Packed]


class Checkout(Workflow):
    """Carries out an order. The workflow id is the order's id, so no order is carried out twice."""

    @handler
    async def run(self, ctx: WorkflowContext, order: Order) -> Receipt:
        """Reserve the items, have the payment approved, charge and ship. If one of them fails, or the customer does not
        approve in time, undo the earlier ones."""
        undo: list[Callable[[], Awaitable[object]]] = []
        try:
            for item in order.items:
                inventory = ctx.object_client(Inventory, item.sku)
                await inventory.reserve(item.quantity)
                undo.append(partial(inventory.release, item.quantity))

            payment = ctx.service_client(Payment)
            charge = Charge(customer=order.customer, cents=order.cents)
            await self._approved(ctx, charge, order.patience)
            balance = await payment.charge(charge, idempotency_key=ctx.key)
            undo.append(partial(payment.refund, charge, idempotency_key=ctx.key))

            parcel = Parcel(items=order.items, country=order.country)
            packed = await ctx.object_client(Shipping, ctx.key).ship(parcel)
        except TerminalError:
            for compensate in reversed(undo):
                await compensate()
            raise
        return Receipt(balance=balance, parcel=packed)

    async def _approved(self, ctx: WorkflowContext, charge: Charge, patience: timedelta) -> None:
        """Wait until the payment is approved: a handler or an HTTP request resolves the awakeable."""
        approval = ctx.awakeable()
        ctx.service_send_client(Payment).approve(Approval(charge=charge, awakeable=approval.id))
        try:
            async with ctx.timeout(patience):
                await approval
        except TimedOutError:
            raise TerminalError(f"the payment was not approved within {patience}", code=408) from None


entry = lambda_handler(Checkout)
