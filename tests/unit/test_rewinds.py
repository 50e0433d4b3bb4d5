"""What becomes of the executions of a session when it is rewound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine import session
from adapter.engine.ids import child_id
from adapter.engine.ports import Conflict, Put, Wake
from adapter.engine.records import Notification
from adapter.engine.types import Kind, ObjectKey, Outcome
from tests.unit.world import World, closure, dispatches_lost, pack, settle, target, unpack, value

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


async def test_a_rewind_does_not_lose_a_signal_that_is_being_read() -> None:
    """The interleaving:

    1. The count of a notification is sent twice, as its answer was lost. One more is counted than there are.
    2. This process puts a signal, and tells the session, which counts it. By the counts an earlier one is missing, so
       the session reads all.
    3. A commit conflicts, and the session rewinds, which stopped that read.
    4. All that was counted seemed to be known, so the session was suspended until the sweeper looked a minute later.
    """
    world = World()
    ended, read = asyncio.Event(), asyncio.Event()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", waiting(ended)), unpack)
        return await ctx.issue(c.Signal("go"), unpack)

    world.engine.runtime.always_replay = True  # each commit rewinds
    with dispatches_lost(world):
        id = await world.send("S/listen")
        await settle()
    ref = (await world.meta(id)).ref
    await world.store.count_notifications(ref, count=1, wake=Wake.NONE, due=world.clock.now())
    resumed = asyncio.create_task(world.engine.resume(id))
    await settle()

    async def hold(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "peek") and not read.is_set():
            if len(await world.store.read_notifications(ref, None)) and signalled:
                await read.wait()
            signalled.append(args[0])

    signalled: list[str] = []
    world.store.hook = hold
    assert await world.engine.outbound.signal(id, "go", Outcome(b'"gone"'), commit_id="n") == "accepted"
    await settle()
    ended.set()
    await settle()
    read.set()
    await world.clock.advance(5)

    assert value((await world.meta(id)).outcome) == "gone"
    await resumed


async def test_a_batch_goes_on_if_only_the_result_of_an_ended_call_is_seen() -> None:
    """The interleaving:

    1. The owner of a key resumes, without a claim, and runs two queued calls with its own commit.
    2. Another process ends the second call. Its transaction changes the call's record and puts its result. DynamoDB
       applies the two one after the other.
    3. The owner's commit meets both in between. The conflict names the result, but not the record, on which the other
       transaction still is.
    4. The session ended. Nobody dispatched the owner before the sweeper came.
    """
    world = World(2)
    ran: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, name: Any) -> Any:
        ran.append(name)

    @world.handler("S")
    async def caller(ctx: Any, name: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/add"), pack(name)), unpack)

    async def end_the_second(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        changes = args[0] if (phase, method) == ("before", "commit") else []
        results = [each.item for each in changes if isinstance(each, Put) and isinstance(each.item, Notification)]
        if len(results) == 2:
            world.store.hook = None
            second = child_id(*results[1].to, 0)
            assert await world.engines[1].control.cancel(second) == "accepted"
            [found], _ = await world.store.read_notifications(results[1].to, None)
            raise Conflict({changes.index(Put(results[1])): found})

    holder = await world.send("O/k/hold")
    await settle()
    callers = [await world.send("S/caller", name) for name in ("first", "second")]
    await settle()
    world.store.hook = end_the_second
    await world.clock.advance(11)
    assert ran == ["first", "second", "first"]
    assert [(await world.meta(id)).live for id in (holder, *callers)] == [False] * 3
