"""A bank and a shop with mistakes in them: the handlers that the drills get into trouble."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import ClassVar

from adapter import (
    Context,
    ObjectContext,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
)
from adapter.definitions import Definition


class Account(VirtualObject, deadlocks="report"):
    """Two transfers that cross wait for each other: each holds its own account's key, and calls the other."""

    @handler
    async def transfer(self, ctx: ObjectContext, to: str) -> str:
        ctx.set("balance", 100)
        await ctx.signal("go", str)
        return await ctx.object_client(Account, to).deposit(10)

    @handler(retry=RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1)))
    async def deposit(self, ctx: ObjectContext, amount: int) -> str:
        if ctx.key == "bank":
            raise ConnectionError("the bank is down")
        ctx.set("balance", amount)
        return f"{amount} for {ctx.key}"

    @handler
    async def withdraw(self, ctx: ObjectContext, amount: int) -> int:
        return amount


class Cart(VirtualObject, metadata={"team": "shop"}):
    @handler(metadata={"writes": "items"})
    async def add(self, ctx: ObjectContext, item: str) -> int:
        items = [*(await ctx.get("items", list[str]) or []), item]
        ctx.set("items", items)
        ctx.set("total", 7 * len(items))
        return len(items)


class Approval(Workflow):
    """Waits for a person outside, who is given an awakeable's id."""

    @handler
    async def run(self, ctx: WorkflowContext, amount: int) -> str:
        answer = ctx.awakeable(str)
        ctx.set("ask", answer.id)
        await ctx.run("mail", lambda: None)
        text = f"{amount}: {await answer}"
        ctx.set("answer", text)
        return text

    @handler
    async def answer(self, ctx: WorkflowSharedContext) -> str | None:
        return await ctx.get("answer", str)


class Report(Service):
    """Fails at its fifth entry until the printer is filled."""

    steps: ClassVar[Counter[str]] = Counter()
    paper = False

    @handler
    async def make(self, ctx: Context, year: int) -> str:
        parts = [await ctx.run(name, self._step, name) for name in ("collect", "sort", "sum", "draw")]
        return await ctx.run("print", self._print, f"{year}: {', '.join(parts)}")

    @classmethod
    def _step(cls, name: str) -> str:
        cls.steps[name] += 1
        return name

    @classmethod
    def _print(cls, text: str) -> str:
        if not cls.paper:
            raise TerminalError("the printer has no paper", code=503)
        return text


class Reminder(Service):
    @handler
    async def remind(self, ctx: Context, name: str) -> str:
        await ctx.sleep(timedelta(days=30))
        return name


class MailerOne(Service, name="Mailer"):
    @handler
    async def send(self, ctx: Context, name: str) -> str:
        return f"Dear {name}"


class MailerTwo(Service, name="Mailer"):
    """Came with a mistake."""

    @handler(retry=RetryPolicy(initial=timedelta(milliseconds=1), attempts=2))
    async def send(self, ctx: Context, name: str) -> str:
        raise KeyError(f"no template for {name}")


class MailerThree(Service, name="Mailer"):
    """The mistake is mended."""

    @handler
    async def send(self, ctx: Context, name: str) -> str:
        return f"Dear {name}!"


OTHERS: tuple[type[Definition], ...] = (Account, Cart, Approval, Report, Reminder)
"""What every version of the application has beside a mailer."""

FIRST, SECOND, THIRD = "shop:1", "shop:2", "shop:3"

VERSIONS: dict[str, tuple[type[Definition], ...]] = {
    FIRST: (MailerOne, *OTHERS),
    SECOND: (MailerTwo, *OTHERS),
    THIRD: (MailerThree, *OTHERS),
}
