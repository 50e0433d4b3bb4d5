"""Deliberate mistakes. Both checkers flag each line that is marked `# E`, and no other."""

# pyright: strict

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta

import httpx

from adapter import (
    Client,
    Context,
    ObjectContext,
    ObjectSharedContext,
    Operation,
    RetryPolicy,
    Service,
    SyncClient,
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


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        return amount

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        ctx.set("total", 1)  # E
        ctx.clear("total")  # E
        return 0

    @handler
    async def step(self, ctx: ObjectContext, by: int = 1) -> int:
        return by


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        await ctx.get("total", int)  # E
        return ctx.key  # E

    def helper(self) -> str:
        return ""


class Payment(Service):
    def __init__(self, gateway: Callable[[str], bool]) -> None:
        self.gateway = gateway

    @handler
    async def pay(self, ctx: Context, order: str) -> bool:
        return self.gateway(order)


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> bool:
        return True

    @handler
    async def status(self, ctx: WorkflowSharedContext) -> str:
        ctx.set("status", "")  # E
        return ""


class Shop(Service):
    @handler
    @abstractmethod
    async def order(self, ctx: Context, item: str) -> int: ...

    @handler
    @abstractmethod
    async def close(self, ctx: Context) -> None: ...


class OtherInput(Shop):
    @handler
    async def order(self, ctx: Context, item: int) -> int:  # E
        return 0


class OtherOutput(Shop):
    @handler
    async def order(self, ctx: Context, item: str) -> str:  # E
        return ""


class NoInput(Shop):
    @handler
    async def order(self, ctx: Context) -> int:  # E
        return 0


class NoHandler(Shop):
    async def order(self, ctx: Context, item: str) -> int:  # E
        return 0


class OtherKind(Counter):
    @handler
    async def add(self, ctx: ObjectSharedContext, amount: int) -> int:  # E
        return amount


class Options(Service, typo=1):  # E
    @handler(private="yes")  # E
    async def private(self, ctx: Context) -> None: ...

    @handler(idempotency_retention=5)  # E
    async def kept(self, ctx: Context) -> None: ...

    @handler(unknown=True)  # E
    async def unknown(self, ctx: Context) -> None: ...

    @handler  # E
    def plain(self, ctx: Context) -> None: ...

    @handler  # E
    async def two(self, ctx: Context, a: int, b: int) -> None: ...


class Kept(Service, idempotency_retention=5): ...  # E


class Formatted(Service, serde="json"): ...  # E


async def calls(ctx: Context) -> None:
    ctx.service_client(Greeter).greet(1)  # E
    ctx.service_client(Greeter).greet()  # E
    ctx.service_client(Greeter).greet("a", "b")  # E
    ctx.service_client(Greeter).greet(name="a")  # E
    ctx.service_client(Greeter).gret("a")  # E
    ctx.object_client(Counter, "Mary").add("x")  # E
    ctx.object_client(Counter, "Mary").add()  # E
    ctx.object_client(Counter, "Mary").total(1)  # E
    ctx.object_client(Counter, "Mary").step("x")  # E
    ctx.object_client(Counter, "Mary").subtract(1)  # E
    ctx.workflow_client(SignUp, "Mary").run(5)  # E
    ctx.workflow_client(SignUp, "Mary").status("x")  # E
    ctx.service_client(Shop).order(1)  # E


async def clients(ctx: Context) -> None:
    ctx.service_client(Greeter, "key")  # E
    ctx.service_send_client(Greeter, "key")  # E
    ctx.object_client(Counter)  # E
    ctx.object_send_client(Counter)  # E
    ctx.workflow_client(SignUp)  # E
    ctx.object_client(Counter, 5)  # E
    ctx.workflow_client(SignUp, 5)  # E
    ctx.object_client(Counter, None)  # E
    ctx.service_client(Counter)  # E
    ctx.object_client(Greeter, "key")  # E
    ctx.object_client(SignUp, "key")  # E
    ctx.workflow_client(Counter, "key")  # E
    ctx.workflow_send_client(Greeter, "key")  # E
    ctx.service_client(int)  # E
    ctx.service_client("Greeter")  # E


async def results(ctx: Context) -> None:
    a: int = await ctx.service_client(Greeter).greet("a")  # E
    b: str = await ctx.object_client(Counter, "Mary").add(1)  # E
    c: str = ctx.service_client(Greeter).greet("a")  # E
    (await ctx.object_client(Counter, "Mary").total()).upper()  # E
    d: int = ctx.service_client(Greeter).greet("a").id  # E
    e: int = await ctx.workflow_client(SignUp, "Mary").status()  # E
    print(a, b, c, d, e)


async def options(ctx: Context) -> None:
    ctx.service_client(Greeter).greet("a", idempotency_key=5)  # E
    ctx.service_send_client(Greeter).greet("a", delay=5)  # E
    ctx.service_send_client(Greeter).greet("a", headers={"a": 1})  # E
    ctx.service_send_client(Greeter).greet("a", wait=True)  # E
    ctx.generic_call(service="a", method="b", parameter=1, delay=timedelta(1))  # E
    ctx.generic_call("a", "b", 1)  # E
    ctx.generic_send(service="a", method="b", parameter=1, delay=5)  # E
    f: str = await ctx.generic_call(service="a", method="b", parameter=1, output_serde=serde.of(int))  # E
    print(f)


def load(id: str, version: int) -> float:
    return version


async def fetch(id: str) -> str:
    return id


async def steps(ctx: Context) -> None:
    ctx.run("load", load, "1")  # E
    ctx.run("load", load, "1", "2")  # E
    ctx.run("load", load, "1", 2, 3)  # E
    ctx.run("load", load, "1", 2, retries=3)  # E
    ctx.run("load", load, "1", version="2")  # E
    ctx.run("load", load, "1", revision=2)  # E
    ctx.run("load", load, "1", version=2) + 1  # E
    print(ctx.run("load", load, "1", 2).amount)  # E
    ctx.run("load", load, "1", 2, retry=3)  # E
    ctx.run(load, "1", 2)  # E
    ctx.run("fetch", fetch("1"))  # E
    ctx.run("fetch", fetch, 1)  # E
    g: str = await ctx.run("load", load, "1", 2)  # E
    h: int = await ctx.run("fetch", fetch, "1")  # E
    i: int = await ctx.run("typed", lambda: "x", type=str)  # E
    ctx.sleep(5)  # E
    j: str = await ctx.now()  # E
    k: int = await ctx.attach("inv_1", str)  # E
    print(g, h, i, j, k)


async def state(ctx: ObjectContext) -> None:
    a: str | None = await ctx.get("total", int)  # E
    b: int = await ctx.get("total", int)  # E
    c: int = ctx.get("total", int)  # E
    d: list[int] | None = await ctx.get("tags", list[str])  # E
    e: int | None = await ctx.get("tags", serde=serde.of(str))  # E
    await ctx.get(1, int)  # E
    ctx.set("total")  # E
    ctx.request.id = "x"  # E
    print(a, b, c, d, e)


async def together(ctx: ObjectContext) -> None:
    call = ctx.service_client(Greeter).greet("Mary")
    a: tuple[int, int | None] = await gather(call, ctx.get("total", int))  # E
    b, c = await gather(call, call, call)  # E
    await gather(1, call)  # E
    d: tuple[int, ...] = await gather(*[call])  # E
    print(a, b, c, d)


async def own_code(ctx: Context, exclusive: ObjectContext) -> None:
    await Counter().add.fn(ctx, 1)  # E
    await Counter().add.fn(exclusive, "x")  # E
    await Counter().add.fn(exclusive)  # E
    e: str = await Counter().step.fn(exclusive)  # E
    await Greeter().greet.code(ctx, "x")  # E
    Counter.add(ctx, 1)  # E
    print(e)


async def outside(client: Client) -> None:
    await client.object_client(Counter, "Mary").add("x")  # E
    client.service_client(Greeter, "key")  # E
    Client("https://example.com", timeout="5")  # E
    SyncClient("https://example.com", http=httpx.AsyncClient())  # E


def outside_without_a_loop(client: SyncClient) -> None:
    a: str = client.object_client(Counter, "Mary").add(1)  # E
    b: str = client.result(client.object_client(Counter, "Mary").add(1))  # E
    client.result(1)  # E
    print(a, b)


RetryPolicy(attempts="3")  # E
lambda_handler(Greeter, Payment)  # E
lambda_handler("Greeter")  # E
lambda_handler(int)  # E
Shop()  # E


async def outside_results(ctx: Context, shared: WorkflowSharedContext, object: ObjectContext) -> None:
    a: int = await ctx.awakeable(str)  # E
    b: str = ctx.awakeable(str)  # E
    c: str = await shared.promise("email", int)  # E
    shared.promise("email", int).resolve("x")  # E
    shared.promise("email", int).reject()  # E
    shared.promise(5, int)  # E
    d: int = await shared.promise("email", int).peek()  # E
    ctx.promise("email", int)  # E
    object.promise("email", int)  # E
    e: str = await ctx.signal("go", int)  # E
    ctx.send_signal("inv_1")  # E
    ctx.resolve_awakeable(5)  # E
    ctx.reject_awakeable("awk_1")  # E
    ctx.reject_awakeable("awk_1", "no", code="402")  # E
    ctx.reject_awakeable("awk_1", "no", metadata={"card": 7})  # E
    ctx.reject_signal("inv_1", "go")  # E
    print(ctx.resolve_awakeable("awk_1", 5).id)  # E
    print(a, b, c, d, e)


async def handles(ctx: Context) -> None:
    output = await ctx.output("inv_1", int)
    print(output.result)  # E
    a: str = await ctx.attach("inv_1", int)  # E
    invocation_id(5, "add")  # E
    invocation_id(int, "add")  # E
    invocation_id(Payment.pay, "add")  # E
    invocation_id("Counter", "add", idempotency_key=5)  # E
    ctx.cancel(ctx.service_client(Greeter).greet("a"))  # E
    print(a)


async def whichever(ctx: Context) -> None:
    call = ctx.service_client(Greeter).greet("a")
    a: str = await select(call)  # E
    b: int = await (await select(call, call))  # E
    select(call, 5)  # E
    done, pending = await wait_completed(call)
    c: list[Operation[int]] = done  # E
    async for each in as_completed(call):
        d: int = await each  # E
        print(d)
    async with ctx.timeout(5):  # E
        await call
    with ctx.timeout(timedelta(1)):  # E
        await call
    await ctx.timeout(timedelta(1))  # E
    print(a, b, c, pending)


async def in_tests() -> None:
    async with Environment(Counter) as env:
        await env.advance(5)  # E
        env.object_client(Counter, "Mary").add("x")  # E
        await env.state("Counter", "Mary")  # E
        await env.journal(5)  # E
    Environment(Payment)  # E
