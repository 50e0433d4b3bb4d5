"""Cancellation: it surfaces once, at the next await, leaves first, and code cleans up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter import (
    Context,
    InvocationCancelledError,
    ObjectContext,
    Service,
    TerminalError,
    VirtualObject,
    gather,
    handler,
    select,
)
from tests.handlers.conftest import Environments

trace: list[str] = []


class Leaf(VirtualObject):
    @handler
    async def hold(self, ctx: ObjectContext) -> None:
        try:
            await ctx.sleep(timedelta(days=1))
        except TerminalError as error:
            await ctx.run("undo", trace.append, f"leaf {ctx.key} {error.code}")
            raise

    @handler
    async def free(self, ctx: ObjectContext) -> bool:
        return True


class Stubborn(Service):
    """Cleans up for a day, and then gives up for good."""

    @handler
    async def work(self, ctx: Context, depth: int) -> None:
        try:
            if depth:
                await ctx.service_client(Stubborn).work(depth - 1)
            else:
                await ctx.sleep(timedelta(days=1))
        except InvocationCancelledError:
            if depth:
                raise
            await self.clean_up(ctx)

    async def clean_up(self, ctx: Context) -> None:
        for n in range(3):
            try:
                await ctx.service_client(Stubborn).hang()
                await ctx.run("note", trace.append, f"cleaned up {n}")
                return
            except InvocationCancelledError:
                await ctx.run("note", trace.append, f"interrupted {n}")
        raise TerminalError("gave up", code=410)

    @handler
    async def hang(self, ctx: Context) -> None:
        await ctx.awakeable()

    @handler
    async def stop(self, ctx: Context, id: str) -> list[bool]:
        return [await ctx.cancel(id) for _ in range(2)]


class Root(Service):
    @handler
    async def saga(self, ctx: Context) -> None:
        ctx.object_send_client(Leaf, "sent").hold()
        try:
            await ctx.object_client(Leaf, "called").hold()
        except TerminalError as error:
            await ctx.run("undo", trace.append, f"root {error.code}")
            raise

    @handler
    async def gathering(self, ctx: Context) -> str:
        calls = [ctx.object_client(Leaf, f"{n}").hold() for n in range(3)]
        try:
            await gather(*calls)
        except TerminalError as error:
            return str(error.code)
        return "not cancelled"

    @handler
    async def gathering_all(self, ctx: Context, way: str) -> str:
        calls = [ctx.object_client(Leaf, f"{n}").hold() for n in range(3)] if way == "calls" else []
        sleeps = [ctx.sleep(timedelta(days=n)) for n in (1, 2)] if way == "sleeps" else []
        tasks = [self.wait(ctx, n) for n in (1, 2)] if way == "tasks" else []
        try:
            results = await gather(*calls, *sleeps, *tasks, return_exceptions=True)
        except InvocationCancelledError as error:
            return str(error)
        return f"not cancelled: {results}"

    async def wait(self, ctx: Context, days: int) -> None:
        await ctx.sleep(timedelta(days=days))

    @handler
    async def selecting(self, ctx: Context) -> list[Any]:
        sleeps = ctx.sleep(timedelta(days=1)), ctx.sleep(timedelta(days=2))
        said: list[Any] = []
        try:
            await select(*sleeps)
        except TerminalError as error:
            said.append(error.code)
        said.append(await select(*sleeps) is sleeps[0])
        return said

    @handler
    async def timing(self, ctx: Context) -> int:
        try:
            async with ctx.timeout(timedelta(days=1)):
                await ctx.awakeable(int)
        except TerminalError as error:
            return error.code
        return 0

    @handler
    async def losing(self, ctx: Context) -> list[Any]:
        call, patience = ctx.object_client(Leaf, "lost").hold(), ctx.sleep(timedelta(hours=1))
        assert await select(call, patience) is patience
        first = await call.cancel()
        try:
            await call
        except TerminalError as error:
            return [first, error.code, await call.cancel()]
        return []

    @handler
    async def cancelling(self, ctx: Context, id: str) -> list[bool]:
        return [await ctx.cancel(id), await ctx.cancel("inv_" + "a" * 32)]


@pytest.fixture(autouse=True)
def empty() -> None:
    trace.clear()


async def test_leaves_first_and_sends_are_left_alone(environment: Environments) -> None:
    env = environment(Root, Leaf)
    saga = env.service_client(Root).saga()
    await env.settle()
    assert await env.service_client(Root).cancelling(saga.id) == [True, False]
    with pytest.raises(TerminalError, match="cancelled") as cancelled:
        await saga
    assert cancelled.value.code == 409
    assert trace == ["leaf called 409", "root 409"]
    assert await env.object_client(Leaf, "called").free()
    assert await env.status(env.object_client(Leaf, "sent").free()) == "queued"


@pytest.mark.parametrize("way", ["calls", "sleeps", "tasks"])
async def test_a_gather_that_returns_failures_raises_the_cancellation(environment: Environments, way: str) -> None:
    env = environment(Leaf, Root)
    gathering = env.service_client(Root).gathering_all(way)
    await env.settle()
    assert await env.cancel(gathering.id)
    assert await gathering == "cancelled"


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_further_cancellation_interrupts_the_clean_up(environment: Environments, depth: int) -> None:
    env = environment(Stubborn)
    trace.clear()
    work = env.service_client(Stubborn).work(depth)
    for n in range(4):
        await env.settle()
        assert await env.status(work) != "completed"
        assert trace == [f"interrupted {each}" for each in range(n - 1)]
        assert await work.cancel()
    with pytest.raises(TerminalError, match="gave up"):
        await work
    assert not await work.cancel()


async def test_a_handler_cancels_twice(environment: Environments) -> None:
    env = environment(Stubborn)
    trace.clear()
    work = env.service_client(Stubborn).work(0)
    await env.settle()
    assert await env.service_client(Stubborn).stop(work.id) == [True, True]
    await env.settle()
    assert trace == ["interrupted 0"]


async def test_all_of_a_gather_are_cancelled(environment: Environments) -> None:
    env = environment(Root, Leaf)
    gathering = env.service_client(Root).gathering()
    await env.settle()
    assert await env.cancel(gathering.id)
    assert await gathering == "409"
    await env.settle()
    assert sorted(trace) == ["leaf 0 409", "leaf 1 409", "leaf 2 409"]


async def test_a_select_is_cancelled_once(environment: Environments) -> None:
    env = environment(Root, Leaf)
    selecting = env.service_client(Root).selecting()
    await env.settle()
    assert await env.cancel(selecting.id)
    assert await selecting == [409, True]


async def test_a_timeout_block_is_cancelled(environment: Environments) -> None:
    env = environment(Root, Leaf)
    timing = env.service_client(Root).timing()
    await env.settle()
    assert await env.cancel(timing.id)
    assert await timing == 409


async def test_what_lost_is_cancelled(environment: Environments) -> None:
    env = environment(Root, Leaf)
    assert await env.service_client(Root).losing() == [True, 409, False]
    assert trace == ["leaf lost 409"]
