"""Steps, state, time and chance."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from adapter import (
    Context,
    ObjectContext,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    gather,
    handler,
)
from adapter.testing import StuckError
from tests.handlers.conftest import Environments


class Worker(Service):
    def __init__(self) -> None:
        self.runs: list[str] = []
        self.failures = 2

    def work(self, name: str) -> str:
        self.runs.append(name)
        return name.upper()

    async def fetch(self, name: str) -> str:
        return self.work(name)

    def flaky(self) -> str:
        self.runs.append("flaky")
        self.failures -= 1
        if self.failures >= 0:
            raise ConnectionError("try again")
        return "done"

    @handler
    async def steps(self, ctx: Context) -> list[str]:
        one = await ctx.run("one", self.work, "a")
        two, three = await gather(ctx.run("two", self.fetch, "b"), ctx.run("three", self.work, "c"))
        return [one, two, three]

    @handler
    async def retried(self, ctx: Context) -> str:
        return await ctx.run("flaky", self.flaky, retry=RetryPolicy(attempts=5))

    @handler
    async def given_up(self, ctx: Context) -> str:
        return await ctx.run("flaky", self.flaky, retry=RetryPolicy(attempts=2))

    @handler
    async def attempts(self, ctx: Context) -> str:
        await ctx.run("one", self.work, "a")
        return await ctx.run("flaky", self.flaky)

    @handler(retry=RetryPolicy(attempts=3))
    async def broken(self, ctx: Context) -> str:
        self.runs.append("broken")
        raise ValueError("a bug")

    @handler
    async def declined(self, ctx: Context) -> str:
        def decline() -> str:
            raise TerminalError("declined", code=402)

        try:
            return await ctx.run("decline", decline)
        except TerminalError as error:
            return f"{error.code}"

    @handler
    async def same_again(self, ctx: Context) -> list[str]:
        before = [str(ctx.uuid()), str(ctx.random.random()), (await ctx.now()).isoformat()]
        await ctx.sleep(timedelta(minutes=1))
        after = await ctx.run("look", lambda: before)
        assert before == after
        return before

    @handler
    async def month(self, ctx: Context) -> datetime:
        await ctx.sleep(timedelta(days=30))
        return await ctx.now()


class Cart(VirtualObject):
    @handler
    async def change(self, ctx: ObjectContext) -> list[str]:
        ctx.set("apples", 1)
        ctx.set("pears", 2)
        await ctx.sleep(timedelta(seconds=1))
        ctx.clear("apples")
        keys = await ctx.state_keys()
        assert await ctx.get("apples", int) is None
        ctx.set("raw", b"\xff")
        return keys

    @handler
    async def empty(self, ctx: ObjectContext) -> list[str]:
        ctx.clear_all()
        return await ctx.state_keys()


async def test_steps_run_once(environment: Environments) -> None:
    worker = Worker()
    env = environment(worker)
    assert await env.service_client(Worker).steps() == ["A", "B", "C"]
    assert sorted(worker.runs) == ["a", "b", "c"]


async def test_steps_are_retried_by_their_own_policy(environment: Environments) -> None:
    worker = Worker()
    env = environment(worker)
    assert await env.service_client(Worker).retried() == "done"
    assert worker.runs == ["flaky"] * 3
    worker.failures = 2
    with pytest.raises(TerminalError, match="'flaky' failed 2 times: ConnectionError: try again"):
        await env.service_client(Worker).given_up()
    assert await env.service_client(Worker).declined() == "402"


async def test_attempts_are_retried_and_steps_that_are_done_are_not(environment: Environments) -> None:
    worker = Worker()
    env = environment(worker)
    assert await env.service_client(Worker).attempts() == "done"
    assert worker.runs == ["a", "flaky", "flaky", "flaky"]


async def test_a_handler_that_never_works_is_paused(environment: Environments) -> None:
    worker = Worker()
    env = environment(worker)
    broken = env.service_client(Worker).broken()
    with pytest.raises(StuckError, match=r"Worker/broken .* is paused .* ValueError: a bug"):
        await broken
    assert len(worker.runs) == 3


async def test_chance_and_time_are_the_same_on_replay(environment: Environments) -> None:
    env = environment(Worker)
    assert await env.service_client(Worker).same_again() != await env.service_client(Worker).same_again()


async def test_a_month_takes_no_time(environment: Environments) -> None:
    env = environment(Worker)
    began = env.now
    month = env.service_client(Worker).month()
    await env.advance(timedelta(days=29))
    assert await env.status(month) == "suspended"
    assert [str(entry) for entry in await env.journal(month)] == ["sleep"]
    assert await month - began == timedelta(days=30)


async def test_state(environment: Environments) -> None:
    env = environment(Cart)
    assert await env.object_client(Cart, "x").change() == ["pears"]
    assert await env.state(Cart, "x") == {"pears": 2, "raw": b"\xff"}
    assert await env.object_client(Cart, "x").empty() == []
    assert await env.state(Cart, "x") == {}
