"""What becomes of the executions of a session when it is rewound."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine import session
from adapter.engine.types import Kind, ObjectKey
from tests.unit.world import World, closure, pack, settle, target, unpack, value

KEY = ObjectKey("O", "k")


async def test_an_execution_whose_key_has_another_owner_after_a_rewind_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The interleaving:

    1. A session runs a caller, and a call that owns its key. Both run a step.
    2. Another process kills both, and gives the key to a third invocation.
    3. Both steps end. The commit meets the caller's new journal segment, then the key's new head.
    4. The first conflict drops the caller. The call is kept, as it is stored and was running, and the session is
       rewound. The key's head, as the conflict has shown it, has another owner, so the call does not start.
    5. Nothing is left to run or to commit, and the session suspended nothing again and again.
    """
    world = World(2)
    theirs, mine = asyncio.Event(), asyncio.Event()

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("O/k/add"), pack(None)), unpack)
        await ctx.issue(c.Run("mine", waiting(mine)), unpack)
        await call

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("theirs", waiting(theirs)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    decided = 0

    def decide(view: Any) -> Any:
        nonlocal decided
        decided += 1
        assert decided < 1000, "the session spins"
        return original(view)

    original = session.decide
    monkeypatch.setattr(session, "decide", decide)
    answer = world.start("S/caller")
    await settle()
    active = world.engine.process.active
    call = (await world.store.heads([KEY]))[KEY].owner
    assert call is not None
    [parent] = active.keys() - {call.id}

    await world.engines[1].control.kill(parent)
    await settle()
    await world.send("O/k/hold", process=1)
    await settle()
    owner = (await world.store.heads([KEY]))[KEY].owner
    assert owner not in (None, call)
    assert active.keys() == {parent, call.id}

    with caplog.at_level(logging.INFO, "adapter"):
        mine.set()
        theirs.set()
        await settle()
        await world.clock.advance(1)
    assert active.keys() == set()
    dropped = [record.message for record in caplog.records if record.message.startswith("attempt dropped")]
    assert dropped == [f"attempt dropped: {id} was taken over" for id in (parent, call.id)]
    await world.clock.advance(5)
    assert value((await answer).outcome)[0] == 409


def waiting(go: asyncio.Event) -> Any:
    """A step that ends when the event is set."""

    async def step() -> bytes:
        await go.wait()
        return await closure(None)()

    return step
