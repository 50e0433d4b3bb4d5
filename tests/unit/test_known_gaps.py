"""What is known to be wrong and is left, each with a test that fails. One that passes is to be moved to its subject."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.records import Unreadable
from tests.unit.stage import Stage
from tests.unit.test_held_calls import FURTHER, held, sweep
from tests.unit.world import World, settle, target, unpack


@pytest.mark.xfail(strict=True, reason="the call fails with 404: the record has expired since it was met")
async def test_a_call_whose_key_expires_in_the_moment_of_the_call_runs() -> None:
    """The call meets the record of an earlier request with its idempotency key, and waits for that. The record expires
    between the two writes."""
    world = World()
    ran: list[int] = []

    @world.handler("S", idempotency_retention=timedelta(seconds=10))
    async def work(ctx: Any, _: Any) -> Any:
        ran.append(1)
        return len(ran)

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/work"), b"", idempotency_key="k"), unpack)

    await world.call("S/work", idempotency_key="k")
    armed = False

    async def hook(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        nonlocal armed
        if armed and phase == "after" and method == "commit":
            armed = False
            world.clock.time += 2_000

    world.store.hook = hook
    await world.clock.advance(9)
    armed = True
    assert await world.call("S/ask") in (1, 2)


@pytest.mark.xfail(strict=True, reason="the call stays without a due time: only the unreadable journal names it")
async def test_a_kill_finds_a_call_beside_an_item_that_cannot_be_read() -> None:
    """The dispatch of the call was lost, and the process that waited for it has ended. An item of the caller cannot be
    read when the caller is killed; it may be of a later version."""
    stage = Stage()
    await held(stage, FURTHER)
    stage.engines["Near"].process.abort()
    await settle()
    stage.build()
    caller, hook = stage.caller, stage.store.hook
    assert hook is not None

    async def damaged(phase: Any, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
        await hook(phase, method, args, kwargs)
        if (phase, method, args[:1]) == ("before", "load", (caller.id,)):
            raise Unreadable("a segment is damaged")

    stage.store.hook = damaged
    assert await stage.engines["Near"].control.kill(caller.id) == "accepted"
    await sweep(stage, 30)
    call = await stage.call_of(caller.id, 1)
    assert call is not None
    assert not call.live
