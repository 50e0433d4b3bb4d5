"""What is left of purged and expired invocations, and of large values that are not needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter import select
from adapter.engine import commands as c
from adapter.engine import editing
from adapter.engine.ids import awakeable_id, workflow_id
from adapter.engine.ports import Create, Unavailable
from adapter.engine.records import Head, Part
from adapter.engine.requests import Request
from adapter.engine.types import Kind, ObjectKey, Outcome
from tests.unit.world import World, closure, dispatches_lost, pack, settle, target, unpack, value


async def test_a_purged_workflow_leaves_neither_state_nor_promises_to_the_next_run() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        state = await ctx.issue(c.GetState("entry"), unpack)
        promise = await ctx.issue(c.PeekPromise("done"), unpack)
        ctx.issue(c.SetState("entry", pack("old")), unpack)
        await ctx.issue(c.CompletePromise("done", Outcome(pack("old"))), unpack)
        return [state, promise]

    assert await world.call("W/k/run") == [None, None]
    assert await world.engine.control.purge(workflow_id("W", "k")) == "accepted"
    assert await world.call("W/k/run") == [None, None]


@pytest.mark.parametrize("large", ["result", "awakeable"])
async def test_a_large_value_that_comes_too_late_for_its_receiver_is_deleted_with_it(large: str) -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def give(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10), unpack)
        return "x" * 1_200_000

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        ids.append(ctx.issue(c.Awakeable(), unpack).id)
        if large == "result":
            ctx.issue(c.Call(target("S/give"), b""), unpack)

    async def come_late(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "put":
            world.store.hook = None
            await world.engine.resume(id, fresh=True)
            await settle()

    if large == "result":
        await world.send("S/ask")
        await world.clock.advance(1)
    else:
        with dispatches_lost(world):
            id = await world.send("S/ask")
            await settle()
        meta = await world.meta(id)
        world.store.hook = come_late
        value = Outcome(b"x" * 1_200_000)
        assert await world.engine.outbound.complete(awakeable_id(meta.ref, 0), value) == "accepted", "it was live"
    await world.outlive()
    assert not list(world.store.records())


async def test_who_turns_out_to_have_to_wait_leaves_no_journal_behind() -> None:
    world = World(2)

    @world.handler("O", Kind.EXCLUSIVE)
    async def fill(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.SetState("large", pack("x" * 1_200_000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        size = len(await ctx.issue(c.GetState("large"), unpack))
        await ctx.issue(c.Sleep(5000), unpack)
        return size

    async def come_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit":
            world.store.hook = None
            await world.send("O/k/work", process=1)

    await world.call("O/k/fill")
    world.store.hook = come_first
    task = world.start("O/k/work")
    await world.clock.advance(11)
    assert task.done()
    assert value((await task).outcome) == 1_200_000


@pytest.mark.parametrize("caller", ["client", "handler"])
@pytest.mark.parametrize("size", [1_200_000, 3])
async def test_a_large_result_that_a_rewind_made_smaller_is_read_as_it_is(caller: str, size: int) -> None:
    world = World(2)

    @world.handler("P", Kind.EXCLUSIVE)
    async def visit(ctx: Any, _: Any) -> Any:
        visits = (await ctx.issue(c.GetState("visits"), unpack) or 0) + 1
        ctx.issue(c.SetState("visits", pack(visits)), unpack)
        return visits

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(3000), unpack)
        return "x" * (1_600_000 if await ctx.issue(c.Call(target("P/k/visit"), b""), unpack) == 1 else size)

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        return len(await ctx.issue(c.Call(target("S/work"), b""), unpack))

    async def come_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "put":
            world.store.hook = None
            await world.engines[1].call(Request(target("P/k/visit"), b""), until=world.clock.now() + 1000)

    world.store.hook = come_first
    id = await world.send("S/work" if caller == "client" else "S/ask")
    await world.clock.advance(10)
    outcome = await world.engine.storage.result(await world.meta(id))
    assert (value(outcome) if caller == "handler" else len(value(outcome))) == size
    await world.outlive()
    assert [type(record) for record in world.store.records()] == [Head]


async def test_whoever_completed_an_awakeable_is_told_so_even_if_its_large_value_is_gone() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await settle()
    awakeable, large = awakeable_id((await world.meta(id)).ref, 0), Outcome(pack("x" * 1_200_000))
    assert await world.engine.outbound.complete(awakeable, large, commit_id="first") == "accepted"
    await world.clock.advance(1)
    assert not (await world.meta(id)).live
    found, _ = await world.store.dependents(id)
    assert not await world.store.delete([key for key in found if key.sort[0] not in "jn"])
    assert await world.engine.outbound.complete(awakeable, large, commit_id="first") == "accepted"
    assert await world.engine.outbound.complete(awakeable, large, commit_id="second") == "already"


@pytest.mark.parametrize("sender", ["client", "handler"])
async def test_the_large_input_of_a_message_that_had_been_sent_before_is_deleted(sender: str) -> None:
    world = World()
    large = pack("x" * 1_200_000)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        pass

    @world.handler("S")
    async def send(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Send(target("S/work"), large, idempotency_key="once"), unpack)

    await world.send("S/work", idempotency_key="once")
    if sender == "client":
        await world.engine.send(Request(target("S/work"), large, "once"))
    else:
        await world.call("S/send")
    await world.outlive()
    assert not [record for record in world.store.records() if isinstance(record, Part)]


async def test_the_large_input_of_a_call_that_a_rewind_has_undone_is_deleted() -> None:
    world = World(2)

    @world.handler("P", Kind.EXCLUSIVE)
    async def visit(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("visited", pack(True)), unpack)

    @world.handler("S")
    async def measure(ctx: Any, text: Any) -> Any:
        return len(text)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100), unpack)
        await ctx.issue(c.Call(target("P/k/visit"), b""), unpack)
        return await ctx.issue(c.Call(target("S/measure"), pack("x" * 1_200_000)), unpack)

    async def come_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "put":
            world.store.hook = None
            await world.engines[1].call(Request(target("P/k/visit"), b""), until=world.clock.now() + 1000)

    world.store.hook = come_first
    id = await world.send("S/work")
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == 1_200_000
    await world.outlive()
    assert not [record for record in world.store.records() if isinstance(record, Part)]


@pytest.mark.parametrize("waits", ["calls", "attaches"])
async def test_a_large_result_for_whom_nobody_remembers_is_deleted(waits: str) -> None:
    world = World()

    @world.handler("S")
    async def give(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(5 * 24 * 3_600_000), unpack)
        return "x" * 1_200_000

    @world.handler("S")
    async def ask(ctx: Any, other: Any) -> Any:
        command = c.Attach(other) if waits == "attaches" else c.Call(target("S/give"), b"")
        await select(ctx.issue(command, unpack), ctx.issue(c.Sleep(3000), unpack))

    await world.send("S/ask", await world.send("S/give"))
    for _ in range(10):
        await world.clock.advance(24 * 3600)
        await world.engine.sweeper.sweep()
        await settle()
    await world.outlive()
    assert not list(world.store.records())


async def test_what_an_expired_record_has_left_is_deleted_with_the_one_that_took_its_place() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        for _ in range(2):
            await ctx.issue(c.Run("step", closure(1)), unpack)
        return "x" * 2000

    for _ in range(2):
        await world.call("S/work", idempotency_key="again")
        await world.clock.advance(25 * 3600)
    await world.outlive()
    assert not list(world.store.records())


@pytest.mark.parametrize("size", [2000, 1_200_000])
@pytest.mark.parametrize("by", ["promise", "edit"])
async def test_the_state_of_a_workflow_that_has_expired_is_deleted_whoever_comes_first(by: str, size: int) -> None:
    world = World()
    key = ObjectKey("W", "k")

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("large", pack("x" * size)), unpack)

    await world.call("W/k/run")
    await world.clock.advance(25 * 3600)
    if by == "promise":
        assert await world.engine.promises.peek(key, "done") == Outcome(None)
    else:
        await editing.edit(
            world.engine.runtime, key, "small", b"1", (await editing.view(world.engine.runtime, key)).version
        )
    for _ in range(2):
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
        await settle()
    assert [record.__class__ for record in world.store.records()] == [Head]


@pytest.mark.parametrize("how", ["call", "send"])
async def test_who_waits_for_a_result_that_has_expired_is_told_before_its_id_is_used_again(how: str) -> None:
    world = World()

    @world.handler("S", idempotency_retention=timedelta(seconds=5))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return "done"

    @world.handler("S")
    async def attach(ctx: Any, id: Any) -> Any:
        return await ctx.issue(c.Attach(id), unpack)

    async def die(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        ends = method == "commit" and any(getattr(each, "set", {}).get("status") == "completed" for each in args[0])
        if phase == "after" and ends:
            world.store.hook = None
            world.engine.process.abort()
            await settle()

    id = await world.send("S/work", idempotency_key="again")
    waiting = await world.send("S/attach", id)
    await settle()
    world.store.hook = die
    await world.clock.advance(16)
    assert (await world.meta(id)).waiters == 1
    again = Request(target("S/work"), b"", "again")
    task = asyncio.create_task(
        world.engine.send(again) if how == "send" else world.engine.call(again, until=world.clock.now() + 60_000)
    )
    await world.clock.advance(12)
    assert task.result().accepted
    assert value((await world.meta(waiting)).outcome) == "done"


async def test_what_is_deleted_before_it_begins_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        pass

    async def purge(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "load":
            world.store.hook = None
            assert await world.engines[1].control.kill(id) == "accepted"
            assert await world.engines[1].control.purge(id) == "accepted"

    with dispatches_lost(world):
        id = await world.send("S/work", "x" * 1_200_000)
        await settle()
    world.store.hook = purge
    await world.engine.resume(id, fresh=True)
    await settle()
    assert world.store.hook is None
    assert not caplog.records


async def test_a_request_that_is_sent_again_after_its_invocation_was_purged_does_not_begin_it_again() -> None:
    world = World(2)
    runs = 0

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal runs
        runs += 1

    async def lose_the_answer(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "commit" and isinstance(args[0][0], Create):
            world.store.hook = None
            id = args[0][0].meta.id
            await world.engines[1].resume(id, fresh=True)
            world.clock.time += 1
            assert await world.engines[1].control.purge(id) == "accepted"
            raise Unavailable("no answer")

    world.store.hook = lose_the_answer
    task = asyncio.create_task(world.send("S/work"))
    await world.clock.advance(100)
    assert (runs, await world.engine.storage.find(await task)) == (1, None)
    await world.clock.advance(900)
    await world.engine.sweeper.sweep()
    assert not list(world.store.records())


async def test_a_large_result_for_a_parent_that_is_over_is_deleted_with_it_though_a_process_crashes() -> None:
    world = World(2)
    calls: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(1500), unpack)
        return "x" * 1_500_000

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        calls.append(ctx.issue(c.Call(target("S/child"), b""), unpack).id)

    async def die(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "count_notifications":
            dying.append(1)
            await asyncio.get_running_loop().create_future()

    dying: list[int] = []
    world.store.hook = die
    id = await world.send("S/parent")
    await world.clock.advance(5)
    assert dying
    assert not (await world.meta(id)).live
    world.store.hook = None
    world.engine.process.abort()
    await settle()
    for _ in range(10):
        await world.clock.advance(20)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert not (await world.meta(calls[0])).live
    await world.outlive()
    assert not list(world.store.records())
