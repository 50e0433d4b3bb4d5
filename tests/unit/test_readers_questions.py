"""The answers that ``docs/internals.md`` gives to a reader's questions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ids import new_commit_id
from adapter.engine.notifier import Notifier
from adapter.engine.ports import Conflict, WriteHead
from adapter.engine.records import Head, Record, Status
from adapter.engine.transitions import TRANSITIONS
from adapter.engine.types import Kind, ObjectKey, Outcome, RetryPolicy
from tests.unit.world import World, closure, pack, settle, target, unpack, value

PAUSES = RetryPolicy(attempts=1)


def test_what_may_change_a_record_from_paused() -> None:
    paused = {name: each for name, each in TRANSITIONS.items() if Status.PAUSED in each.sources}

    assert {name for name, each in paused.items() if each.to} == {"resume", "count", "wake", "end"}
    assert {name for name, each in paused.items() if not each.to} == {"attach", "call", "move", "wait", "renew"}


@pytest.mark.parametrize("how", ["resume", "cancel", "kill"])
async def test_a_paused_invocation_continues_when_it_is_resumed_cancelled_or_killed(how: str) -> None:
    """A result, a dispatch, or the sweeper does not make it continue."""
    world = World()
    broken = True

    @world.handler("S", retry=PAUSES)
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", closure(1)), unpack)
        if broken:
            raise RuntimeError("boom")
        return "done"

    id = await world.send("S/work")
    await world.clock.advance(1)
    control = world.engine.control
    await world.engine.runtime.outbound.signal(id, "tick", Outcome(pack(1)))
    await world.engine.resume(id)
    await world.clock.advance(7200)
    await world.engine.sweeper.sweep()
    assert (await world.meta(id)).status is Status.PAUSED

    broken = False
    await (control.resume(id) if how == "resume" else control.cancel(id) if how == "cancel" else control.kill(id))
    await world.clock.advance(1)

    assert (await world.meta(id)).status is Status.COMPLETED


@pytest.mark.parametrize("dies", [False, True])
async def test_who_tells_a_promises_waiters_and_when(dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that completes the promise, right after its commit; if it ends before that, the sweeper."""
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        return unpack(await ctx.issue(c.GetPromise("approval"), lambda data: data))

    @world.handler("W", Kind.SHARED)
    async def approve(ctx: Any, _: Any) -> None:
        await ctx.issue(c.CompletePromise("approval", Outcome(pack("yes"))), unpack)

    async def nothing(*_: Any) -> None:
        pass

    id = await world.send("W/w/run")
    await settle()
    with monkeypatch.context() as patched:
        if dies:
            patched.setattr(Notifier, "fan_out", nothing)
        await world.send("W/w/approve")
        await settle()
        assert (await world.meta(id)).live is dies
    if dies:
        await world.engine.sweeper.sweep()
        await settle()

    assert value((await world.meta(id)).outcome) == "yes"


async def test_what_happens_to_a_steps_result_when_its_session_is_rewound() -> None:
    """The execution keeps it. The replay takes it, and the step does not run again."""
    world = World()
    steps = runs = 0

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        seen = await ctx.issue(c.GetState("n"), unpack)
        await ctx.issue(c.SetState("n", pack(1)), unpack)
        return seen

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal runs
        runs += 1

        def step() -> int:
            nonlocal steps
            steps += 1
            return steps

        return [
            await ctx.issue(c.Run("step", closure(step)), unpack),
            await ctx.issue(c.Call(target("O/k/add"), pack(None)), unpack),
        ]

    key, raced = ObjectKey("O", "k"), False

    async def race(phase: str, method: str, args: Any, *_: Any) -> None:
        """Have another process write the key's head before the session does."""
        nonlocal raced
        writes = phase == "before" and method == "commit" and any(isinstance(each, WriteHead) for each in args[0])
        if writes and not raced:
            raced = True
            await world.store.commit([WriteHead(Head(key, state={"n": pack(7)}), version=0)], new_commit_id())

    world.store.hook = race
    answer = await world.call("S/work")

    assert raced
    assert (answer, steps) == ([1, 7], 1)
    assert runs > 1


async def test_which_writes_can_be_applied_late_and_why_that_is_harmless() -> None:
    """No write of an invocation's life changes anything once the invocation has completed.

    ``test_late_writes`` shows which plain updates apply before that, and what leads on.
    """
    world = World()
    written: list[tuple[Any, str]] = []

    @world.handler("O", Kind.EXCLUSIVE, retry=RetryPolicy(attempts=5))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.SetState("n", pack(1)), unpack)
        await ctx.issue(c.Run("step", closure("step")), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)
        if len(written) < 9:
            raise RuntimeError("boom")
        return "done"

    async def record(phase: str, method: str, args: Any, *_: Any) -> None:
        if phase == "before" and method == "commit":
            written.append((args[0], args[1]))

    world.store.hook = record
    ids = [await world.send("O/k/work") for _ in range(2)]
    await world.clock.advance(120)
    assert [value((await world.meta(id)).outcome) for id in ids] == ["done", "done"]

    world.store.hook = None
    before = _stored(world)
    assert len(written) >= 9
    for changes, commit_id in written:
        world.store._tokens.clear()  # DynamoDB forgets a transaction after ten minutes
        with suppress(Conflict):
            await world.store.commit(changes, commit_id)
    assert _stored(world) == before


def _stored(world: World) -> list[Record]:
    return list(world.store.records())
