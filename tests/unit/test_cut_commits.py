"""A commit that is too large for one transaction is made in several, and a process may end between them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.types import Kind
from tests.unit.world import World, pack, settle, unpack, value


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("what", ["an entry", "the names"])
async def test_a_state_read_gives_the_same_though_a_later_write_is_committed_before_its_answer(
    what: str, committed: bool
) -> None:
    world = World(2)
    commits: list[int] = []

    async def end_after_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "commit"):
            commits.append(sum(len(getattr(getattr(change, "item", None), "value", b"")) for change in args[0]))
            if len([size for size in commits if size > 100_000]) == 2:
                world.store.hook = None
                world.engine.process.abort()
                raise asyncio.CancelledError

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def go_on(ctx: Any, _: Any) -> Any:
        if committed:
            await ctx.issue(c.Run("first", closure_of_one), unpack)
        read = ctx.issue(c.GetState("a") if what == "an entry" else c.StateKeys(), unpack)
        ctx.issue(c.SetState("a", pack("new" * 1000)), unpack)
        for number in range(20):
            ctx.issue(c.SetState(f"b{number}", pack("x" * 300_000)), unpack)
        found = await read
        ctx.issue(c.SetState("c", pack("x" * 300_000)), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)
        return found[:3]

    async def closure_of_one() -> bytes:
        return b"1"

    await world.call("O/k/begin")
    world.store.hook = end_after_the_first
    id = await world.send("O/k/go_on")
    for _ in range(10):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == ("old" if what == "an entry" else ["a"])
