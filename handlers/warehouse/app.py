"""Stock, money and parcels: what a checkout needs, in a function of its own."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

from pydantic import PositiveInt

from adapter import Context, ObjectContext, ObjectSharedContext, TerminalError, VirtualObject, handler, lambda_handler
from handlers import contracts
from handlers.contracts import Approval, Charge, Item, Mailer, Packed, Parcel

OPENING_BALANCE = 100_000
LARGE = 50_000
"""Cents above which a customer is asked."""

DELIVERS_TO = {"AT", "CH", "DE", "FR"}


class Inventory(contracts.Inventory):
    """Counts pieces."""

    @handler
    async def restock(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        return await self._change(ctx, quantity)

    @handler
    async def reserve(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        return await self._change(ctx, -quantity)

    @handler
    async def release(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        return await self._change(ctx, quantity)

    @handler
    async def stock(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("stock", int) or 0

    async def _change(self, ctx: ObjectContext, by: int) -> int:
        stock = await ctx.get("stock", int) or 0
        if stock + by < 0:
            raise TerminalError(f"{ctx.key}: {-by} wanted, {stock} in stock", code=409)
        ctx.set("stock", stock + by)
        return stock + by


class Account(VirtualObject, private=True):
    """Stands in for the bank: what one customer has, in cents. Only `Payment` gets at it."""

    @handler
    async def move(self, ctx: ObjectContext, cents: int) -> int:
        """Add to it, or take from it; returns what there is then."""
        balance = await ctx.get("balance", int)
        balance = (OPENING_BALANCE if balance is None else balance) + cents
        if balance < 0:
            raise TerminalError(f"{ctx.key} has {balance - cents} cents, not {-cents}", code=402)
        ctx.set("balance", balance)
        return balance

    @handler
    async def balance(self, ctx: ObjectSharedContext) -> int:
        """What there is."""
        balance = await ctx.get("balance", int)
        return OPENING_BALANCE if balance is None else balance


class Payment(contracts.Payment):
    """Moves money between customers and us."""

    @handler
    async def approve(self, ctx: Context, approval: Approval) -> None:
        charge, awakeable = approval.charge, approval.awakeable
        balance = await ctx.object_client(Account, charge.customer).balance()
        if balance < charge.cents:
            ctx.reject_awakeable(awakeable, f"{charge.customer} has {balance} cents, not {charge.cents}", code=402)
        elif charge.cents <= LARGE:
            ctx.resolve_awakeable(awakeable)
        else:
            mail = f"To pay {charge.cents} cents, confirm {awakeable}"
            ctx.object_send_client(Mailer, charge.customer).mail(mail)

    @handler
    async def charge(self, ctx: Context, charge: Charge) -> int:
        return await ctx.object_client(Account, charge.customer).move(-charge.cents)

    @handler
    async def refund(self, ctx: Context, charge: Charge) -> int:
        return await ctx.object_client(Account, charge.customer).move(charge.cents)

    @handler
    async def balance(self, ctx: Context, customer: str) -> int:
        return await ctx.object_client(Account, customer).balance()


class Shipping(contracts.Shipping):
    """Packs one item after the other.

    Args:
        pace: How long a piece takes.
    """

    def __init__(self, pace: timedelta = timedelta(milliseconds=250)) -> None:
        self._pace = pace

    @handler
    async def ship(self, ctx: ObjectContext, parcel: Parcel) -> list[Packed]:
        if parcel.country not in DELIVERS_TO:
            raise TerminalError(f"nothing is delivered to {parcel.country}", code=422)
        packed: list[Packed] = []
        for item in parcel.items:
            packed.append(await ctx.run(f"pack {item.sku}", self._pack, item))
            ctx.set("packed", packed)
        return packed

    @handler
    async def track(self, ctx: ObjectSharedContext) -> list[Packed]:
        return await ctx.get("packed", list[Packed]) or []

    async def _pack(self, item: Item) -> Packed:
        await asyncio.sleep(self._pace.total_seconds() * item.quantity)
        return Packed(item=item, worker=os.getpid())


entry = lambda_handler(Inventory, Payment, Account, Shipping)
