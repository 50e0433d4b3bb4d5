"""Failures carry more than a message: metadata, a time to try again, and why they happened."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapter import (
    Context,
    DeadlockError,
    InvocationCancelledError,
    ObjectContext,
    RetryableError,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)
from adapter.testing import StuckError
from tests.handlers.conftest import Environments

DETAILS = {"account": "7", "limit": "100 €"}


class Bank(Service):
    def __init__(self) -> None:
        self.tries = 0

    def refuse(self) -> int:
        raise TerminalError("over the limit", code=402, metadata=DETAILS)

    def busy(self) -> int:
        self.tries += 1
        if self.tries < 3:
            raise RetryableError("rate limit", retry_after=timedelta(minutes=self.tries))
        return self.tries

    @handler
    async def pay(self, ctx: Context) -> int:
        return await ctx.run("pay", self.refuse)

    @handler
    async def call(self, ctx: Context) -> int:
        return await ctx.service_client(Bank).pay()

    @handler
    async def attached(self, ctx: Context, id: str) -> int:
        return await ctx.attach(id, int)

    @handler
    async def throttled(self, ctx: Context) -> int:
        return await ctx.run("ask", self.busy)

    @handler
    async def throttled_step(self, ctx: Context) -> int:
        return await ctx.run("ask", self.busy, retry=RetryPolicy(attempts=5))

    @handler
    async def impatient(self, ctx: Context) -> int:
        return await ctx.run("ask", self.busy, retry=RetryPolicy(duration=timedelta(seconds=30)))

    @handler
    async def throttled_itself(self, ctx: Context) -> int:
        if self.tries < 3:
            self.tries += 1
            raise RetryableError(retry_after=60)
        return self.tries

    @handler
    async def empty(self, ctx: Context) -> int:
        return await ctx.run("count", self.out_of_stock, retry=RetryPolicy(attempts=5))

    @handler(retry=RetryPolicy(attempts=1, exhausted="kill"))
    async def empty_itself(self, ctx: Context) -> int:
        return self.out_of_stock()

    def out_of_stock(self) -> int:
        self.tries += 1
        if self.tries == 1:
            raise RetryableError("out of stock", pause=True)
        return self.tries

    @handler
    async def listen(self, ctx: Context) -> list[str]:
        heard: list[str] = []
        for _ in range(2):
            try:
                heard.append(await ctx.signal("go", str))
            except TerminalError as error:
                heard.append(f"{error} {error.code} {error.metadata}")
        return heard

    @handler
    async def reject(self, ctx: Context, id: str) -> list[bool]:
        first = await ctx.reject_signal(id, "go", "no", code=410, metadata=DETAILS)
        return [first, await ctx.send_signal(id, "go", "yes")]


class Vote(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> None:
        await ctx.promise("result").reject("tie", code=409, metadata=DETAILS)
        await ctx.promise("result")


class Fork(VirtualObject):
    @handler
    async def take(self, ctx: ObjectContext, other: str | None = None) -> str:
        if other is None:
            return "free"
        await ctx.sleep(timedelta(seconds=1))
        try:
            return await ctx.object_client(Fork, other).take(None)
        except DeadlockError as error:
            return f"{error.code} {error}"


class Sleeper(Service):
    def __init__(self) -> None:
        self.undone: list[str] = []

    @handler
    async def wait(self, ctx: Context) -> str:
        try:
            await ctx.sleep(timedelta(days=1))
        except InvocationCancelledError as error:
            return f"{error.code} {error}"
        return "slept"

    @handler
    async def call(self, ctx: Context) -> str:
        try:
            return await ctx.service_client(Sleeper).give_in()
        except InvocationCancelledError as error:
            return f"called: {error}"

    @handler
    async def give_in(self, ctx: Context) -> str:
        await ctx.sleep(timedelta(days=1))
        return "slept"


@pytest.mark.parametrize("way", ["pay", "call", "attached"])
async def test_metadata_travels_from_a_step_to_every_caller(environment: Environments, way: str) -> None:
    env = environment(Bank)
    bank = env.service_client(Bank)
    failed = bank.pay()
    calls = {"pay": lambda: failed, "call": bank.call, "attached": lambda: bank.attached(failed.id)}
    with pytest.raises(TerminalError, match="over the limit") as error:
        await calls[way]()
    assert (error.value.code, error.value.metadata) == (402, DETAILS)


async def test_metadata_travels_through_awakeables_promises_and_signals(environment: Environments) -> None:
    env = environment(Bank, Vote)
    with pytest.raises(TerminalError, match="tie") as error:
        await env.workflow_client(Vote, "1").run()
    assert error.value.metadata == DETAILS
    listening = env.service_client(Bank).listen()
    assert await env.service_client(Bank).reject(listening.id) == [True, True]
    assert await listening == [f"no 410 {DETAILS}", "yes"]
    again = env.service_client(Bank).listen()
    assert await env.reject_signal(again.id, "go", "late", metadata=DETAILS)
    assert await env.send_signal(again.id, "go", "yes")
    assert await again == [f"late 500 {DETAILS}", "yes"]


@pytest.mark.parametrize("way", ["throttled", "throttled_step", "throttled_itself"])
async def test_the_next_try_begins_when_the_exception_says(environment: Environments, way: str) -> None:
    bank = Bank()
    env = environment(bank)
    before = env.now
    client = env.service_client(Bank)
    calls = {"throttled": client.throttled, "throttled_step": client.throttled_step}
    assert await calls.get(way, client.throttled_itself)() == 3
    assert timedelta(minutes=1) < env.now - before < timedelta(minutes=4)


@pytest.mark.parametrize("way", ["empty", "empty_itself"])
async def test_the_exception_asks_to_pause(environment: Environments, way: str) -> None:
    bank = Bank()
    client = environment(bank).service_client(Bank)
    with pytest.raises(StuckError, match=r"Bank/empty.* is paused .* RetryableError: out of stock"):
        await {"empty": client.empty, "empty_itself": client.empty_itself}[way]()
    assert bank.tries == 1


async def test_a_steps_policy_counts_the_time_that_the_exception_asks_for(environment: Environments) -> None:
    env = environment(Bank)
    with pytest.raises(TerminalError, match="failed 1 times: RetryableError: rate limit"):
        await env.service_client(Bank).impatient()


async def test_a_cancellation_has_a_type_of_its_own(environment: Environments) -> None:
    env = environment(Sleeper)
    for call, said in (
        (env.service_client(Sleeper).wait(), "409 cancelled"),
        (env.service_client(Sleeper).call(), "called: cancelled"),
    ):
        await env.settle()
        assert await call.cancel()
        assert await call == said
    given_up = env.service_client(Sleeper).give_in()
    await env.settle()
    await given_up.cancel()
    with pytest.raises(InvocationCancelledError):
        await given_up


async def test_a_deadlock_has_a_type_and_a_code_of_its_own(environment: Environments) -> None:
    env = environment(Fork)
    a, b = env.object_client(Fork, "a").take("b"), env.object_client(Fork, "b").take("a")
    said = sorted([await a, await b])
    assert said[0].startswith("508 deadlock: Fork/")
    assert said[1] == "free"
