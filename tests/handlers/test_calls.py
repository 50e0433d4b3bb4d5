"""Calls, sends, handles, and what is known of invocations by their ids."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Ready,
    Service,
    TerminalError,
    Unready,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
    invocation_id,
    serde,
)
from tests.handlers.conftest import Environments


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int = 1) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("total", int) or 0

    @handler
    async def fail(self, ctx: ObjectContext) -> None:
        ctx.set("failed", True)
        raise TerminalError("no", code=418)


class Slow(Service):
    @handler
    async def echo(self, ctx: Context, value: int) -> int:
        await ctx.sleep(timedelta(hours=1))
        return value

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)

    @handler
    async def key(self, ctx: Context) -> str | None:
        return ctx.request.idempotency_key


class Once(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, value: int) -> int:
        await ctx.sleep(timedelta(hours=1))
        return value


class Caller(Service):
    @handler
    async def calls(self, ctx: Context) -> list[int]:
        first = await ctx.object_client(Counter, "a").add(1)
        second = await ctx.object_client(Counter, "a").add(2)
        return [first, second, await ctx.service_client(Slow).echo(7), await ctx.object_client(Counter, "a").total()]

    @handler
    async def generic(self, ctx: Context) -> list[Any]:
        total = await ctx.generic_call(
            service="Counter", method="add", parameter=3, key="g", output_serde=serde.of(int)
        )
        sent = ctx.generic_send(service="Counter", method="add", parameter=4, key="g")
        return [total, await sent]

    @handler
    async def failing(self, ctx: Context) -> tuple[str, int]:
        try:
            await ctx.object_client(Counter, "a").fail()
        except TerminalError as error:
            return error.message, error.code
        raise AssertionError

    @handler
    async def missing(self, ctx: Context) -> list[int]:
        codes: list[int] = []
        for wrong in (
            ctx.generic_call(service="Slow", method="x"),
            ctx.attach("inv_" + "a" * 32),
        ):
            try:
                await wrong
            except TerminalError as error:
                codes.append(error.code)
        return codes

    @handler
    async def sends(self, ctx: Context) -> list[str]:
        now = ctx.object_send_client(Counter, "s").add(1)
        later = ctx.object_send_client(Counter, "s").add(10, delay=timedelta(days=1))
        return [now.id, later.id]

    @handler
    async def handle(self, ctx: Context) -> tuple[int, int]:
        sent = ctx.service_send_client(Slow).echo(5)
        counted = await ctx.object_client(Counter, "h").add(1)
        return counted, await sent + await sent

    @handler
    async def twice(self, ctx: Context) -> tuple[int, int, bool]:
        one = ctx.object_client(Counter, "i").add(1, idempotency_key="k")
        two = ctx.object_client(Counter, "i").add(1, idempotency_key="k")
        return await one, await two, one.id == two.id

    @handler
    async def look(self, ctx: Context, id: str) -> str:
        match await ctx.output(id, int):
            case Ready(result):
                return f"ready {result}"
            case Unready.NOT_READY:
                return "not ready"
            case Unready.NOT_FOUND:
                return "not found"

    @handler
    async def attach(self, ctx: Context, id: str) -> int:
        return await ctx.attach(id, int)

    @handler
    async def keys(self, ctx: Context) -> list[str | None]:
        slow = ctx.service_client(Slow)
        return [ctx.request.idempotency_key, await slow.key(), await slow.key(idempotency_key="inner")]

    @handler
    async def greet(self, ctx: Context) -> dict[str, str]:
        return await ctx.service_client(Slow).headers(headers={"Trace": "1"})


async def test_calls_give_their_results(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow)
    assert await env.service_client(Caller).calls() == [1, 3, 7, 3]
    assert await env.service_client(Caller).generic() == [3, 7]
    assert await env.service_client(Caller).greet() == {"trace": "1"}


async def test_failures_reach_the_caller_and_state_stays(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow)
    assert await env.service_client(Caller).failing() == ("no", 418)
    assert await env.state(Counter, "a") == {"failed": True}
    assert await env.service_client(Caller).missing() == [404, 404]


async def test_sends_run_by_themselves_now_or_later(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow)
    now, later = await env.service_client(Caller).sends()
    assert (await env.status(now), await env.status(later)) == ("completed", "scheduled")
    assert await env.state(Counter, "s") == {"total": 1}
    await env.advance(timedelta(days=1))
    assert await env.state(Counter, "s") == {"total": 11}


async def test_what_was_sent_is_awaited_later(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow)
    assert await env.service_client(Caller).handle() == (1, 10)


async def test_an_idempotency_key_makes_one_invocation(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow)
    assert await env.service_client(Caller).twice() == (1, 1, True)
    again = env.object_client(Counter, "i").add(1, idempotency_key="k")
    assert again.id == invocation_id(Counter, "add", "i", idempotency_key="k")
    assert await again == 1


async def test_a_handler_sees_the_idempotency_key_of_its_request(environment: Environments) -> None:
    env = environment(Caller, Slow)
    assert await env.service_client(Caller).keys(idempotency_key="outer") == ["outer", None, "inner"]
    assert await env.service_client(Caller).keys() == [None, None, "inner"]


async def test_output_and_attach(environment: Environments) -> None:
    env = environment(Caller, Counter, Slow, Once)
    caller = env.service_client(Caller)
    id = invocation_id(Once, "run", "x")
    assert await caller.look(id) == "not found"
    run = env.workflow_client(Once, "x").run(3)
    await env.settle()
    assert run.id == id
    assert await caller.look(id) == "not ready"
    assert await caller.attach(id) == 3
    assert await caller.look(id) == "ready 3"
    failed = env.object_client(Counter, "f").fail()
    with pytest.raises(TerminalError, match="no"):
        await failed
    with pytest.raises(TerminalError, match="no") as refused:
        await caller.look(failed.id)
    assert refused.value.code == 418
    assert await env.output(id, int) == Ready(3)
    assert await env.attach(id, int) == 3
    assert await env.output("inv_nobody") is Unready.NOT_FOUND


async def test_a_workflow_runs_once(environment: Environments) -> None:
    env = environment(Once)
    assert await env.workflow_client(Once, "x").run(3) == 3
    with pytest.raises(TerminalError, match="ran already") as refused:
        await env.workflow_client(Once, "x").run(3)
    assert refused.value.code == 409
    await env.advance(timedelta(days=2))
    assert await env.workflow_client(Once, "x").run(4) == 4


class Careless(Service):
    @handler
    async def send(self, ctx: Context) -> str:
        try:
            ctx.generic_send(service="Careless", method="greet")
        except TerminalError as error:
            message = error.message
        return await ctx.run("note", lambda: message)

    @handler
    async def call_another(self, ctx: Context) -> str:
        try:
            return await ctx.generic_call(service="Later", method="greet", output_serde=serde.of(str))
        except Exception as error:  # which the failure of the attempt is not
            return str(error)

    @handler
    async def send_another(self, ctx: Context) -> str:
        return await ctx.generic_send(service="Later", method="greet")


class Later(Service):
    @handler
    async def greet(self, ctx: Context) -> str:
        return "hello"


async def test_what_cannot_be_sent_fails_where_it_is_sent(environment: Environments) -> None:
    message = await environment(Careless).service_client(Careless).send()
    assert message == "service 'Careless' has no handler 'greet'; it has call_another, send, send_another"


@pytest.mark.parametrize("way", ["call_another", "send_another"])
async def test_a_call_to_a_service_that_is_not_deployed_yet_is_retried(environment: Environments, way: str) -> None:
    env = environment(Careless)
    client = env.service_client(Careless)
    call = client.call_another() if way == "call_another" else client.send_another()
    await env.settle()
    await env.advance(timedelta(seconds=5))
    assert await env.status(call) == "backing-off"
    env.redeploy(Careless, Later)
    assert await call == "hello"


async def test_a_request_from_outside_for_a_service_that_is_not_deployed_is_refused(environment: Environments) -> None:
    with pytest.raises(TerminalError, match="there is no service 'Later' with a handler 'greet'") as error:
        await environment(Careless).generic_call(service="Later", method="greet")
    assert error.value.code == 404
