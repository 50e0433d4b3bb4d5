"""A workflow: one sign-up per id, which waits for a person and can be asked at any time."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Literal

from adapter import (
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    lambda_handler,
)
from handlers.contracts import Mailer

PATIENCE = timedelta(days=1)
FIRST_LOOK = timedelta(seconds=1)

Status = Literal["unknown", "waiting", "confirmed", "expired"]


class SignUp(Workflow):
    """Mails a code, and waits a day for it to come back."""

    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> Status:
        """Sign somebody up; returns how that ended."""
        code = await ctx.run("make a code", secrets.token_hex, 4)
        ctx.set("code", code)
        self._enter(ctx, "waiting")
        await ctx.object_client(Mailer, email).mail(f"Your code is {code}")
        status: Status = "confirmed" if await self._confirmed(ctx) else "expired"
        return self._enter(ctx, status)

    @handler
    async def confirm(self, ctx: WorkflowSharedContext, code: str) -> Status:
        """Send the code back. Fails with 403 if it is not the code, with 409 if it is too late."""
        status = await self.status.fn(ctx)
        if status == "expired":
            raise TerminalError("this sign-up has expired", code=409)
        if status == "unknown" or code != await ctx.get("code", str):
            raise TerminalError("that is not the code", code=403)
        await ctx.object_client(Confirmation, ctx.key).give()
        return "confirmed"

    @handler
    async def status(self, ctx: WorkflowSharedContext) -> Status:
        """How far it is, while it runs and after it ended."""
        return await ctx.get("status", Status) or "unknown"

    def _enter(self, ctx: WorkflowContext, status: Status) -> Status:
        ctx.set("status", status)
        return status

    async def _confirmed(self, ctx: WorkflowContext) -> bool:
        """Whether the code came back in time: looks now, and then less and less often."""
        waited, pause = timedelta(0), FIRST_LOOK
        while not await ctx.object_client(Confirmation, ctx.key).given():
            if waited >= PATIENCE:
                return False
            await ctx.sleep(pause)
            waited, pause = waited + pause, pause * 2
        return True


class Confirmation(VirtualObject, private=True):
    """Whether the person behind a sign-up has confirmed: shared handlers of a workflow only read its state."""

    @handler
    async def give(self, ctx: ObjectContext) -> None:
        """They have."""
        ctx.set("given", True)

    @handler
    async def given(self, ctx: ObjectSharedContext) -> bool:
        """Whether they have."""
        return await ctx.get("given", bool) or False


entry = lambda_handler(SignUp, Confirmation)
