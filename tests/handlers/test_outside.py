"""Results from outside: awakeables, durable promises, signals."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from adapter import (
    Context,
    Ready,
    Service,
    TerminalError,
    TimedOutError,
    Unready,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    gather,
    handler,
)
from adapter.testing import StuckError
from tests.handlers.conftest import Environments


class Receipt(BaseModel):
    cents: int


class Shop(Service):
    def __init__(self) -> None:
        self.asked: list[str] = []

    @handler
    async def order(self, ctx: Context) -> Receipt:
        payment = ctx.awakeable(Receipt)
        await ctx.run("ask", self.asked.append, payment.id)
        return await payment

    @handler
    async def patient(self, ctx: Context) -> str:
        payment = ctx.awakeable(str)
        await ctx.run("ask", self.asked.append, payment.id)
        try:
            async with ctx.timeout(timedelta(days=1)):
                return await payment
        except TimedOutError as error:
            return str(error)

    @handler
    async def give(self, ctx: Context, id: str) -> list[bool]:
        first = await ctx.resolve_awakeable(id, Receipt(cents=5))
        return [first, await ctx.resolve_awakeable(id, Receipt(cents=6)), await ctx.reject_awakeable(id, "late")]

    @handler
    async def give_and_go(self, ctx: Context, id: str) -> None:
        ctx.resolve_awakeable(id, Receipt(cents=7))

    @handler
    async def refuse(self, ctx: Context, id: str) -> bool:
        return await ctx.reject_awakeable(id, "declined", code=402)

    @handler
    async def both(self, ctx: Context) -> tuple[int, int]:
        one, two = ctx.awakeable(int), ctx.awakeable(int)
        await ctx.run("ask", self.asked.extend, [one.id, two.id])
        return await gather(one, two)


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> str:
        ctx.set("email", email)
        code = ctx.promise("code", str)
        first = await code
        assert (await code, code.done) == (first, True)
        await ctx.promise("ran", int).resolve(len(first))
        return first

    @handler
    async def confirm(self, ctx: WorkflowSharedContext, code: str) -> bool:
        return await ctx.promise("code", str).resolve(code)

    @handler
    async def give_up(self, ctx: WorkflowSharedContext) -> bool:
        return await ctx.promise("code", str).reject("gave up", code=410)

    @handler
    async def look(self, ctx: WorkflowSharedContext) -> str | None:
        ctx.promise("never asked for", int)
        return await ctx.promise("code", str).peek()

    @handler
    async def wait(self, ctx: WorkflowSharedContext) -> int:
        return await ctx.promise("ran", int)

    @handler
    async def email(self, ctx: WorkflowSharedContext) -> str | None:
        return await ctx.get("email", str)


class Vote(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> list[bool | int | None]:
        votes, closed = ctx.promise("votes", int), ctx.promise("closed", int)
        said = [await votes.peek(), await closed.reject("it is closed", code=423), await closed.reject("again")]
        votes.resolve(3)
        return [*said, await votes, await votes.peek(), await votes.resolve(4)]

    @handler
    async def wait(self, ctx: WorkflowSharedContext) -> int:
        return await ctx.promise("closed", int)


class Machine(Service):
    @handler
    async def listen(self, ctx: Context, count: int) -> list[int]:
        got: list[int] = []
        while len(got) < count:
            got.append(await ctx.signal("number", int))
            await ctx.sleep(timedelta(minutes=1))
        return got

    @handler
    async def tell(self, ctx: Context, id: str) -> list[bool]:
        heard = [await ctx.send_signal(id, "number", n) for n in (1, 2)]
        ctx.send_signal(id, "number", 3)
        return [*heard, await ctx.send_signal("inv_" + "a" * 32, "number", 1)]


async def test_an_awakeable_is_resolved_once(environment: Environments) -> None:
    shop = Shop()
    env = environment(shop)
    order = env.service_client(Shop).order()
    await env.settle()
    [id] = shop.asked
    assert await env.status(order) == "suspended"
    assert await env.service_client(Shop).give(id) == [True, False, False]
    assert await order == Receipt(cents=5)


async def test_an_awakeable_is_resolved_without_waiting(environment: Environments) -> None:
    shop = Shop()
    env = environment(shop)
    order = env.service_client(Shop).order()
    await env.settle()
    await env.service_client(Shop).give_and_go(shop.asked[0])
    assert await order == Receipt(cents=7)
    assert not await env.resolve_awakeable("awk_nonsense", 1)


async def test_an_awakeable_is_rejected(environment: Environments) -> None:
    shop = Shop()
    env = environment(shop)
    order = env.service_client(Shop).order()
    await env.settle()
    assert await env.service_client(Shop).refuse(shop.asked[0])
    with pytest.raises(TerminalError, match="declined") as declined:
        await order
    assert declined.value.code == 402


@pytest.mark.parametrize("first", [0, 1])
async def test_awakeables_come_in_any_order(environment: Environments, first: int) -> None:
    shop = Shop()
    env = environment(shop)
    both = env.service_client(Shop).both()
    await env.settle()
    for n in (first, 1 - first):
        assert not both.done
        assert await env.resolve_awakeable(shop.asked[n], n)
        await env.settle()
    assert await both == (0, 1)


async def test_patience_ends(environment: Environments) -> None:
    shop = Shop()
    env = environment(shop)
    assert await env.service_client(Shop).patient() == "not done within 1 day, 0:00:00"
    patient = env.service_client(Shop).patient()
    await env.advance(timedelta(hours=23))
    assert await env.resolve_awakeable(shop.asked[-1], "here")
    assert await patient == "here"


async def test_what_nobody_gives_is_said(environment: Environments) -> None:
    env = environment(Shop)
    with pytest.raises(StuckError, match=r"Shop/order \(inv_.*\) is suspended and waits for awakeable"):
        await env.service_client(Shop).order()


async def test_promises(environment: Environments) -> None:
    env = environment(SignUp)
    sign_up = env.workflow_client(SignUp, "x")
    run = sign_up.run("mary@example.com")
    waiting = [sign_up.wait() for _ in range(5)]
    assert await sign_up.look() is None
    assert await sign_up.confirm("12345")
    assert not await sign_up.confirm("6")
    assert not await sign_up.give_up()
    assert await sign_up.look() == "12345"
    assert await run == "12345"
    assert [await each for each in waiting] == [5] * 5
    assert await sign_up.look() == "12345"


async def test_a_promise_is_given_before_it_is_asked_for(environment: Environments) -> None:
    env = environment(SignUp)
    assert await env.workflow_client(SignUp, "x").confirm("1")
    assert await env.workflow_client(SignUp, "x").run("mary@example.com") == "1"


async def test_all_of_a_workflow_is_gone_at_once(environment: Environments) -> None:
    env = environment(SignUp)
    sign_up = env.workflow_client(SignUp, "x")
    run = sign_up.run("mary@example.com")
    assert await sign_up.confirm("1")
    assert await run == "1"

    async def seen() -> list[object]:
        return [
            await env.output(run.id, str),
            await sign_up.email(),
            await sign_up.look(),
            await env.state(SignUp, "x"),
        ]

    await env.advance(timedelta(hours=23, minutes=59))
    assert await seen() == [Ready("1"), "mary@example.com", "1", {"email": "mary@example.com"}]
    await env.advance(timedelta(minutes=1, seconds=2))
    assert await seen() == [Unready.NOT_FOUND, None, None, {}]
    with pytest.raises(TerminalError) as gone:
        await env.attach(run.id)
    assert gone.value.code == 404
    assert await sign_up.confirm("2")
    assert await sign_up.run("john@example.com") == "2"


async def test_a_promise_is_rejected(environment: Environments) -> None:
    env = environment(SignUp)
    run = env.workflow_client(SignUp, "x").run("mary@example.com")
    await env.settle()
    assert await env.workflow_client(SignUp, "x").give_up()
    for asked in (run, env.workflow_client(SignUp, "x").look()):
        with pytest.raises(TerminalError, match="gave up") as gone:
            await asked
        assert gone.value.code == 410


async def test_a_run_completes_promises(environment: Environments) -> None:
    env = environment(Vote)
    waiting = env.workflow_client(Vote, "x").wait()
    await env.settle()
    assert await env.workflow_client(Vote, "x").run() == [None, True, False, 3, 3, False]
    with pytest.raises(TerminalError, match="it is closed") as closed:
        await waiting
    assert closed.value.code == 423


async def test_signals(environment: Environments) -> None:
    env = environment(Machine)
    listening = env.service_client(Machine).listen(4)
    await env.settle()
    assert await env.service_client(Machine).tell(listening.id) == [True, True, False]
    await env.advance(timedelta(hours=1))
    assert not listening.done
    assert await env.send_signal(listening.id, "number", 4)
    assert sorted(await listening) == [1, 2, 3, 4]
    assert not await env.send_signal(listening.id, "number", 5)
