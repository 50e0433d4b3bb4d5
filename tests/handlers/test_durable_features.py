"""What durable functions have besides: batches, polling, heartbeats, steps that run at most once or may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from adapter import (
    Batch,
    Context,
    Failed,
    InvocationCancelledError,
    ObjectContext,
    RetryPolicy,
    Service,
    Succeeded,
    TerminalError,
    TimedOutError,
    Unfinished,
    VirtualObject,
    handler,
    map_items,
)
from adapter.testing import Environment
from tests.handlers.conftest import Environments

Flow = Callable[[Context], Awaitable[Any]]
MINUTE = timedelta(minutes=1)
NONE = [None, None]


class Flows(Service):
    """Runs what a test gives it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.at_once = self.most = 0

    @handler
    async def run(self, ctx: Context) -> Any:
        return await self.flow(ctx)

    @handler
    async def halve(self, ctx: Context, n: int) -> int:
        await ctx.sleep(timedelta(seconds=10 + n))
        if n % 2:
            raise TerminalError(f"{n} is odd")
        return n // 2


def told(batch: Batch[int]) -> list[Any]:
    outcomes = [
        each.result if isinstance(each, Succeeded) else str(each.error) if isinstance(each, Failed) else None
        for each in batch.outcomes
    ]
    assert all(isinstance(each, Succeeded | Failed | Unfinished) for each in batch.outcomes)
    return [str(batch.ending), *outcomes]


# --- batches ---


@pytest.mark.parametrize(
    ("items", "options", "result"),
    [
        ([2, 4, 6], {}, ["all", 1, 2, 3]),
        ([2, 3, 6, 8], {"max_concurrency": 1}, ["failures", 1, "3 is odd", None, None]),
        ([2, 3, 6], {"tolerated_failures": 1}, ["all", 1, "3 is odd", 3]),
        (
            [1, 3, 6, 8],
            {"tolerated_failures": 1, "max_concurrency": 2},
            ["failures", "1 is odd", "3 is odd", None, None],
        ),
        ([1, 3, 5, 8], {"tolerated_share": 0.75}, ["all", "1 is odd", "3 is odd", "5 is odd", 4]),
        ([1, 3, 5, 8], {"tolerated_share": 0.5}, ["failures", "1 is odd", "3 is odd", "5 is odd", None]),
        ([1, 3], {"tolerated_share": 1}, ["all", "1 is odd", "3 is odd"]),
        ([8, 6, 4, 2], {"min_successful": 2}, ["enough", None, None, 2, 1]),
        ([8, 6, 4], {"min_successful": 3}, ["all", 4, 3, 2]),
        ([], {"max_concurrency": 5}, ["all"]),
    ],
)
async def test_a_batch_keeps_the_outcome_of_each_item(
    environment: Environments, items: list[int], options: dict[str, Any], result: list[Any]
) -> None:
    async def flow(ctx: Context) -> list[Any]:
        return told(await map_items(items, ctx.service_client(Flows).halve, **options))

    assert await environment(Flows(flow)).service_client(Flows).run() == result


async def test_a_batch_works_on_so_many_items_at_once(environment: Environments) -> None:
    counts: list[int] = []

    async def flow(ctx: Context) -> list[int]:
        at_once = 0

        async def work(n: int) -> int:
            nonlocal at_once
            at_once += 1
            counts.append(at_once)
            await ctx.sleep(timedelta(seconds=n % 3))
            at_once -= 1
            return n

        return (await map_items(range(10), work, max_concurrency=3)).results()

    assert await environment(Flows(flow)).service_client(Flows).run() == [*range(10)]
    assert max(counts) == 3


async def test_a_batch_raises_the_first_failure_if_too_many_failed(environment: Environments) -> None:
    async def flow(ctx: Context) -> list[int]:
        return (await map_items([2, 3, 5], ctx.service_client(Flows).halve, max_concurrency=1)).results()

    with pytest.raises(TerminalError, match="3 is odd"):
        await environment(Flows(flow)).service_client(Flows).run()


async def test_an_exception_that_is_not_terminal_fails_the_attempt(environment: Environments) -> None:
    tries = count()

    async def flow(ctx: Context) -> list[int]:
        async def work(n: int) -> int:
            if n == 1 and next(tries) < 2:
                raise OSError("for now")
            return n

        return (await map_items([1, 2], work, max_concurrency=1)).results()

    assert await environment(Flows(flow)).service_client(Flows).run() == [1, 2]


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 1}, {"tolerated_share": 1}])
async def test_a_cancellation_ends_a_batch(environment: Environments, options: dict[str, Any]) -> None:
    async def flow(ctx: Context) -> str:
        try:
            await map_items([100, 200], ctx.service_client(Flows).halve, **options)
        except InvocationCancelledError:
            return "cancelled"
        return "not cancelled"

    env = environment(Flows(flow))
    call = env.service_client(Flows).run()
    await env.settle()
    await call.cancel()
    assert await call == "cancelled"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrency": 0}, "max_concurrency is at least 1"),
        ({"min_successful": -1}, "are not negative"),
        ({"tolerated_failures": -1}, "are not negative"),
        ({"tolerated_share": 2}, "tolerated_share is from 0 to 1"),
    ],
)
async def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    async def work(n: int) -> int:
        return n

    with pytest.raises(ValueError, match=message):
        await map_items([1], work, **options)


async def test_a_batch_without_conditions_resumes_its_handler_once() -> None:
    async def flow(ctx: Context) -> int:
        return len((await map_items(range(0, 20, 2), ctx.service_client(Flows).halve, tolerated_share=1)).results())

    async with Environment(Flows(flow)) as env:
        assert await env.service_client(Flows).run() == 10


# --- polling ---


async def test_waiting_until_something_is_so(environment: Environments) -> None:
    states = iter(["queued", "running", "running", "done"])

    async def flow(ctx: Context) -> str:
        return await ctx.wait_until("job", next, states, until=lambda state: state == "done")

    env = environment(Flows(flow))
    before = env.now
    assert await env.service_client(Flows).run() == "done"
    assert timedelta(seconds=1 + 1.5 + 2.25) <= env.now - before < timedelta(seconds=6)


@pytest.mark.parametrize(
    ("every", "polls"),
    [(RetryPolicy(MINUTE, 1, MINUTE, attempts=3), 3), (RetryPolicy(MINUTE, 1, MINUTE, None, duration=4.5 * MINUTE), 5)],
)
async def test_waiting_ends_by_its_limits(environment: Environments, every: RetryPolicy, polls: int) -> None:
    async def flow(ctx: Context) -> str:
        try:
            await ctx.wait_until("job", lambda: 0, every=every)
        except TimedOutError as error:
            return str(error)
        return "it is"

    assert await environment(Flows(flow)).service_client(Flows).run() == f"'job' is not as wanted after {polls} polls"


async def test_jitter_spreads_waits() -> None:
    policy = RetryPolicy(MINUTE, jitter=0.5)
    assert [policy.spread(1, drawn) for drawn in (0, 0.5, 1)] == [60, 45, 30]
    waits = {policy.wait(OSError(), 1) for _ in range(20)}
    assert len(waits) > 1
    assert all(30 <= wait <= 60 for wait in waits)
    with pytest.raises(ValueError, match="jitter is a share from 0 to 1"):
        RetryPolicy(jitter=2)


# --- heartbeats ---


class Jobs(Service):
    def __init__(self) -> None:
        self.ids: list[str] = []

    @handler
    async def work(self, ctx: Context) -> str:
        done = ctx.awakeable(str, heartbeat=MINUTE)
        await ctx.run("ask", self.ids.append, done.id)
        try:
            return await done
        except TimedOutError as error:
            return str(error)

    @handler
    async def beat(self, ctx: Context, id: str) -> bool:
        return await ctx.heartbeat_awakeable(id)


async def test_an_awakeable_fails_without_heartbeats(environment: Environments) -> None:
    jobs = Jobs()
    env = environment(jobs)
    before = env.now
    assert await env.service_client(Jobs).work() == "no heartbeat of the awakeable came within 1.0 min"
    assert MINUTE <= env.now - before < 2 * MINUTE
    work = env.service_client(Jobs).work()
    await env.settle()
    for _ in range(5):
        await env.advance(0.9 * MINUTE)
        assert await env.heartbeat_awakeable(jobs.ids[-1])
        assert await env.service_client(Jobs).beat(jobs.ids[-1])
        assert not work.done
    await env.advance(0.9 * MINUTE)
    assert await env.resolve_awakeable(jobs.ids[-1], "done")
    assert await work == "done"
    assert not await env.heartbeat_awakeable(jobs.ids[-1])
    with pytest.raises(ValueError, match="is not an awakeable's id"):
        env.heartbeat_awakeable("inv_1")


# --- steps ---


class Payments(Service):
    def __init__(self) -> None:
        self.charges = 0
        self.reads = 0
        self.failures = 0

    def charge(self) -> int:
        self.charges += 1
        if self.charges <= self.failures:
            raise OSError("no connection")
        return self.charges

    def read(self) -> int:
        self.reads += 1
        return self.reads

    @handler
    async def once(self, ctx: Context) -> str:
        try:
            return f"charged {await ctx.run('charge', self.charge, at_most_once=True)}"
        except TerminalError as error:
            return str(error)

    @handler
    async def thrice(self, ctx: Context) -> int:
        return await ctx.run("charge", self.charge, at_most_once=True, retry=RetryPolicy(MINUTE, attempts=3))

    @handler
    async def both(self, ctx: Context) -> int:
        return await ctx.run("charge", self.charge, at_most_once=True, defer=True)

    @handler
    async def deferred(self, ctx: Context, n: int) -> list[int]:
        return [await ctx.run("read", self.read, defer=True) for _ in range(n)]

    @handler
    async def parallel(self, ctx: Context, n: int) -> int:
        return sum(await asyncio.gather(*[ctx.run("read", self.read, defer=True) for _ in range(n)]))


class Wallet(VirtualObject):
    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> int:
        self.reads += 1
        return self.reads

    @handler
    async def deferred(self, ctx: ObjectContext, n: int) -> list[int]:
        return [await ctx.run("read", self.read, defer=True) for _ in range(n)]


async def test_a_step_runs_at_most_once_whatever_crashes() -> None:
    said: set[str] = set()
    for at in range(1, 10):
        for applied in (False, True):
            payments = Payments()
            async with Environment(payments) as env:
                env.crash(at, applied=applied)
                said.add(await env.service_client(Payments).once())
                assert payments.charges <= 1
    lost = "step 'charge' may have run in an earlier attempt, and is to run at most once"
    assert said == {"charged 1", lost}


async def test_a_step_that_runs_at_most_once_is_not_retried(environment: Environments) -> None:
    payments = Payments()
    payments.failures = 1
    said = await environment(payments).service_client(Payments).once()
    assert said == "step 'charge' failed 1 times: OSError: no connection"
    assert payments.charges == 1


async def test_a_step_that_runs_at_most_once_per_try_is_retried_by_its_policy(environment: Environments) -> None:
    payments = Payments()
    payments.failures = 2
    assert await environment(payments).service_client(Payments).thrice() == 3


async def test_a_step_cannot_be_both_at_most_once_and_deferred() -> None:
    async with Environment(Payments) as env:
        call = env.service_client(Payments).both()
        await env.settle()
        await env.advance(timedelta(seconds=1))
        assert "a deferred step may run again" in (await env.explain(call.id))


async def test_deferred_steps_are_recorded_with_the_next_commit(environment: Environments) -> None:
    env = environment(Payments, Wallet)
    assert await env.service_client(Payments).deferred(5) == [1, 2, 3, 4, 5]
    assert await env.service_client(Payments).parallel(5) == 6 + 7 + 8 + 9 + 10
    assert await env.object_client(Wallet, "a").deferred(3) == [1, 2, 3]


async def test_deferred_steps_save_requests() -> None:
    async with Environment(Payments, Wallet) as env:
        await env.object_client(Wallet, "a").deferred(0)
        costs: list[int] = []
        for n in (0, 1, 20):
            before = env.requests
            await env.service_client(Payments).deferred(n)
            costs.append(env.requests - before)
        assert costs[1] == costs[2] <= costs[0] + 1


async def test_deferred_steps_run_again_after_a_crash() -> None:
    for at in range(1, 6):
        payments = Payments()
        async with Environment(payments) as env:
            env.crash(at)
            results = await env.service_client(Payments).deferred(3)
            assert results == sorted(results)
            assert payments.reads in (3, 6)
