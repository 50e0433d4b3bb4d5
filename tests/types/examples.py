"""Everything natural, and the types that it has: both checkers accept it all."""

# pyright: strict

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Annotated, Any, Literal, TypedDict, assert_type
from uuid import UUID

from pydantic import BaseModel, Field

from adapter import (
    Awakeable,
    Client,
    Context,
    DurablePromise,
    Invocation,
    ObjectContext,
    ObjectSharedContext,
    Operation,
    Ready,
    RetryPolicy,
    Service,
    SigV4,
    SyncClient,
    TerminalError,
    TimedOutError,
    Unready,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    as_completed,
    gather,
    handler,
    invocation_id,
    lambda_handler,
    select,
    serde,
    wait_completed,
)
from adapter.testing import Environment


class Order(BaseModel):
    id: str
    amount: int


@dataclass
class Receipt:
    order: str
    paid: bool


class Address(TypedDict):
    street: str
    city: str


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        assert_type(ctx.key, str)
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("total", int) or 0

    @handler(private=True, retry=RetryPolicy(attempts=3), idempotency_retention=timedelta(days=1))
    async def reset(self, ctx: ObjectContext) -> None:
        ctx.clear("total")
        ctx.clear_all()
        assert_type(await ctx.state_keys(), list[str])

    @handler
    async def step(self, ctx: ObjectContext, by: int = 1) -> int:
        return await self.add.fn(ctx, by)


class Greeter(Service, name="greeter", idempotency_retention=timedelta(days=7), retry=RetryPolicy(), private=False):
    def __init__(self, greeting: str = "Hello") -> None:
        self.greeting = greeting

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"{self.greeting} {name}"

    @handler(name="greet-all", journal_retention=timedelta(hours=1), output_serde=serde.json)
    async def greet_all(self, ctx: Context, names: list[str]) -> dict[str, str]:
        return {name: await self.greet.fn(ctx, name) for name in names}

    @handler(input_serde=serde.bytes)
    async def upload(self, ctx: Context, data: bytes) -> None: ...

    @handler
    async def maybe(self, ctx: Context, name: str | None) -> str | None:
        return name


class Payment(Service):
    """Has to be given what it depends on."""

    def __init__(self, gateway: Callable[[str], bool]) -> None:
        self.gateway = gateway

    @handler
    async def pay(self, ctx: Context, order: Order) -> Receipt:
        paid = await ctx.run("charge", self.gateway, order.id)
        assert_type(paid, bool)
        if not paid:
            raise TerminalError("declined", code=402)
        return Receipt(order.id, paid)

    @handler
    async def ship(self, ctx: Context, to: Address) -> None: ...


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> bool:
        ctx.set("email", email)
        assert_type(ctx.key, str)
        return True

    @handler
    async def status(self, ctx: WorkflowSharedContext) -> Literal["waiting", "done"]:
        return "done" if await ctx.get("email", str) else "waiting"


class Shop(Service):
    """A contract: all that a caller imports."""

    @handler
    @abstractmethod
    async def order(self, ctx: Context, order: Order) -> Receipt: ...

    @handler
    @abstractmethod
    async def close(self, ctx: Context) -> None: ...


class CornerShop(Shop):
    @handler
    async def order(self, ctx: Context, order: Order) -> Receipt:
        return Receipt(order.id, False)

    @handler(private=True)
    async def close(self, ctx: Context) -> None: ...


class ShopWithDefaults(Shop):
    """An override may accept more than it has to."""

    @handler
    async def order(self, ctx: Context, order: Order | None = None) -> Receipt:
        return Receipt(order.id if order else "", False)

    @handler
    async def close(self, ctx: Context) -> None: ...


class Loud(Greeter):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return (await super().greet.fn(ctx, name)).upper()


async def calls(ctx: Context) -> None:
    assert_type(ctx.service_client(Greeter), Greeter)
    assert_type(ctx.service_client(Greeter).greet("Mary"), Invocation[str])
    assert_type(await ctx.service_client(Greeter).greet("Mary"), str)
    assert_type(await ctx.service_client(Greeter).greet_all(["Mary"]), dict[str, str])
    assert_type(await ctx.service_client(Greeter).maybe(None), str | None)
    assert_type(await ctx.service_client(Payment).pay(Order(id="1", amount=2)), Receipt)
    assert_type(await ctx.service_client(Payment).ship({"street": "Main", "city": "Ulm"}), None)
    assert_type(await ctx.object_client(Counter, "Mary").add(1), int)
    assert_type(await ctx.object_client(Counter, key="Mary").total(), int)
    assert_type(await ctx.object_client(Counter, "Mary").step(), int)
    assert_type(await ctx.object_client(Counter, "Mary").step(2), int)
    assert_type(await ctx.workflow_client(SignUp, "Mary").run("mary@example.com"), bool)
    assert_type(await ctx.workflow_client(SignUp, id="Mary").status(), Literal["waiting", "done"])
    assert_type(await ctx.service_client(Shop).order(Order(id="1", amount=2)), Receipt)
    assert_type(ctx.service_client(Shop).close().id, str)


async def sends(ctx: Context) -> None:
    assert_type(ctx.service_send_client(Greeter).greet("Mary", delay=timedelta(hours=5)), Invocation[str])
    sent = ctx.object_send_client(Counter, "Mary").add(1, idempotency_key="x", headers={"trace": "1"})
    assert_type(sent.id, str)
    assert_type(await sent, int)
    ctx.object_send_client(Counter, "Mary").total(idempotency_key="x")
    ctx.object_send_client(Counter, "Mary").step(delay=timedelta(seconds=1))
    assert_type(ctx.workflow_send_client(SignUp, "Mary").run("mary@example.com"), Invocation[bool])
    ctx.cancel(sent.id)


async def generic(ctx: Context) -> None:
    assert_type(ctx.generic_call(service="greeter", method="greet", parameter="Mary"), Invocation[Any])
    call = ctx.generic_call(service="Counter", method="add", parameter=1, key="Mary", output_serde=serde.of(int))
    assert_type(call, Invocation[int])
    raw = ctx.generic_call(service="X", method="y", parameter=b"", input_serde=serde.bytes, output_serde=serde.bytes)
    assert_type(await raw, bytes)
    ctx.generic_send(service="greeter", method="greet", parameter="Mary", delay=timedelta(hours=5), headers={"a": "b"})


def load(id: str, version: int) -> Order:
    return Order(id=id, amount=version)


async def fetch(id: str) -> Order:
    return Order(id=id, amount=1)


async def steps(ctx: Context) -> None:
    assert_type(ctx.run("load", load, "1", 2), Operation[Order])
    assert_type(await ctx.run("load", load, "1", 2, retry=RetryPolicy(attempts=2)), Order)
    assert_type(ctx.run("fetch", fetch, "1"), Operation[Order])
    assert_type(await ctx.run("lambda", lambda: 5), int)
    assert_type(await ctx.run("async lambda", lambda: fetch("1")), Order)
    assert_type(await ctx.run("typed", lambda: {"id": "1", "amount": 1}, type=Order), Order)
    assert_type(await ctx.run("union", lambda: 1, type=int | None), int | None)
    assert_type(await ctx.run("typed async", fetch, "1", type=Order), Order)
    assert_type(ctx.run("keywords", load, "1", version=2), Operation[Order])
    assert_type(await ctx.run("all keywords", load, id="1", version=2), Order)
    assert_type(await ctx.run("async keywords", fetch, id="1"), Order)
    assert_type(await ctx.run("bound", partial(load, version=2), "1", retry=RetryPolicy(attempts=2)), Order)
    assert_type(ctx.sleep(timedelta(days=30)), Operation[None])
    assert_type(await ctx.now(), datetime)
    assert_type(ctx.uuid(), UUID)
    assert_type(ctx.random, Random)
    assert_type(ctx.request.id, str)
    assert_type(ctx.request.target.service, str)
    assert_type(ctx.request.headers.get("trace"), str | None)
    assert_type(ctx.request.idempotency_key, str | None)
    assert_type(await ctx.attach("inv_1"), Any)
    assert_type(await ctx.attach("inv_1", Order), Order)


async def state(ctx: ObjectContext) -> None:
    assert_type(ctx.get("total", int), Operation[int | None])
    assert_type(await ctx.get("order", Order), Order | None)
    assert_type(await ctx.get("tags", list[str]), list[str] | None)
    assert_type(await ctx.get("either", int | str), int | str | None)
    assert_type(await ctx.get("status", Literal["on", "off"]), Literal["on", "off"] | None)
    assert_type(await ctx.get("small", Annotated[int, Field(lt=10)]), int | None)
    assert_type(await ctx.get("address", Address), Address | None)
    assert_type(await ctx.get("anything"), Any)
    ctx.set("order", Order(id="1", amount=2))


async def shared_helper(ctx: ObjectSharedContext) -> int:
    return await ctx.get("total", int) or 0


async def exclusive_is_shared(ctx: ObjectContext) -> int:
    return await shared_helper(ctx)


async def together(ctx: ObjectContext) -> None:
    call = ctx.service_client(Greeter).greet("Mary")
    assert_type(await gather(call), tuple[str])
    assert_type(await gather(call, ctx.get("total", int)), tuple[str, int | None])
    assert_type(await gather(call, ctx.sleep(timedelta(1)), ctx.now()), tuple[str, None, datetime])
    assert_type(await gather(*[ctx.object_client(Counter, str(n)).add(n) for n in range(9)]), tuple[int, ...])
    assert_type(
        await gather(call, ctx.now(), return_exceptions=True), tuple[str | BaseException, datetime | BaseException]
    )
    assert_type(await gather(*[call, call], return_exceptions=True), tuple[str | BaseException, ...])
    assert_type(await gather(call, ctx.now(), return_exceptions=False), tuple[str, datetime])
    assert_type(await asyncio.gather(call, ctx.get("total", int)), tuple[str, int | None])


async def outside_results(ctx: Context, workflow: WorkflowContext, shared: WorkflowSharedContext) -> None:
    assert_type(ctx.awakeable(Order), Awakeable[Order])
    assert_type(ctx.awakeable(int | None).id, str)
    assert_type(await ctx.awakeable(list[Order]), list[Order])
    assert_type(await ctx.awakeable(), Any)
    assert_type(ctx.awakeable(serde=serde.of(Order)), Awakeable[Order])
    assert_type(await ctx.signal("go", serde=serde.of(int)), int)
    assert_type(await ctx.attach("inv_1", serde=serde.bytes), bytes)
    assert_type(workflow.promise("email", serde=serde.of(str)), DurablePromise[str])
    assert_type(await workflow.get("email", serde=serde.of(str)), str | None)
    assert_type(ctx.resolve_awakeable("awk_1", Order(id="1", amount=2)), Operation[bool])
    assert_type(await ctx.reject_awakeable("awk_1", "declined", code=402), bool)
    assert_type(await ctx.reject_awakeable("awk_1", "declined", metadata={"card": "7"}), bool)
    assert_type(ctx.reject_signal("inv_1", "go", "no", code=410, metadata={"a": "b"}), Operation[bool])
    ctx.resolve_awakeable("awk_1")
    assert_type(workflow.promise("email", str), DurablePromise[str])
    assert_type(await workflow.promise("email", str), str)
    assert_type(await workflow.promise("either", int | None), int | None)
    assert_type(await workflow.promise("anything"), Any)
    assert_type(shared.promise("email", str).peek(), Operation[str | None])
    assert_type(shared.promise("email", str).resolve("mary@example.com"), Operation[bool])
    assert_type(await shared.promise("email", str).reject("gave up", code=410), bool)
    assert_type(ctx.signal("go", Order), Operation[Order])
    assert_type(await ctx.signal("go", Literal["on", "off"]), Literal["on", "off"])
    assert_type(await ctx.signal("go"), Any)
    assert_type(ctx.send_signal("inv_1", "go", {"on": True}), Operation[bool])
    assert_type(ctx.cancel("inv_1"), Operation[bool])


async def handles(ctx: Context) -> None:
    assert_type(invocation_id(SignUp, "run", "Mary"), str)
    assert_type(invocation_id("Counter", "add", key="Mary", idempotency_key="k"), str)
    assert_type(ctx.output("inv_1", Order), Operation[Ready[Order] | Unready])
    assert_type(ctx.output("inv_1", int | None), Operation[Ready[int | None] | Unready])
    output = await ctx.output("inv_1", Order)
    if isinstance(output, Ready):
        assert_type(output.result, Order)
    match output:
        case Ready(result):
            assert_type(result, Order)
        case Unready.NOT_READY:
            pass
        case _:
            assert_type(output, Literal[Unready.NOT_FOUND])
    call = ctx.service_client(Greeter).greet("Mary")
    assert_type(call.cancel(), Operation[bool])
    assert_type(call.done, bool)


async def whichever(ctx: Context) -> str | None:
    call, patience = ctx.service_client(Greeter).greet("Mary"), ctx.sleep(timedelta(hours=1))
    if await select(call, patience) is call:
        return await call
    counts = [ctx.object_client(Counter, str(n)).add(n) for n in range(9)]
    assert_type(await select(*counts), Operation[int])
    assert_type(await (await select(*counts)), int)
    done, pending = await wait_completed(*counts)
    assert_type(done, list[Operation[int]])
    assert_type(pending, list[Operation[int]])
    async for count in as_completed(*counts):
        assert_type(count, Operation[int])
        assert_type(await count, int)
    try:
        async with ctx.timeout(timedelta(days=1)):
            assert_type(await gather(*counts), tuple[int, ...])
    except TimedOutError as error:
        assert_type(error.code, int)
    return None


async def own_code(ctx: ObjectContext) -> None:
    assert_type(await Counter().add.fn(ctx, 1), int)
    assert_type(await Counter().step.fn(ctx), int)
    assert_type(await Counter().step.fn(ctx, 2), int)


async def outside() -> None:
    async with Client("https://example.com", timeout=timedelta(seconds=30)) as client:
        assert_type(await client.service_client(Greeter).greet("Mary"), str)
        assert_type(client.object_send_client(Counter, "Mary").add(1, delay=timedelta(hours=1)), Invocation[int])
        assert_type(await client.workflow_client(SignUp, "Mary").run("mary@example.com"), bool)
        await client.flush()
        assert_type(client.output("inv_1", int), Operation[Ready[int] | Unready])
        assert_type(await client.attach("inv_1", Order), Order)
        assert_type(client.resolve_awakeable("awk_1", 1), Operation[bool])
        assert_type(await client.cancel("inv_1"), bool)


def outside_without_a_loop() -> None:
    with SyncClient("https://example.com", timeout=30, auth=SigV4(region="eu-central-1")) as client:
        call = client.object_client(Counter, "Mary").add(1)
        assert_type(client.result(call, timeout=timedelta(seconds=1)), int)
        assert_type(client.result(call.cancel()), bool)
        assert_type(client.result(client.output("inv_1", int)), Ready[int] | Unready)
        client.flush()


entry = lambda_handler(Greeter, Counter, SignUp, CornerShop, Payment(lambda order: True), lambda: Payment(bool))


async def in_tests() -> None:
    async with Environment(Greeter, Counter(), replay=True) as env:
        assert_type(env.object_client(Counter, "Mary").add(1), Invocation[int])
        assert_type(await env.service_client(Greeter).greet("Mary"), str)
        await env.advance(timedelta(days=30))
        assert_type(env.now, datetime)
        assert_type(await env.state(Counter, "Mary"), dict[str, Any])
        assert_type((await env.journal("inv_1"))[0].command, str)
        assert_type(await env.status(env.object_client(Counter, "Mary").total()), str | None)
        env.crash(3, applied=True)
