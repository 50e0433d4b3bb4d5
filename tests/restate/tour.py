"""Handlers that have the SDK send each message of the protocol."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import restate
from restate.exceptions import RetryableError, TerminalError

eager, lazy = restate.VirtualObject("Eager"), restate.VirtualObject("Lazy", enable_lazy_state=True)
tour, flow = restate.Service("Tour"), restate.Workflow("Flow")
tries = 0

SECOND = timedelta(milliseconds=1)


async def outcome(operation: Awaitable[Any]) -> Any:
    """Return what an operation gives, or the message with which it fails."""
    try:
        return await operation
    except TerminalError as error:
        return error.message


async def state(ctx: restate.ObjectContext) -> list[Any]:
    seen: list[Any] = [await ctx.get("a")]
    ctx.set("a", 1)
    ctx.set("b", "")
    seen += [await ctx.get("a"), len(await ctx.state_keys())]
    ctx.clear("a")
    seen.append(await ctx.get("a"))
    ctx.clear_all()
    return [*seen, len(await ctx.state_keys())]


async def keep(ctx: restate.ObjectContext) -> None:
    ctx.set("kept", "value")


async def read(ctx: restate.ObjectContext) -> list[Any]:
    return [await ctx.get("kept"), await ctx.state_keys(), await ctx.get("none")]


for each in (eager, lazy):
    for handler in (state, keep, read):
        each.handler()(handler)


@tour.handler()
async def echo(ctx: restate.Context, it: str) -> str:
    return it


@tour.handler()
async def fail(ctx: restate.Context, message: str) -> None:
    raise TerminalError(message, 418, metadata={"key": "value"})


@tour.handler("failOld")
async def fail_old(ctx: restate.Context, message: str) -> None:
    raise TerminalError(message)


@tour.handler()
async def calls(ctx: restate.Context) -> list[Any]:
    headers, key = {"x-tenant": "Mary"}, str(ctx.uuid())
    called = [
        json.loads(await ctx.generic_call("Tour", "echo", b'"called"', None, key, headers)),
        json.loads(await ctx.generic_call("Eager", "read", b"", "k")),
        await outcome(ctx.service_call(fail_old, "no")),
    ]
    sent = ctx.generic_send("Tour", "echo", b'"sent"', None, SECOND, f"{key}-sent", headers)
    ctx.generic_send("Eager", "keep", b"", "k")
    return [*called, await ctx.attach_invocation(await sent.invocation_id(), type_hint=str)]


@tour.handler()
async def steps(ctx: restate.Context) -> list[Any]:
    def fails() -> None:
        raise TerminalError("no", 419)

    both = [ctx.run_typed("gives", lambda: "given"), ctx.run_typed("fails", fails)]
    await restate.gather(*both)
    await ctx.run_typed("nothing", lambda: None)
    await ctx.sleep(SECOND, "nap")
    done, _ = await restate.wait_completed(ctx.sleep(timedelta(minutes=1)), ctx.run_typed("ran", lambda: "ran"))
    return [len(both), await done[0]]


@tour.handler()
async def retries(ctx: restate.Context) -> str:
    global tries
    await ctx.run_typed("progress", lambda: 1)
    tries += 1
    if tries % 3:
        raise RetryableError("later", retry_after=SECOND) if tries % 2 else ValueError("again")
    return "done"


@tour.handler()
async def awakeables(ctx: restate.Context) -> list[Any]:
    (one, first), (two, second) = ctx.awakeable(type_hint=str), ctx.awakeable(type_hint=str)
    ctx.service_send(complete, [one, two])
    return [await outcome(first), await outcome(second)]


@tour.handler()
async def complete(ctx: restate.Context, ids: list[str]) -> None:
    ctx.resolve_awakeable(ids[0], "resolved")
    ctx.reject_awakeable(ids[1], "rejected")


@tour.handler()
async def signals(ctx: restate.Context) -> int:
    ctx.service_send(signal, ctx.request().id)
    both = [ctx.signal("one", type_hint=str), ctx.signal("two", type_hint=str)]
    await restate.gather(*both)
    return len(both)


@tour.handler()
async def signal(ctx: restate.Context, id: str) -> None:
    ctx.resolve_signal(id, "one", "resolved")
    ctx.reject_signal(id, "two", "rejected")


@tour.handler()
async def cancels(ctx: restate.Context) -> str:
    id = await ctx.service_send(forever, None).invocation_id()
    ctx.cancel_invocation(id)
    return str(await outcome(ctx.attach_invocation(id)))


@tour.handler()
async def forever(ctx: restate.Context) -> None:
    await ctx.sleep(timedelta(days=1))


@flow.main("run")
async def flow_run(ctx: restate.WorkflowContext) -> list[Any]:
    yes, no = ctx.promise("yes", type_hint=str), ctx.promise("no", type_hint=str)
    return [await yes.peek(), await outcome(yes.value()), await outcome(no.value()), await yes.peek()]


@flow.handler()
async def decide(ctx: restate.WorkflowSharedContext) -> Any:
    await ctx.promise("yes").resolve("resolved")
    await ctx.promise("no").reject("rejected")
    return await outcome(ctx.promise("no").resolve("too late"))


app: Any = restate.app(services=[eager, lazy, tour, flow])
