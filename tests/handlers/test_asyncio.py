"""asyncio in handlers: its clock, its tasks and its tools are deterministic, or say what to use instead."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import count, cycle
from typing import Any, cast

import pytest
from pydantic import BaseModel, SecretStr

from adapter import Context, JournalMismatchError, ObjectContext, Service, TerminalError, VirtualObject, handler
from adapter.errors import NonDeterminismError
from adapter.steps import in_thread
from adapter.testing import Environment, StuckError
from tests.handlers.conftest import Environments

Flow = Callable[[Context], Awaitable[Any]]


class Flows(Service):
    """Runs what a test gives it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @handler
    async def run(self, ctx: Context) -> Any:
        return await self.flow(ctx)

    @handler
    async def echo(self, ctx: Context, value: Any) -> Any:
        return value


class Box(VirtualObject):
    def __init__(self, draw: Callable[[], Any]) -> None:
        self.draw = draw

    @handler
    async def put(self, ctx: ObjectContext) -> None:
        ctx.set("value", self.draw())
        await ctx.sleep(timedelta(seconds=10))


def one() -> int:
    return 1


def two() -> int:
    return 2


# --- time ---


async def test_the_loops_time_is_durable_time(environment: Environments) -> None:
    async def flow(ctx: Context) -> list[Any]:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(6)
        slept = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(began + 10):
                await ctx.awakeable()
        except TimeoutError:
            pass
        return [round(slept - began), round(asyncio.get_running_loop().time() - began)]

    env = environment(Flows(flow))
    before = env.now
    assert await env.service_client(Flows).run() == [6, 10]
    assert env.now - before < timedelta(seconds=11)


async def test_a_deadline_that_has_passed_ends_the_block_at_once(environment: Environments) -> None:
    async def flow(ctx: Context) -> str:
        deadline = asyncio.get_running_loop().time() + 1
        await asyncio.sleep(5)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(100)
        except TimeoutError:
            return "out of time"
        return "slept"

    env = environment(Flows(flow))
    before = env.now
    assert await env.service_client(Flows).run() == "out of time"
    assert env.now - before < timedelta(seconds=6)


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
async def test_a_sleep_of_asyncio_is_bounded(seconds: float) -> None:
    async def flow(ctx: Context) -> str:
        try:
            await asyncio.sleep(seconds)
        except ValueError as error:
            return str(error)
        return "slept"

    async with Environment(Flows(flow)) as env:
        said = await env.service_client(Flows).run()
        assert said == f"a sleep or a timeout of {seconds} seconds is longer than 100 years"


# --- tasks over operations ---


async def in_task(ctx: Context) -> int:
    return await asyncio.create_task(ctx.run("one", one))  # type: ignore[arg-type]


async def in_group(ctx: Context) -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.run("one", one)), group.create_task(ctx.run("two", two))]  # type: ignore[arg-type]
    return sum(task.result() for task in tasks)


async def in_wait(ctx: Context) -> int:
    tasks = [asyncio.ensure_future(ctx.run(f"{n}", one)) for n in range(5)]
    done, pending = await asyncio.wait(tasks)
    return len(done) - len(pending)


async def in_wait_for(ctx: Context) -> int:
    return await asyncio.wait_for(ctx.run("one", one), 10)


async def in_shield(ctx: Context) -> int:
    return await asyncio.shield(ctx.run("one", one))


async def with_a_semaphore(ctx: Context) -> int:
    at_once, most = 0, 0
    limit = asyncio.Semaphore(2)

    async def work(n: int) -> None:
        nonlocal at_once, most
        async with limit:
            at_once += 1
            most = max(most, at_once)
            await ctx.sleep(timedelta(seconds=1 + n % 3))
            at_once -= 1

    await asyncio.gather(*[work(n) for n in range(6)])
    return most


async def with_a_queue(ctx: Context) -> int:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for n in range(4):
            await queue.put(await ctx.run(f"make {n}", lambda n=n: n, type=int))

    producer = asyncio.create_task(produce())
    total = 0
    for _ in range(4):
        total += await queue.get()
        await ctx.sleep(timedelta(seconds=1))
    await producer
    return total


async def with_an_event(ctx: Context) -> int:
    event = asyncio.Event()

    async def later() -> None:
        await ctx.sleep(timedelta(seconds=5))
        event.set()

    task = asyncio.create_task(later())
    await event.wait()
    await task
    return 1


@pytest.mark.parametrize(
    ("flow", "result"),
    [
        (in_task, 1),
        (in_group, 3),
        (in_wait, 5),
        (in_wait_for, 1),
        (in_shield, 1),
        (with_a_semaphore, 2),
        (with_a_queue, 6),
        (with_an_event, 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_asyncio_over_operations(environment: Environments, flow: Flow, result: int) -> None:
    env = environment(Flows(flow))
    assert await env.service_client(Flows).run() == result


async def test_wait_over_operations_says_what_to_use() -> None:
    async def flow(ctx: Context) -> None:
        with suppress(NonDeterminismError):
            await asyncio.wait({ctx.run("one", one)})  # type: ignore[type-var]

    async with Environment(Flows(flow)) as env:
        with pytest.raises(StuckError, match="takes tasks, not operations: use adapter"):
            await env.service_client(Flows).run()


# --- context variables, ends ---

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Tenants(Service):
    @handler
    async def tell(self, ctx: Context) -> str:
        return tenant.get()

    @handler
    async def call(self, ctx: Context) -> list[str]:
        tenant.set("caller")
        called = await ctx.service_client(Tenants).tell()
        sent = await ctx.service_send_client(Tenants).tell()
        return [tenant.get(), called, sent, await ctx.run("look", tenant.get)]


async def test_context_variables_are_the_same_however_a_handler_is_called(environment: Environments) -> None:
    env = environment(Tenants)
    assert await env.service_client(Tenants).call() == ["caller", "nobody", "nobody", "caller"]


async def test_a_finally_block_of_a_suspended_handler_has_no_effects(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def flow(ctx: Context) -> str:
        tenant.set("mine")
        try:
            await ctx.sleep(timedelta(days=1))
        finally:
            seen.append(tenant.get())
            ctx.logger.error("the end")
            await ctx.run("note", seen.append, "noted")
        return "end"

    caplog.set_level(logging.INFO)
    async with Environment(Flows(flow)) as env:
        call = env.service_client(Flows).run()
        await env.settle()
        assert await env.status(call) == "suspended"
        assert seen == ["mine"], "Python runs it, in its own context"
        assert not [record for record in caplog.records if record.getMessage() == "the end"]
        assert [entry.command for entry in await env.journal(call)] == ["sleep"]
        assert await call == "end"
        assert seen == ["mine", "mine", "noted"]
        assert len([record for record in caplog.records if record.getMessage() == "the end"]) == 1


async def test_all_blocks_of_a_suspended_handler_end_with_its_attempt(recwarn: pytest.WarningsRecorder) -> None:
    """Not when the garbage collector comes to them: then other code may run, in another context."""
    ended: list[tuple[str, str, bool]] = []

    def end(block: str) -> None:
        ended.append((block, tenant.get(), asyncio.get_running_loop() is loops[-1]))

    loops: list[asyncio.AbstractEventLoop] = []

    @asynccontextmanager
    async def managed(name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            end(name)

    async def generate(name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            end(name)

    def generate_plainly() -> Iterator[int]:
        try:
            yield 1
        finally:
            end("generator")

    async def sleep(ctx: Context, name: str) -> None:
        try:
            await ctx.sleep(timedelta(days=1))
        finally:
            try:
                await ctx.sleep(timedelta(days=1))
            finally:
                end(name)

    async def flow(ctx: Context) -> None:
        tenant.set("mine")
        loops.append(asyncio.get_running_loop())
        held, plain = generate("held"), generate_plainly()
        await anext(held), next(plain)
        circle: list[object] = [held]
        circle.append(circle)
        try:
            async with managed("with"), asyncio.TaskGroup() as group:
                group.create_task(sleep(ctx, "task"))
                async for _ in generate("for"):
                    await ctx.sleep(timedelta(days=1))
        finally:
            asyncio.create_task(sleep(ctx, "late"))  # noqa: RUF006
            end("finally")

    async with Environment(Flows(flow)) as env:
        call = env.service_client(Flows).run()
        await env.settle()
        assert await env.status(call) == "suspended"
        gc.collect()
        assert sorted(block for block, _, _ in ended) == sorted(["task", "for", "with", "finally", "generator", "held"])
        assert all(context == "mine" and own for _, context, own in ended), ended
        assert [entry.command for entry in await env.journal(call)] == ["sleep", "sleep"]
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning | pytest.PytestWarning)]


async def test_lines_of_an_attempt_that_cannot_continue_are_not_written(caplog: pytest.LogCaptureFixture) -> None:
    async def flow(ctx: Context) -> None:
        try:
            await ctx.run(f"step {random.random()}", one)
            await ctx.sleep(timedelta(seconds=10))
        finally:
            ctx.logger.error("the end")

    caplog.set_level(logging.INFO)
    async with Environment(Flows(flow)) as env:
        with pytest.raises(JournalMismatchError):
            await env.service_client(Flows).run()
    assert not [record for record in caplog.records if record.getMessage() == "the end"]


# --- what is not awaited ---


async def test_a_step_that_is_not_awaited_runs_before_the_handler_completes(environment: Environments) -> None:
    mails: list[str] = []

    async def flow(ctx: Context) -> str:
        ctx.run("mail", mails.append, "sent")
        return "done"

    env = environment(Flows(flow))
    assert await env.service_client(Flows).run() == "done"
    assert mails == ["sent"]


async def test_a_step_that_is_not_awaited_is_retried(environment: Environments) -> None:
    tries = count(1)

    async def flow(ctx: Context) -> str:
        ctx.run("mail", flaky)
        raise TerminalError("done")

    def flaky() -> None:
        if next(tries) < 3:
            raise OSError("no connection")

    env = environment(Flows(flow))
    with pytest.raises(TerminalError, match="done"):
        await env.service_client(Flows).run()
    assert next(tries) == 4


async def test_a_step_that_is_not_awaited_survives_a_crash() -> None:
    for at in range(1, 6):
        mails: list[str] = []

        async def flow(ctx: Context, mails: list[str] = mails) -> str:
            ctx.run("mail", mails.append, "sent")
            return "done"

        async with Environment(Flows(flow)) as env:
            env.crash(at)
            assert await env.service_client(Flows).run() == "done"
            assert mails


# --- code that differs from run to run ---


async def random_input(ctx: Context) -> None:
    await ctx.service_client(Flows).echo(random.random())


async def random_sleep(ctx: Context) -> None:
    await ctx.sleep(timedelta(seconds=random.randrange(1, 1_000_000)))


async def random_delay(ctx: Context) -> None:
    ctx.service_send_client(Flows).echo(1, delay=timedelta(seconds=random.randrange(1, 1_000_000)))
    await ctx.sleep(timedelta(seconds=1))


async def random_signal(ctx: Context) -> None:
    ctx.send_signal(ctx.request.id, "go", random.random())
    await ctx.sleep(timedelta(seconds=1))


async def real_time(ctx: Context) -> None:
    await ctx.service_client(Flows).echo(dt.datetime.now().isoformat())


async def random_header(ctx: Context) -> None:
    await ctx.service_client(Flows).echo(1, headers={"x-try": str(random.random())})


def take(*args: Any, **kwargs: Any) -> int:
    return len(args) + len(kwargs)


async def random_arguments(ctx: Context) -> None:
    await ctx.run("take", take, 1, [{"at": dt.datetime.now()}])


async def random_keyword(ctx: Context) -> None:
    await ctx.run("take", take, amount=random.random())


class Side(Enum):
    LEFT, RIGHT = 1, 2


async def random_member(ctx: Context, sides: Iterator[Side] = cycle(Side)) -> None:  # noqa: B008
    await ctx.run("take", take, next(sides))


class Card(BaseModel):
    number: SecretStr


@dataclass
class Order:
    card: Card


async def random_model(ctx: Context) -> None:
    await ctx.run("take", take, Order(Card(number=SecretStr(str(random.random())))))


@pytest.mark.parametrize(
    ("flow", "part"),
    [
        (random_input, "input"),
        (random_sleep, "milliseconds"),
        (random_delay, "delay"),
        (random_signal, "outcome"),
        (real_time, "input"),
        (random_header, "headers"),
        (random_arguments, "arguments"),
        (random_keyword, "arguments"),
        (random_member, "arguments"),
        (random_model, "arguments"),
    ],
)
async def test_replay_mode_compares_what_commands_contain(flow: Flow, part: str) -> None:
    async with Environment(Flows(flow)) as env:
        await env.service_client(Flows).run()
    async with Environment(Flows(flow), replay=True) as env:
        with pytest.raises(JournalMismatchError, match=f"command 0 is .* with another value of {part} than before"):
            await env.service_client(Flows).run()


async def test_replay_mode_tells_no_equal_arguments_apart() -> None:
    cache: dict[str, int] = {}

    def fill(cache: dict[str, int], *others: Any) -> int:
        cache[str(len(cache))] = 1
        return len(cache)

    async def flow(ctx: Context) -> int:
        items, order = [1.5, float("nan")], Order(Card(number=SecretStr("4711")))
        iterator = iter(items)
        first = await ctx.run("fill", fill, cache, items, order, {"a": {1, 2}}, iterator, object(), items.append)
        items.append(first)
        order.card = Card(number=SecretStr("4712"))
        return first + await ctx.run("fill", fill, cache, items, order, take, Side.LEFT)

    async with Environment(Flows(flow), replay=True) as env:
        assert await env.service_client(Flows).run() == 3


async def test_replay_mode_leaves_the_headers_of_a_trace_alone() -> None:
    async def flow(ctx: Context) -> int:
        trace = {"traceparent": f"00-{random.randbytes(16).hex()}-{random.randbytes(8).hex()}-01"}
        return cast("int", await ctx.service_client(Flows).echo(1, headers=trace))

    async with Environment(Flows(flow), replay=True) as env:
        assert await env.service_client(Flows).run() == 1


async def test_replay_mode_compares_state() -> None:
    async with Environment(Box(random.random), replay=True) as env:
        with pytest.raises(JournalMismatchError, match="command 0 is set 'value' with another value of value"):
            await env.object_client(Box, "a").put()


async def test_io_that_is_refused_fails_the_attempt_whatever_the_code_makes_of_it() -> None:
    steps: list[str] = []

    async def flow(ctx: Context) -> str:
        try:
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        except Exception:
            ctx.run("note", steps.append, "went on")
        return "fine"

    async with Environment(Flows(flow)) as env:
        with pytest.raises(StuckError, match="NonDeterminismError: getaddrinfo was used in handler code"):
            await env.service_client(Flows).run()
    assert not steps


async def test_a_connection_in_a_handler_fails_the_attempt() -> None:
    async def flow(ctx: Context) -> str:
        with suppress(Exception), socket.socket() as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", 9))
        return "fine"

    async with Environment(Flows(flow)) as env:
        with pytest.raises(StuckError, match="NonDeterminismError: sock_connect was used in handler code"):
            await env.service_client(Flows).run()


# --- steps in threads ---


async def test_plain_steps_do_not_wait_for_those_that_were_given_up() -> None:
    end = threading.Event()
    try:
        hanging = [asyncio.create_task(in_thread(end.wait)) for _ in range(40)]
        waiting = asyncio.create_task(in_thread(one))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        for task in hanging:
            task.cancel()  # as abort_timeout does
        assert await asyncio.wait_for(waiting, 60) == 1
    finally:
        end.set()
