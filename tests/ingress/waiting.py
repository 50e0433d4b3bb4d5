"""Handlers of each kind that end when they are told to."""

from __future__ import annotations

from adapter import (
    Context,
    ObjectContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)


async def told(ctx: Context, name: str) -> str:
    await ctx.signal("go")
    if name == "nobody":
        raise TerminalError("nobody is gone", code=410)
    return name


class Slow(Service):
    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        return await told(ctx, name)


class Box(VirtualObject):
    @handler
    async def wait(self, ctx: ObjectContext, name: str) -> str:
        return await told(ctx, name)


class Rite(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, name: str) -> str:
        return await told(ctx, name)
