"""Log lines: one for each invocation that ends, and one for each failed attempt."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import (
    Context,
    RetryPolicy,
    Service,
    TerminalError,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
)
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.logs import HandlerLogger
from adapter.observed import name_attempt
from adapter.registry import Registry
from adapter.testing import Environment, StuckError


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "adapter")


def about(record: logging.LogRecord, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


class Shop(Service):
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    @handler
    async def order(self, ctx: Context, item: str) -> str:
        await ctx.sleep(timedelta(minutes=1))
        if not item:
            raise TerminalError("the basket is empty", code=409)
        return item

    @handler(retry=RetryPolicy(initial=timedelta(seconds=2), attempts=3))
    async def pay(self, ctx: Context) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ValueError(f"{self.failures} more")

    @handler(retry=RetryPolicy(attempts=1, exhausted="kill"))
    async def pay_once(self, ctx: Context) -> None:
        raise ValueError("never")

    @handler(retry=RetryPolicy(initial=timedelta(seconds=1), attempts=None))
    async def pay_at_last(self, ctx: Context) -> None:
        await self.pay.fn(ctx)

    @handler
    async def pay_in_a_step(self, ctx: Context) -> None:
        policy = RetryPolicy(initial=timedelta(seconds=30), attempts=2)
        await ctx.run("pay", self.fail_once, retry=policy)

    def fail_once(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ValueError("no answer")


class Chatty(Service):
    @handler
    async def talk(self, ctx: Context) -> None:
        ctx.logger.info("began", extra={"invocation_id": "mine", "item": 7})
        logging.getLogger("plain").info("began")
        await ctx.run("step", self.step, ctx.logger)
        ctx.logger.info("ended after %s", "a step")
        ctx.logger.debug("no debug line is asked for")

    def step(self, logger: HandlerLogger) -> None:
        logger.info("in a step")


class Signed(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> str:
        return await ctx.promise("name", str)

    @handler
    async def sign(self, ctx: WorkflowSharedContext, name: str) -> None:
        await ctx.promise("name", str).resolve(name)


async def test_an_invocation_that_completes_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop) as env:
        order = env.service_client(Shop).order("pear")
        await order
    (record,) = caplog.records
    assert record.message == "completed after 1.0 min in 2 attempts"
    assert about(record, "levelname", "invocation_id", "target", "outcome", "duration_ms", "attempts") == {
        "levelname": "INFO",
        "invocation_id": order.id,
        "target": "Shop/order",
        "outcome": "completed",
        "duration_ms": 60_000,
        "attempts": 2,
    }


async def test_an_invocation_that_fails_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop) as env:
        with pytest.raises(TerminalError):
            await env.service_client(Shop).order("")
    (record,) = caplog.records
    assert record.message == "failed with 409 after 1.0 min in 2 attempts: the basket is empty"
    assert about(record, "outcome", "code") == {"outcome": "failed", "code": 409}


async def test_a_failed_attempt_says_which_of_how_many_and_when_the_next_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Environment(Shop(failures=2)) as env:
        await env.service_client(Shop).pay()
    assert [record.message for record in caplog.records] == [
        "attempt failed (1 of 3; next in 2.0 s): ValueError: 1 more",
        "attempt failed (2 of 3; next in 4.0 s): ValueError: 0 more",
        "completed after 6.0 s in 3 attempts",
    ]
    assert about(caplog.records[1], "target", "attempt", "failures", "retry_in_ms") == {
        "target": "Shop/pay",
        "attempt": 2,
        "failures": 2,
        "retry_in_ms": 4000,
    }


async def test_the_last_attempt_says_what_becomes_of_the_invocation(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop(failures=3)) as env:
        with pytest.raises(StuckError):
            await env.service_client(Shop).pay()
        with pytest.raises(TerminalError):
            await env.service_client(Shop).pay_once()
    assert [record.message for record in caplog.records[2:]] == [
        "attempt failed (3 of 3; paused until it is resumed): ValueError: 0 more",
        "attempt failed (1 of 1; given up): ValueError: never",
        "failed with 500 after 0 ms in 1 attempt: gave up after 1 attempts: ValueError: never",
    ]


async def test_attempts_without_limit_are_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop(failures=1)) as env:
        await env.service_client(Shop).pay_at_last()
    assert caplog.records[0].message == "attempt failed (1 of any number; next in 1.0 s): ValueError: 0 more"


async def test_each_try_of_a_step_with_a_policy_of_its_own_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop(failures=1)) as env:
        await env.service_client(Shop).pay_in_a_step()
    assert [record.message for record in caplog.records] == [
        "step 'pay' failed (1 of 2; next in 30.0 s): ValueError: no answer",
        "completed after 30.0 s in 2 attempts",
    ]
    assert about(caplog.records[0], "target", "step", "failures", "retry_in_ms") == {
        "target": "Shop/pay_in_a_step",
        "step": "pay",
        "failures": 1,
        "retry_in_ms": 30_000,
    }


async def test_the_last_try_of_a_step_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Shop(failures=2)) as env:
        with pytest.raises(TerminalError):
            await env.service_client(Shop).pay_in_a_step()
    assert [record.message for record in caplog.records[1:]] == [
        "step 'pay' failed (2 of 2; given up): ValueError: no answer",
        "failed with 500 after 30.0 s in 2 attempts: step 'pay' failed 2 times: ValueError: no answer",
    ]


async def test_a_contexts_logger_writes_no_line_again_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Environment(Chatty, replay=True) as env:
        call = env.service_client(Chatty).talk()
        await call
    lines = [record for record in caplog.records if record.name == "Chatty"]
    assert [record.message for record in lines] == ["began", "in a step", "ended after a step"]
    assert {(record.invocation_id, record.target) for record in lines} == {(call.id, "Chatty/talk")}  # type: ignore[attr-defined]
    assert about(lines[0], "item") == {"item": 7}
    assert [record.message for record in caplog.records if record.name == "plain"] == ["began", "began"]


async def test_other_loggers_are_told_apart_by_the_filter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    registry = Registry(Chatty)
    caplog.handler.addFilter(name_attempt)
    async with running(registry, MemoryStore()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = await http.post("/Chatty/talk")
    (plain,) = (record for record in caplog.records if record.name == "plain")
    assert about(plain, "invocation_id", "target", "attempt", "replaying") == {
        "invocation_id": answer.headers["x-restate-id"],
        "target": "Chatty/talk",
        "attempt": 1,
        "replaying": False,
    }
    (end,) = (record for record in caplog.records if record.message.startswith("completed"))
    assert not hasattr(end, "replaying")


async def test_a_promise_is_no_invocation(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Signed) as env:
        run = env.workflow_client(Signed, "1").run()
        await env.workflow_client(Signed, "1").sign("Mary")
        assert await run == "Mary"
    assert sorted(getattr(record, "target", "") for record in caplog.records) == ["Signed/1/run", "Signed/1/sign"]
