"""A workflow: one sign-up per id. It waits for a person, and can be queried at any time."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Literal

from adapter import (
    TerminalError,
    TimedOutError,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    lambda_handler,
)
from handlers.contracts import Mailer

PATIENCE = timedelta(days=1)

Status = Literal["unknown", "waiting", "confirmed", "expired"]


class SignUp(Workflow):
    """Mails a code, and waits a day for the person to enter it."""

    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> Status:
        """Sign a person up, and return the outcome."""
        code = await ctx.run("make a code", secrets.token_hex, 4)
        ctx.set("code", code)
        self._enter(ctx, "waiting")
        await ctx.object_client(Mailer, email).mail(f"Your code is {code}")
        confirmed = ctx.promise("confirmed", bool)
        try:
            async with ctx.timeout(PATIENCE):
                await confirmed
        except TimedOutError:
            await confirmed.resolve(False)  # unless the code comes this very moment
        return self._enter(ctx, "confirmed" if await confirmed else "expired")

    @handler
    async def confirm(self, ctx: WorkflowSharedContext, code: str) -> Status:
        """Enter the code. Fails with 403 if the code is wrong, and with 409 if it is too late."""
        if code != await ctx.get("code", str):
            raise TerminalError("that is not the code", code=403)
        confirmed = ctx.promise("confirmed", bool)
        await confirmed.resolve(True)  # only the first to resolve it counts
        if not await confirmed:
            raise TerminalError("this sign-up has expired", code=409)
        return "confirmed"

    @handler
    async def status(self, ctx: WorkflowSharedContext) -> Status:
        """Return the state of the sign-up, while it runs and after it has ended."""
        return await ctx.get("status", Status) or "unknown"

    def _enter(self, ctx: WorkflowContext, status: Status) -> Status:
        ctx.set("status", status)
        return status


entry = lambda_handler(SignUp)
