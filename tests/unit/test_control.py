"""Results from outside, cancellation, kill, pause, restart: on records in every state."""

from __future__ import annotations

import asyncio
from typing import Any

from adapter.engine import commands as c
from adapter.engine.ids import workflow_id
from adapter.engine.records import Status
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome
from adapter.errors import TerminalError
from tests.unit.world import World, closure, pack, settle, target, unpack, value


async def test_awakeable_is_completed_once_and_survives_suspension() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        awakeable = ctx.issue(c.Awakeable(), unpack)
        await ctx.issue(c.Run("tell", closure(lambda: ids.append(awakeable.id))), unpack)
        return await awakeable

    id = await world.send("S/wait")
    await settle()
    assert (await world.meta(id)).status is Status.SUSPENDED
    control = world.engine.control
    assert await control.complete(ids[0], Outcome(pack("yes"))) == "accepted"
    assert await control.complete(ids[0], Outcome(pack("no"))) == "already"
    await settle()
    assert value((await world.meta(id)).outcome) == "yes"
    assert await control.complete(ids[0], Outcome(pack("no"))) == "already"
    assert await control.complete("awk_nonsense", Outcome()) == "not found"
    assert await control.complete(ids[0][:-17] + "a" * 16 + "0", Outcome()) == "not found"


async def test_signals_come_in_order_before_and_after_they_are_asked_for() -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        first = await ctx.issue(c.Signal("go"), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)
        return [first, await ctx.issue(c.Signal("go"), unpack)]

    id = await world.send("S/wait")
    await settle()
    control = world.engine.control
    assert await control.signal(id, "go", Outcome(pack(1))) == "accepted"
    await world.clock.advance(11)
    assert await control.signal(id, "go", Outcome(pack(2))) == "accepted"
    assert (await world.meta(id)).live
    await world.clock.advance(11)
    assert value((await world.meta(id)).outcome) == [1, 2]
    assert await control.signal(id, "go", Outcome()) == "not found"


async def test_a_signal_under_the_same_nonce_is_the_same_signal() -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return [await ctx.issue(c.Signal("go"), unpack) for _ in range(2)]

    id = await world.send("S/wait")
    await settle()
    control = world.engine.control
    assert await control.signal(id, "go", Outcome(pack(1)), nonce="a" * 24) == "accepted"
    await world.clock.advance(1)
    assert await control.signal(id, "go", Outcome(pack(1)), nonce="a" * 24) == "accepted"
    assert await control.signal(id, "go", Outcome(pack(2)), nonce="b" * 24) == "accepted"
    await world.clock.advance(11)
    assert value((await world.meta(id)).outcome) == [1, 2]
    assert await control.signal(id, "go", Outcome(pack(2)), nonce="b" * 24) == "accepted"
    assert await control.signal(id, "go", Outcome(pack(2)), nonce="c" * 24) == "not found"


async def test_promises_meet_run_and_shared_handlers_in_any_order() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        return [await ctx.issue(c.GetPromise("a"), unpack), await ctx.issue(c.GetPromise("b"), unpack)]

    @world.handler("W", Kind.SHARED)
    async def resolve(ctx: Any, name: Any) -> Any:
        return await ctx.issue(c.CompletePromise(name, Outcome(pack(name))), unpack)

    @world.handler("W", Kind.SHARED)
    async def peek(ctx: Any, name: Any) -> Any:
        return await ctx.issue(c.PeekPromise(name), unpack)

    assert await world.call("W/k/peek", "a") is None
    assert await world.call("W/k/resolve", "a") == "accepted"
    assert await world.call("W/k/resolve", "a") == "already"
    task = world.start("W/k/run")
    await settle()
    assert not task.done()
    assert await world.call("W/k/peek", "b") is None
    assert await world.call("W/k/resolve", "b") == "accepted"
    await world.clock.advance(2)
    assert value((await task).outcome) == ["a", "b"]
    assert await world.call("W/k/peek", "b") == "b"
    await world.clock.advance(25 * 3600)
    assert await world.call("W/k/peek", "b") is None


async def test_cancel_reaches_the_leaves_first_and_compensation_runs() -> None:
    world = World()
    trace: list[str] = []

    @world.handler("S")
    async def leaf(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Sleep(1_000_000), unpack)
        except TerminalError as error:
            trace.append(f"leaf {error.code}")
            raise

    @world.handler("S")
    async def root(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Call(target("S/leaf"), b""), unpack)
        except TerminalError:
            trace.append("root")
            await ctx.issue(c.Run("undo", closure(lambda: trace.append("undone"))), unpack)
            raise

    id = await world.send("S/root")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    assert await world.engine.control.cancel(id) == "already"
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome)[0] == 409
    assert trace[0] == "leaf 409"
    assert trace[-1] == "undone"
    assert trace.count("undone") == 1
    assert await world.engine.control.cancel(id) == "already"
    assert await world.engine.control.cancel("inv_" + "a" * 32) == "not found"


async def test_what_has_not_begun_is_cancelled_and_killed_at_once() -> None:
    world = World()
    ran: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, name: Any) -> Any:
        ran.append(name)

    await world.send("O/k/hold")
    await settle()
    queued = [await world.send("O/k/work", name) for name in "abcd"]
    delayed = await world.send("O/k/work", "e", delay=50_000)
    await settle()
    assert await world.engine.control.cancel(queued[1]) == "accepted"
    assert await world.engine.control.kill(queued[2]) == "accepted"
    assert await world.engine.control.cancel(delayed) == "accepted"
    for id in (queued[1], queued[2], delayed):
        assert value((await world.meta(id)).outcome)[0] == 409
    await world.clock.advance(101)
    assert ran == ["a", "d"]
    head = (await world.store.heads([ObjectKey("O", "k")]))[ObjectKey("O", "k")]
    assert head.owner is None
    assert head.waiting == 0


async def test_kill_ends_the_tree_root_first_and_frees_its_keys() -> None:
    world = World(2)

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(1_000_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        return "worked"

    @world.handler("S")
    async def root(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("O/k/hold"), b""), unpack)

    task = world.start("S/root")
    await settle()
    id = next(record.id for record in world.store.records() if getattr(record, "target", None) == target("S/root"))
    assert await world.engines[1].control.kill(id) == "accepted"
    assert await world.engines[1].control.kill(id) == "already"
    await world.clock.advance(2)
    assert value((await task).outcome)[0] == 409
    assert await world.call("O/k/work") == "worked"


async def test_pause_resume_restart_and_purge() -> None:
    world = World()
    attempts: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, n: Any) -> Any:
        await ctx.issue(c.Sleep(5_000), unpack)
        attempts.append(n)
        return n

    control = world.engine.control
    id = await world.send("S/work", 7)
    await settle()
    assert await control.pause(id) == "accepted"
    await world.clock.advance(100)
    assert (await world.meta(id)).status is Status.PAUSED
    assert not attempts
    assert await control.resume(id) == "accepted"
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 7
    assert await control.resume(id) == "already"
    again = await control.restart(id)
    assert again is not None
    assert again.id != id
    await world.clock.advance(6)
    assert attempts == [7, 7]
    assert await control.purge(id) == "accepted"
    assert await world.store.peek(id) is None
    assert await control.purge(id) == "not found"


async def test_what_a_handler_asks_of_others_is_done_before_it_ends() -> None:
    world = World()

    @world.handler("S")
    async def sleeper(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(1_000_000), unpack)

    @world.handler("S")
    async def canceller(ctx: Any, id: Any) -> Any:
        ctx.issue(c.Cancel(id), unpack)
        return "done"

    id = await world.send("S/sleeper")
    await settle()
    assert await world.call("S/canceller", id) == "done"
    await world.clock.advance(1)
    assert (await world.meta(id)).outcome == Outcome(failure=Failure(409, "cancelled"))


async def test_workflow_ids_derive() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        return 1

    assert await world.call("W/k/run") == 1
    assert value((await world.meta(workflow_id("W", "k"))).outcome) == 1
    answer = await world.start("W/k/run")
    assert not answer.accepted
    await asyncio.sleep(0)
