"""Handler code sees results, never the host's troubles."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.issuing import Issuing
from adapter.engine.ports import Unavailable
from adapter.engine.types import Kind, Target
from tests.unit.world import World, closure, settle, target, unpack, value


def directory_that_fails_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the directory of services raise the first time that it is asked; later it knows every target."""
    asked: list[Target] = []

    def kinds(target: Target) -> Kind:
        asked.append(target)
        if len(asked) == 1:
            raise Unavailable("throttled")
        return Kind.SERVICE

    monkeypatch.setattr(world.engine.deployment, "_kinds", kinds)


@pytest.mark.parametrize("kind", [Kind.SERVICE, None])
async def test_a_directory_that_is_unavailable_for_a_moment_does_no_harm(
    kind: Kind | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    seen: list[Exception] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        try:
            ctx.issue(c.Call(target("Elsewhere/work"), b"", kind=kind), unpack)
        except Exception as error:
            seen.append(error)
            return await ctx.issue(c.Run("fallback", closure("fell back")), unpack)
        return await ctx.issue(c.Run("go on", closure("called")), unpack)

    directory_that_fails_once(world, monkeypatch)
    id = await world.send("S/work")
    await settle()
    await world.clock.advance(1)
    assert not seen
    assert value((await world.meta(id)).outcome) == "called"


async def test_a_task_beside_one_that_met_an_unavailable_directory_adds_nothing_to_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def call() -> None:
            ctx.issue(c.Call(target("Elsewhere/work"), b"", kind=Kind.SERVICE), unpack)

        async def count() -> Any:
            return await ctx.issue(c.Run("step", closure(1)), unpack)

        return (await asyncio.gather(call(), count()))[1]

    directory_that_fails_once(world, monkeypatch)
    id = await world.send("S/work")
    await settle()
    await world.clock.advance(1)
    meta = await world.meta(id)
    assert value(meta.outcome) == 1, meta.error


async def test_a_journal_mismatch_is_not_caught_as_an_exception_of_the_handler() -> None:
    world = World()
    attempts: list[int] = []
    seen: list[Exception] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        attempts.append(1)
        try:
            await ctx.issue(c.Run(f"step {len(attempts)}", closure(1)), unpack)
        except Exception as error:
            seen.append(error)
        await ctx.issue(c.Sleep(10_000), unpack)

    id = await world.send("S/work")
    await settle()
    await world.clock.advance(11)
    assert len(attempts) > 1
    assert not seen
    assert "the journal holds run 'step 1'" in ((await world.meta(id)).error or "")


async def test_a_comparison_of_contents_that_fails_is_not_raised_into_handler_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An argument of a step may have an ``__eq__`` that raises."""
    world = World()
    seen: list[Exception] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Run("step", closure(1)), unpack)
        except Exception as error:
            seen.append(error)
        await ctx.issue(c.Sleep(10_000), unpack)

    def difference(*_: Any) -> None:
        raise ValueError("these cannot be compared")

    monkeypatch.setattr(Issuing, "difference", difference)
    id = await world.send("S/work")
    await settle()
    await world.clock.advance(11)
    assert not seen
    assert "these cannot be compared" in ((await world.meta(id)).error or "")
