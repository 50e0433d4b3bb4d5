"""A bank: money moves between accounts, and is neither made nor lost."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, PositiveInt

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)
from tests.chaos.functions.ledger import perform

OPENING = 1_000
POOR = 402


class Transfer(BaseModel):
    """Money that goes from one account to another."""

    source: str
    target: str
    cents: PositiveInt


class Account(VirtualObject):
    """What somebody has, in cents."""

    @handler
    async def move(self, ctx: ObjectContext, cents: int) -> int:
        """Add to it, or take from it; returns what there is then."""
        balance = await ctx.get("balance", int)
        balance = (OPENING if balance is None else balance) + cents
        if balance < 0:
            raise TerminalError(f"{ctx.key} has {balance - cents}, not {-cents}", code=POOR)
        ctx.set("balance", balance)
        return balance

    @handler
    async def balance(self, ctx: ObjectSharedContext) -> int:
        """What there is."""
        balance = await ctx.get("balance", int)
        return OPENING if balance is None else balance


class Turnstile(VirtualObject):
    """Counts. Many clients call few of them, without idempotency keys."""

    @handler
    async def count(self, ctx: ObjectContext) -> int:
        """Count one more; returns how many there are."""
        total = (await ctx.get("total", int) or 0) + 1
        ctx.set("total", total)
        return total


class Transfers(Service):
    """Moves money at once."""

    @handler
    async def transfer(self, ctx: Context, transfer: Transfer) -> int:
        """Returns what the source has left."""
        left = await ctx.object_client(Account, transfer.source).move(-transfer.cents)
        await ctx.run("advise", perform, ctx.request.id, "advise")
        await ctx.object_client(Account, transfer.target).move(transfer.cents)
        return left


class StandingOrder(Workflow):
    """Moves money by and by: it is nobody's while this sleeps, long enough to be suspended."""

    @handler
    async def run(self, ctx: WorkflowContext, transfer: Transfer) -> int:
        """Returns what the source has left."""
        left = await ctx.object_client(Account, transfer.source).move(-transfer.cents)
        await ctx.sleep(timedelta(seconds=4))
        await ctx.run("advise", perform, ctx.request.id, "advise")
        await ctx.object_client(Account, transfer.target).move(transfer.cents)
        return left


SERVICES = (Account, Turnstile, Transfers, StandingOrder)
