"""Services of the contracts that Restate's conformance suite uses, written with its Python SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import restate
from restate import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)
from restate.exceptions import TerminalError
from restate.serde import BytesSerde

counter = VirtualObject("Counter")


@counter.handler()
async def add(ctx: ObjectContext, value: int) -> dict[str, int]:
    old = await ctx.get("counter", type_hint=int) or 0
    ctx.set("counter", old + value)
    return {"oldValue": old, "newValue": old + value}


@counter.handler(name="addThenFail")
async def add_then_fail(ctx: ObjectContext, value: int) -> None:
    ctx.set("counter", (await ctx.get("counter", type_hint=int) or 0) + value)
    raise TerminalError(ctx.key())


@counter.handler(kind="shared")
async def get(ctx: ObjectSharedContext) -> int:
    return await ctx.get("counter", type_hint=int) or 0


@counter.handler()
async def reset(ctx: ObjectContext) -> None:
    ctx.clear("counter")


lists = VirtualObject("ListObject")


@lists.handler()
async def append(ctx: ObjectContext, value: str) -> None:
    ctx.set("list", [*(await ctx.get("list") or []), value])


@lists.handler(name="get")
async def get_list(ctx: ObjectContext) -> list[str]:
    return await ctx.get("list") or []


@lists.handler()
async def clear(ctx: ObjectContext) -> list[str]:
    old = await ctx.get("list") or []
    ctx.clear("list")
    return old


maps = VirtualObject("MapObject")


@maps.handler(name="set")
async def set_entry(ctx: ObjectContext, entry: dict[str, str]) -> None:
    ctx.set(entry["key"], entry["value"])


@maps.handler(name="get")
async def get_entry(ctx: ObjectContext, key: str) -> str:
    return await ctx.get(key) or ""


@maps.handler(name="clearAll")
async def clear_all(ctx: ObjectContext) -> list[dict[str, str]]:
    entries = [{"key": key, "value": await ctx.get(key) or ""} for key in await ctx.state_keys()]
    ctx.clear_all()
    return entries


proxy = Service("Proxy")


def _call(ctx: Context, request: dict[str, Any]) -> Any:
    return ctx.generic_call(
        request["serviceName"],
        request["handlerName"],
        bytes(request["message"]),
        request.get("virtualObjectKey"),
        request.get("idempotencyKey"),
    )


def _send(ctx: Context, request: dict[str, Any]) -> Any:
    delay = request.get("delayMillis")
    return ctx.generic_send(
        request["serviceName"],
        request["handlerName"],
        bytes(request["message"]),
        request.get("virtualObjectKey"),
        timedelta(milliseconds=delay) if delay else None,
        request.get("idempotencyKey"),
    )


@proxy.handler()
async def call(ctx: Context, request: dict[str, Any]) -> list[int]:
    return list(await _call(ctx, request))


@proxy.handler(name="oneWayCall")
async def one_way_call(ctx: Context, request: dict[str, Any]) -> str:
    return await _send(ctx, request).invocation_id()


@proxy.handler(name="manyCalls")
async def many_calls(ctx: Context, requests: list[dict[str, Any]]) -> None:
    waits: list[Any] = []
    for each in requests:
        if each["oneWayCall"]:
            _send(ctx, each["proxyRequest"])
        else:
            called = _call(ctx, each["proxyRequest"])
            if each["awaitAtTheEnd"]:
                waits.append(called)
    for called in waits:
        await called


utils = Service("TestUtilsService")


@utils.handler()
async def echo(ctx: Context, input: str) -> str:
    return input


@utils.handler(name="uppercaseEcho")
async def uppercase_echo(ctx: Context, input: str) -> str:
    return input.upper()


@utils.handler(name="echoHeaders")
async def echo_headers(ctx: Context) -> dict[str, str]:
    return ctx.request().headers


@utils.handler(name="echoIdempotencyKey")
async def echo_idempotency_key(ctx: Context) -> str | None:
    return ctx.request().idempotency_key


@utils.handler(
    name="rawEcho",
    accept="*/*",
    content_type="application/octet-stream",
    input_serde=BytesSerde(),
    output_serde=BytesSerde(),
)
async def raw_echo(ctx: Context, input: bytes) -> bytes:
    return input


@utils.handler(name="countExecutedSideEffects")
async def count_side_effects(ctx: Context, increments: int) -> int:
    ran = 0

    def effect() -> None:
        nonlocal ran
        ran += 1

    for _ in range(increments):
        await ctx.run_typed("count", effect)
    return ran


@utils.handler(name="cancelInvocation")
async def cancel_invocation(ctx: Context, id: str) -> None:
    ctx.cancel_invocation(id)


@utils.handler(name="resolveSignal")
async def resolve_signal(ctx: Context, request: dict[str, str]) -> None:
    ctx.resolve_signal(request["invocationId"], request["signalName"], request["value"])


@utils.handler(name="rejectSignal")
async def reject_signal(ctx: Context, request: dict[str, str]) -> None:
    ctx.reject_signal(request["invocationId"], request["signalName"], request["reason"])


@utils.handler(name="sleepConcurrently")
async def sleep_concurrently(ctx: Context, millis: list[int]) -> None:
    await restate.gather(*[ctx.sleep(timedelta(milliseconds=each)) for each in millis])


holder = VirtualObject("AwakeableHolder")


@holder.handler()
async def hold(ctx: ObjectContext, id: str) -> None:
    ctx.set("id", id)


@holder.handler(name="hasAwakeable")
async def holds(ctx: ObjectContext) -> bool:
    return await ctx.get("id") is not None


@holder.handler()
async def unlock(ctx: ObjectContext, payload: str) -> None:
    id = await ctx.get("id", type_hint=str)
    if id is None:
        raise TerminalError("no awakeable is registered")
    ctx.resolve_awakeable(id, payload)
    ctx.clear("id")


waiting = Workflow("BlockAndWaitWorkflow")


@waiting.main(name="run")
async def run(ctx: WorkflowContext, input: str) -> str:
    ctx.set("state", input)
    output = await ctx.promise("unblock", type_hint=str)
    if await ctx.promise("unblock", type_hint=str).peek() is None:
        raise TerminalError("the promise should be resolved")
    return output


@waiting.handler()
async def unblock(ctx: WorkflowSharedContext, output: str) -> None:
    await ctx.promise("unblock", type_hint=str).resolve(output)


@waiting.handler(name="getState")
async def get_state(ctx: WorkflowSharedContext) -> str | None:
    return await ctx.get("state")


runner, blocking = VirtualObject("CancelTestRunner"), VirtualObject("CancelTestBlockingService")


@runner.handler(name="startTest")
async def start_test(ctx: ObjectContext, operation: str) -> None:
    try:
        await ctx.object_call(block, ctx.key(), operation)
    except TerminalError as error:
        if error.status_code != 409:
            raise
        ctx.set("state", True)


@runner.handler(name="verifyTest")
async def verify_test(ctx: ObjectContext) -> bool:
    return await ctx.get("state") or False


@blocking.handler()
async def block(ctx: ObjectContext, operation: str) -> None:
    id, awakeable = ctx.awakeable()
    await ctx.object_call(hold, ctx.key(), id)
    await awakeable
    if operation == "CALL":
        await ctx.object_call(block, f"{ctx.key()}-inner", operation)
    elif operation == "SLEEP":
        await ctx.sleep(timedelta(days=1024))
    else:
        await ctx.awakeable()[1]


@blocking.handler(name="isUnlocked")
async def is_unlocked(ctx: ObjectContext) -> None:
    pass


kill_runner, singleton = VirtualObject("KillTestRunner"), VirtualObject("KillTestSingleton")


@kill_runner.handler(name="startCallTree")
async def start_call_tree(ctx: ObjectContext) -> None:
    await ctx.object_call(recursive_call, ctx.key(), None)


@singleton.handler(name="recursiveCall")
async def recursive_call(ctx: ObjectContext) -> None:
    id, awakeable = ctx.awakeable()
    ctx.object_send(hold, ctx.key(), id)
    await awakeable
    await ctx.object_call(recursive_call, ctx.key(), None)


@singleton.handler(name="isUnlocked")
async def kill_is_unlocked(ctx: ObjectContext) -> None:
    pass


failing = VirtualObject("Failing")
TRIES = {"handler": 0, "succeeds": 0, "fails": 0}


def _terminal(failure: dict[str, Any]) -> TerminalError:
    return TerminalError(failure["errorMessage"], metadata=failure.get("metadata"))


@failing.handler(name="terminallyFailingCall")
async def fail_terminally(ctx: ObjectContext, failure: dict[str, Any]) -> None:
    raise _terminal(failure)


@failing.handler(name="callTerminallyFailingCall")
async def call_failing(ctx: ObjectContext, failure: dict[str, Any]) -> str:
    await ctx.object_call(fail_terminally, str(ctx.uuid()), failure)
    raise AssertionError("the call should have failed")


@failing.handler(name="failingCallWithEventualSuccess")
async def succeed_in_the_end(ctx: ObjectContext) -> int:
    TRIES["handler"] += 1
    if TRIES["handler"] < 4:
        raise ValueError(f"failure {TRIES['handler']}")
    tries, TRIES["handler"] = TRIES["handler"], 0
    return tries


@failing.handler(name="terminallyFailingSideEffect")
async def failing_side_effect(ctx: ObjectContext, failure: dict[str, Any]) -> None:
    def effect() -> None:
        raise _terminal(failure)

    await ctx.run_typed("effect", effect)
    raise AssertionError("the step should have failed")


@failing.handler(name="sideEffectSucceedsAfterGivenAttempts")
async def side_effect_succeeds(ctx: ObjectContext, minimum: int) -> int:
    def effect() -> int:
        TRIES["succeeds"] += 1
        if TRIES["succeeds"] < minimum:
            raise ValueError(f"failure {TRIES['succeeds']}")
        tries, TRIES["succeeds"] = TRIES["succeeds"], 0
        return tries

    options: restate.RunOptions[int] = restate.RunOptions(
        max_attempts=minimum + 1, initial_retry_interval=timedelta(milliseconds=1), retry_interval_factor=1
    )
    return await ctx.run_typed("effect", effect, options)


@failing.handler(name="sideEffectFailsAfterGivenAttempts")
async def side_effect_fails(ctx: ObjectContext, attempts: int) -> int:
    TRIES.setdefault(ctx.key(), 0)

    def effect() -> None:
        TRIES[ctx.key()] += 1
        raise ValueError(f"failure {TRIES[ctx.key()]}")

    options: restate.RunOptions[None] = restate.RunOptions(
        max_attempts=attempts, initial_retry_interval=timedelta(milliseconds=1), retry_interval_factor=1
    )
    try:
        await ctx.run_typed("effect", effect, options)
    except TerminalError:
        return TRIES[ctx.key()]
    raise AssertionError("the step should have failed")


nondeterministic = VirtualObject("NonDeterministic")
INVOCATIONS: dict[str, int] = {}


def _second(key: str, what: str) -> bool:
    place = f"{key}/{what}"
    INVOCATIONS[place] = INVOCATIONS.get(place, 0) + 1
    return INVOCATIONS[place] > 1


@nondeterministic.handler(name="setDifferentKey")
async def set_different_key(ctx: ObjectContext) -> None:
    ctx.set("b" if _second(ctx.key(), "set") else "a", "value")
    await ctx.sleep(timedelta(milliseconds=100))
    ctx.object_send(add, ctx.key(), 1)


@nondeterministic.handler(name="callDifferentMethod")
async def call_different_method(ctx: ObjectContext) -> None:
    if _second(ctx.key(), "call"):
        await ctx.object_call(get, "abc", None)
    else:
        await ctx.object_call(reset, "abc", None)
    await ctx.sleep(timedelta(milliseconds=100))
    ctx.object_send(add, ctx.key(), 1)


interpreter = VirtualObject("VirtualObjectCommandInterpreter")


def _future(ctx: ObjectContext, command: dict[str, Any]) -> Any:
    match command["type"]:
        case "createAwakeable":
            id, awakeable = ctx.awakeable()
            ctx.set("awk-" + command["awakeableKey"], id)
            return awakeable
        case "sleep":
            return ctx.sleep(timedelta(milliseconds=command["timeoutMillis"]))
        case "createSignal":
            return ctx.signal(command["signalName"], type_hint=str)
        case "runReturns":

            async def give() -> str:
                await asyncio.sleep(0)
                return command["value"]

            return ctx.run_typed("give", give)
        case _:

            def fail() -> None:
                raise TerminalError(command["reason"])

            return ctx.run_typed("fail", fail)


async def _result(future: Any) -> str:
    result = await future
    return "sleep" if result is None else result


async def _settled(future: Any) -> str:
    try:
        return f"ok:{await _result(future)}"
    except TerminalError as error:
        return f"err:{error.message}"


async def _first_success(done: AsyncIterator[Any]) -> str:
    error = TerminalError("there is none")
    async for future in done:
        try:
            return await _result(future)
        except TerminalError as failure:
            error = failure
    raise error


@interpreter.handler(name="interpretCommands")
async def interpret(ctx: ObjectContext, request: dict[str, Any]) -> str:
    result = ""
    for command in request["commands"]:
        futures = [_future(ctx, each) for each in command.get("commands", [])]
        match command["type"]:
            case "awaitOne":
                result = await _result(_future(ctx, command["command"]))
            case "awaitAny" | "awaitFirstCompleted":
                done, _ = await restate.wait_completed(*futures)
                result = await _result(done[0])
            case "awaitAnySuccessful" | "awaitFirstSucceededOrAllFailed":
                result = await _first_success(restate.as_completed(*futures))
            case "awaitAllSucceededOrFirstFailed":
                await restate.gather(*futures)
                result = "|".join([await _result(each) for each in futures])
            case "awaitAllCompleted":
                await restate.gather(*futures)
                result = "|".join([await _settled(each) for each in futures])
            case "awaitAwakeableOrTimeout":
                awakeable = _future(ctx, {"type": "createAwakeable", "awakeableKey": command["awakeableKey"]})
                match await restate.select(
                    awakeable=awakeable, timeout=ctx.sleep(timedelta(milliseconds=command["timeoutMillis"]))
                ):
                    case ["awakeable", value]:
                        result = value
                    case _:
                        raise TerminalError("await-timeout", 500)
            case "resolveAwakeable":
                ctx.resolve_awakeable(await _held(ctx, command), command["value"])
            case "rejectAwakeable":
                ctx.reject_awakeable(await _held(ctx, command), command["reason"])
            case other:
                raise TerminalError(f"no command {other}")
        ctx.set("results", [*(await ctx.get("results") or []), result])
    return result


async def _held(ctx: ObjectContext | ObjectSharedContext, request: dict[str, Any]) -> str:
    id = await ctx.get("awk-" + request["awakeableKey"], type_hint=str)
    if id is None:
        raise TerminalError("no awakeable is registered")
    return id


@interpreter.handler(name="resolveAwakeable", kind="shared")
async def resolve_held(ctx: ObjectSharedContext, request: dict[str, Any]) -> None:
    ctx.resolve_awakeable(await _held(ctx, request), request["value"])


@interpreter.handler(name="rejectAwakeable", kind="shared")
async def reject_held(ctx: ObjectSharedContext, request: dict[str, Any]) -> None:
    ctx.reject_awakeable(await _held(ctx, request), request["reason"])


@interpreter.handler(name="hasAwakeable", kind="shared")
async def has_held(ctx: ObjectSharedContext, key: str) -> bool:
    return await ctx.get("awk-" + key) is not None


@interpreter.handler(name="getResults", kind="shared")
async def get_results(ctx: ObjectSharedContext) -> list[str]:
    return await ctx.get("results") or []


deadlocked = VirtualObject("Deadlocked")


@deadlocked.handler()
async def lock(ctx: ObjectContext, other: str) -> str:
    """Calls another key, which calls this one back."""
    await ctx.sleep(timedelta(milliseconds=50))
    return await ctx.object_call(lock, other, ctx.key())


SERVICES = [
    counter, lists, maps, proxy, utils, holder, waiting, runner, blocking, kill_runner, singleton, failing,
    nondeterministic, interpreter, deadlocked,
]  # fmt: skip

app: Any = restate.app(services=SERVICES)
