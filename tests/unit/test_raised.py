"""Whatever handler code or a step raises becomes an outcome under its policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapter import TerminalError
from adapter.engine import commands as c
from adapter.engine.process import Repeat
from adapter.engine.types import Kind, RetryPolicy
from tests.unit.world import World, pack, settle, unpack


class Escapes(BaseException):
    """What a mock's expectation may raise, as ``pytest.fail`` does."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Bare(TerminalError):
    """A terminal error that does not initialise its base."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


RAISED: dict[str, Callable[[], BaseException]] = {
    "Escapes": Escapes,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": asyncio.CancelledError,
    "Unprintable": Unprintable,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("all of it", [KeyboardInterrupt(), Escapes(), Unprintable()]),
}


@pytest.mark.parametrize("abort", [None, timedelta(minutes=1)])
@pytest.mark.parametrize("name", RAISED)
async def test_a_step_that_raises_anything_fails_by_its_policy(name: str, abort: timedelta | None) -> None:
    world = World()
    tries: list[str] = []

    async def step() -> bytes:
        tries.append("try")
        raise RAISED[name]()

    @world.handler("O", Kind.EXCLUSIVE, abort_timeout=abort)
    async def work(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Run("step", step, RetryPolicy(attempts=2)), unpack)
        except TerminalError as gave_up:
            return str(gave_up)

    assert (await world.call("O/k/work")).startswith(f"step 'step' failed 2 times: {name}")
    assert tries == ["try"] * 2


@pytest.mark.parametrize("name", RAISED)
async def test_an_attempt_whose_step_raises_anything_is_retried(name: str) -> None:
    world = World()
    left = [RAISED[name]()]

    async def step() -> bytes:
        if left:
            raise left.pop()
        return pack("done")

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    assert await world.call("O/k/work") == "done"


@pytest.mark.parametrize("where", ["the handler", "a task"])
@pytest.mark.parametrize("name", RAISED)
async def test_a_handler_that_raises_anything_is_retried_by_its_policy(name: str, where: str) -> None:
    world = World()
    tries: list[str] = []

    async def fail() -> None:
        tries.append("try")
        raise RAISED[name]()

    @world.handler("O", Kind.EXCLUSIVE, retry=RetryPolicy(attempts=2, exhausted="kill"))
    async def work(ctx: Any, _: Any) -> Any:
        await (asyncio.create_task(fail()) if where == "a task" else fail())

    code, message = await world.call("O/k/work")
    assert (code, tries) == (500, ["try"] * 2)
    assert message.startswith(f"gave up after 2 attempts: {name}")


@pytest.mark.parametrize("where", ["a step", "the handler"])
async def test_a_terminal_error_without_its_own_fields_is_one_all_the_same(where: str) -> None:
    world = World()

    async def step() -> bytes:
        raise Bare

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        if where == "the handler":
            raise Bare
        await ctx.issue(c.Run("step", step), unpack)

    assert await world.call("S/work") == (500, "Bare: bare")


async def test_a_process_goes_on_whatever_a_callback_of_a_handler_raises() -> None:
    world = World()

    def leave() -> None:
        raise SystemExit(3)

    @world.handler("S", retry=RetryPolicy(attempts=1, exhausted="kill"))
    async def work(ctx: Any, _: Any) -> Any:
        asyncio.get_running_loop().call_soon(leave)
        await ctx.issue(c.Sleep(10), unpack)

    assert await world.call("S/work") == (500, "gave up after 1 attempts: SystemExit: 3")


async def test_what_fails_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    async def work() -> None:
        raise Escapes("unheard")

    task = world.engine.process.spawn(work(), repeated_by=Repeat.CHECK)
    await settle()
    assert isinstance(task.exception(), Escapes)
    assert "unheard" in caplog.text
    assert f"repeated by {Repeat.CHECK}" in caplog.text


async def test_what_is_to_be_done_to_its_end_is_heard_of_though_nobody_waits_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        raise OSError("unheard")

    waiting = asyncio.create_task(world.engine.process.persist(work(), repeated_by=Repeat.LEASE))
    await settle()
    waiting.cancel()
    go.set()
    await settle()
    assert waiting.cancelled()
    assert "unheard" in caplog.text
