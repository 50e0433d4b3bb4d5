"""A service that greets, an object that counts, and mail."""

from __future__ import annotations

import logging
from datetime import timedelta

from adapter import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject, handler, lambda_handler
from handlers import contracts

KEPT = 20

log = logging.getLogger(__name__)


class Counter(VirtualObject):
    """A counter per key."""

    @handler
    async def add(self, ctx: ObjectContext, amount: int = 1) -> int:
        """Add to the counter, and return the new total."""
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        """Return the total."""
        return await ctx.get("total", int) or 0


class Mailer(contracts.Mailer):
    """Stands in for a mail service: it logs each mail, and keeps the latest ones."""

    @handler
    async def mail(self, ctx: ObjectContext, text: str) -> None:
        await ctx.run("send", log.info, "mail to %s: %s", ctx.key, text)
        ctx.set("sent", [*(await ctx.get("sent", list[str]) or []), text][-KEPT:])

    @handler
    async def sent(self, ctx: ObjectSharedContext) -> list[str]:
        return await ctx.get("sent", list[str]) or []


class Greeter(Service):
    """Says hello."""

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        """Greet a person, and send a reminder five hours later."""
        visits = await ctx.object_client(Counter, name).add(1)
        ctx.object_send_client(Mailer, name).mail(f"Come back soon, {name}!", delay=timedelta(hours=5))
        return f"Hello {name}, visit {visits}"


entry = lambda_handler(Greeter, Counter, Mailer)
