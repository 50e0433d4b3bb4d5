"""What came at an unlucky moment, and lost something once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from adapter import TerminalError, gather, select
from adapter.engine import commands as c
from adapter.engine import editing
from adapter.engine.ids import awakeable_id, idempotent_id, workflow_id
from adapter.engine.loop import AWAITS_TO_LEAVE
from adapter.engine.notifier import Acknowledgement
from adapter.engine.ports import Contended, Create, Unavailable, WriteHead
from adapter.engine.process import Repeat
from adapter.engine.records import Head, Meta, Part, Ref, Status
from adapter.engine.requests import Request
from adapter.engine.types import Kind, ObjectKey, Outcome, RetryPolicy
from adapter.local.memory import MemoryStore
from tests.unit.world import World, closure, pack, settle, target, unpack, value


@contextmanager
def dispatches_lost(world: World) -> Iterator[None]:
    """Nothing that is dispatched gets there."""

    async def lose(*_: object) -> None:
        pass

    with pytest.MonkeyPatch.context() as patched:
        for dispatcher in world.dispatchers:
            patched.setattr(dispatcher, "dispatch", lose)
        yield


async def crash_before_telling(world: World, caller: str, call: str) -> None:
    """The first process goes on with a caller that was cancelled, and ends before it has asked its call to end."""
    dying: list[int] = []

    async def die(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "peek" and args[0] == call:
            world.store.hook = None
            dying.append(1)
            await asyncio.get_running_loop().create_future()

    with dispatches_lost(world):
        assert await world.engines[1].control.cancel(caller) == "accepted"
        await settle()
    world.store.hook = die
    task = asyncio.create_task(world.engine.resume(caller))
    await settle()
    world.store.hook = None
    assert dying
    world.engine.process.abort()
    task.cancel()
    await settle()
    for _ in range(60):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
        await settle()


async def never() -> bytes:
    """A step that does not end."""
    end: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    return await end


def caller_of_child(world: World, wait: Callable[[Any, Any], Awaitable[Any]]) -> list[str]:
    """Register ``S/parent``, which waits in some way for its call, which waits for ever; gives the calls' ids."""
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await wait(ctx, call)

    return ids


def returning(data: bytes) -> Callable[[], Awaitable[bytes]]:
    """A step that returns this."""

    async def step() -> bytes:
        return data

    return step


async def test_a_step_in_which_something_was_cancelled_has_failed() -> None:
    world = World()
    tries = 0

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError
        return b"1"

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 1


async def test_a_cancellation_reaches_a_call_that_is_not_stored_yet_and_then_waits_for_its_key() -> None:
    world = World(2)
    ran: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        ran.append("work")

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/work"), b""), unpack)

    await world.send("O/k/hold")
    await settle()
    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.engines[1].resume(id)
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    await world.clock.advance(100)
    assert not ran


@pytest.mark.parametrize("dies", [False, True])
async def test_a_cancellation_reaches_a_call_to_another_function_that_is_not_stored_yet(
    dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    calls: list[str] = []

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("Elsewhere/work"), b"", kind=Kind.SERVICE), unpack)
        calls.append(call.id)
        await call

    async def die(*_: Any, **__: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(world.engine.deployment, "_kinds", lambda target: Kind.SERVICE)
    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
        assert await world.engine.control.cancel(id) == "accepted"
        if dies:  # as soon as the call is stored
            monkeypatch.setattr(world.engine.control, "cancel", die)
        task = asyncio.create_task(world.engine.resume(id))
        await settle()
        task.cancel()
        world.engine.process.abort()
    assert [note.id for note in await world.engine.storage.notifications((await world.meta(calls[0])).ref)] == ["x"]


async def test_a_cancellation_reaches_a_call_whose_first_attempt_fails_before_it_is_stored() -> None:
    world = World()
    tries: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        tries.append(ctx.id)
        if len(tries) == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Sleep(1_000_000), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("S/work"), b""), unpack)

    with dispatches_lost(world):
        id = await world.send("S/caller")
        await settle()
        assert await world.engine.control.cancel(id) == "accepted"
    await world.engine.resume(id)
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    assert value((await world.meta(tries[0])).outcome) == (409, "cancelled")


async def test_a_record_that_the_sweeper_cannot_act_on_keeps_up_no_other() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    with dispatches_lost(world):
        ids = [await world.send("S/work") for _ in range(30)]
        await settle()

    async def throttle(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "peek" and args[0] == ids[0]:
            raise Unavailable("throttled")

    world.store.hook = throttle
    await world.clock.advance(11)
    sweep = asyncio.create_task(world.engine.sweeper.sweep())
    for _ in range(30):  # as long as nine tries of each read may take, with their jitter
        await world.clock.advance(10)
        await settle()
    assert sweep.done()
    world.store.hook = None
    assert [value((await world.meta(id)).outcome) for id in ids[1:]] == ["done"] * 29


async def test_one_timer_for_one_sleep_however_often_it_is_suspended() -> None:
    world = World()
    timers: set[str] = set()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        end = ctx.issue(c.Sleep(1_000_000), unpack)
        for _ in range(5):
            await select(end, ctx.issue(c.Signal("tick"), unpack))

    async def schedule(ref: Ref, name: str, at: int) -> None:
        timers.add(name)

    world.timers[0].schedule = schedule  # type: ignore[method-assign]
    id = await world.send("S/listen")
    await settle()
    for _ in range(4):
        await world.engine.outbound.signal(id, "tick", Outcome(pack(1)))
        await settle()
    meta = await world.meta(id)
    assert (meta.status, meta.epoch, len(timers)) == (Status.SUSPENDED, 5, 1)


async def test_a_request_with_an_idempotency_key_that_waits_for_its_key_is_cancelled_at_once() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    await world.send("O/k/hold")
    await settle()
    task = world.start("O/k/hold", idempotency_key="second")
    await settle()
    id = idempotent_id(target("O/k/hold"), "second")
    assert (await world.meta(id)).status is Status.QUEUED
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(1)
    assert task.done()
    assert value(task.result().outcome) == (409, "cancelled")


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


async def test_many_entries_without_a_value_do_not_make_the_head_too_large() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def fill(ctx: Any, _: Any) -> Any:
        for n in range(1000):
            ctx.issue(c.SetState(f"{n:0500}", b""), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def count(ctx: Any, _: Any) -> Any:
        return len(await ctx.issue(c.StateKeys(), unpack))

    await world.call("O/k/fill")
    assert await world.call("O/k/count") == 1000
    head = (await world.store.heads([ObjectKey("O", "k")]))[ObjectKey("O", "k")]
    assert sum(len(name) for name in head.state) < 5000


@pytest.mark.parametrize("lazy", [True, False])
async def test_a_state_read_gives_what_was_there_when_it_was_asked_for(lazy: bool) -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE, lazy_state=lazy)
    async def go_on(ctx: Any, _: Any) -> Any:
        read = ctx.issue(c.GetState("a"), unpack)
        for name in "ab":
            ctx.issue(c.SetState(name, pack("new" * 1000)), unpack)
        await ctx.issue(c.Run("step", closure(1)), unpack)
        later = [await ctx.issue(c.GetState(name), unpack) for name in "ab"]
        return [value[:3] for value in (await read, *later)]

    await world.call("O/k/begin")
    assert await world.call("O/k/go_on") == ["old", "new", "new"]


async def test_processes_that_end_are_no_failures_in_a_row_where_each_got_somewhere() -> None:
    world = World(8)
    hangs = True

    async def step() -> bytes:
        nonlocal hangs
        hangs = not hangs
        if not hangs:
            await asyncio.get_running_loop().create_future()
        return b""

    @world.handler("S", retry=RetryPolicy(attempts=3))
    async def work(ctx: Any, _: Any) -> Any:
        for _ in range(5):
            await ctx.issue(c.Run("step", step), unpack)
        return "done"

    id = await world.send("S/work")
    for process in range(1, 8):
        await settle()
        for engine in world.engines:
            engine.process.abort()
        await world.clock.advance(75)
        await world.engines[process].sweeper.sweep()
        await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == "done"


async def test_a_commit_that_is_larger_than_it_was_taken_for_is_made_in_halves() -> None:
    world = World()

    @world.handler("S")
    async def write(ctx: Any, _: Any) -> Any:
        return len(await ctx.issue(c.Run("step", returning("🙂".encode() * 25_000)), lambda data: data or b""))

    @world.handler("S")
    async def gather_all(ctx: Any, _: Any) -> Any:
        return sum(await gather(*(ctx.issue(c.Call(target("S/write"), b""), unpack) for _ in range(16))))

    id = await world.send("S/gather_all")
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 16 * 100_000


async def test_a_commit_that_collides_with_others_is_made_in_parts() -> None:
    world = World()
    committed: list[int] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetState("x"), unpack)

    @world.handler("S")
    async def send_all(ctx: Any, _: Any) -> Any:
        for i in range(20):
            ctx.issue(c.Send(target(f"O/{i}/work"), b""), unpack)

    async def collide(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit":
            if len(args[0]) > 12:
                raise Contended("others are at work on a key")
            committed.append(len(args[0]))

    world.store.hook = collide
    task = world.start("S/send_all")
    await world.clock.advance(1)
    assert (await task).outcome == Outcome(b"null")
    await world.clock.advance(1)
    assert [meta.status for meta in world.store.records() if isinstance(meta, Meta)] == [Status.COMPLETED] * 21
    assert max(committed) > 6


async def test_a_message_that_began_before_its_sender_had_an_answer_is_accepted() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return "done"

    async def lose(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "commit":
            world.store.hook = None
            (stored,) = world.store.records()
            assert isinstance(stored, Meta)
            await world.engine.resume(stored.id, fresh=True)
            raise Unavailable("lost")

    world.store.hook = lose
    send = asyncio.create_task(world.engine.send(Request(target("S/work"), b"")))
    await world.clock.advance(1)
    assert send.result().accepted


async def test_a_dispatch_that_is_lost_after_hours_in_an_inbox_is_repeated() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, seconds: Any) -> Any:
        await ctx.issue(c.Sleep(seconds * 1000), unpack)
        return "done"

    await world.send("O/k/hold", 4 * 3600)
    await settle()
    id = await world.send("O/k/hold", 0)
    await world.engine.outbound.signal(id, "so that it has to be dispatched", Outcome(b"1"))
    for _ in range(15):
        await world.clock.advance(15 * 60)
        await world.engine.sweeper.sweep()
    assert (await world.meta(id)).status is Status.QUEUED
    with dispatches_lost(world):
        await world.clock.advance(15 * 60 + 11)
    assert (await world.meta(id)).status is Status.READY
    await world.engine.sweeper.sweep()
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == "done"


@pytest.mark.parametrize("then", ["fails", "waits", "ends"])
async def test_whoever_was_taken_for_dead_and_was_not_leaves_no_trace_of_that(then: str) -> None:
    world = World(2)
    tries = 0
    slow: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def refuse() -> bytes:
        raise ValueError("refused")

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        return await (refuse() if tries == 1 else slow)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("slow", step), unpack)
        if then == "fails":
            await ctx.issue(c.Run("refuse", refuse), unpack)
        if then == "waits":
            await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await world.clock.advance(1)
    assert (await world.meta(id)).failures == 1
    await world.clock.advance(75)
    with dispatches_lost(world):
        await world.engines[1].sweeper.sweep()
        await settle()
    assert (await world.meta(id)).failures == 2
    slow.set_result(b"")
    await settle()
    meta = await world.meta(id)
    expected = {
        "fails": (Status.BACKING_OFF, 1, "ValueError: refused"),
        "waits": (Status.SUSPENDED, 0, "ValueError: refused"),
        "ends": (Status.COMPLETED, 1, None),
    }
    assert (meta.status, meta.failures, meta.error) == expected[then]


async def test_a_cancellation_is_done_to_its_end_when_the_attempt_that_asked_for_it_fails() -> None:
    world = World()
    calls: set[str] = set()
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        return await failing

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(100_000), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("O/k/hold"), b""), unpack)
        calls.add(call.id)
        await gather(ctx.issue(c.Cancel(call.id), unpack), ctx.issue(c.Run("step", step), unpack))

    async def fail_then(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        ending = method == "commit" and any("outcome" in getattr(change, "set", ()) for change in args[0])
        if phase == "after" and ending and not failing.done():
            failing.set_exception(ValueError("unlucky"))
            await settle()

    await world.send("O/k/hold")
    await settle()
    world.store.hook = fail_then
    id = await world.send("S/caller")
    await settle()
    await settle()
    assert (await world.meta(id)).status is Status.BACKING_OFF
    cancelled = await world.meta(calls.pop())
    assert (cancelled.status, value(cancelled.outcome)) == (Status.COMPLETED, (409, "cancelled"))


async def test_an_owner_that_is_rewound_owns_its_key_still() -> None:
    world = World(2)

    @world.handler("P", Kind.EXCLUSIVE)
    async def visit(ctx: Any, _: Any) -> Any:
        visits = (await ctx.issue(c.GetState("visits"), unpack) or 0) + 1
        ctx.issue(c.SetState("visits", pack(visits)), unpack)
        return visits

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(3000), unpack)
        return await ctx.issue(c.Call(target("P/k/visit"), b""), unpack)

    async def collide(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and any("outcome" in getattr(each, "set", ()) for each in args[0]):
            world.store.hook = None
            assert await world.engines[1].control.kill(second) == "accepted"
            await world.engines[1].call(Request(target("P/k/visit"), b""), until=world.clock.now() + 1000)

    first = await world.send("O/k/work")
    await world.clock.advance(0.01)
    second = await world.send("O/k/work")
    await settle()
    assert (await world.meta(second)).status is Status.QUEUED
    world.store.hook = collide
    await world.clock.advance(5)
    assert value((await world.meta(first)).outcome) == 2
    heads = await world.store.heads([target("O/k/work").object])
    assert [head.owner for head in heads.values()] == [None]


async def test_who_is_to_be_resumed_while_it_is_suspended_is() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        awakeable = ctx.issue(c.Awakeable(), unpack)
        ids.append(awakeable.id)
        return await awakeable

    async def complete(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        suspends = method == "commit" and any(getattr(each, "set", {}).get("status") == "suspended" for each in args[0])
        if phase == "after" and suspends:
            world.store.hook = None
            with dispatches_lost(world):
                await world.engines[1].outbound.complete(ids[0], Outcome(pack("done")))
                await settle()
            await world.engine.resume(id)

    with dispatches_lost(world):
        id = await world.send("S/work")
        await settle()
    world.store.hook = complete
    await world.engine.resume(id, fresh=True)
    await settle()
    assert value((await world.meta(id)).outcome) == "done"


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


async def test_what_goes_wrong_while_a_unit_looks_at_its_records_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    looks = asyncio.Event()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Cancel("inv_unknown"), unpack)

    cancel = world.engine.control.cancel

    async def fail(*_: Any, **__: Any) -> Acknowledgement:
        await looks.wait()
        monkeypatch.setattr(world.engine.control, "cancel", cancel)
        raise ValueError("unlucky")

    async def look(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "peek":
            world.store.hook = None
            looks.set()
            await settle()

    monkeypatch.setattr(world.engine.control, "cancel", fail)
    id = await world.send("S/work")
    await settle()
    world.store.hook = look
    await world.clock.advance(3)
    assert (await world.meta(id)).status is Status.RUNNING
    await world.clock.advance(75)
    await world.engine.sweeper.sweep()
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == "not found"


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


async def test_a_shared_handler_reads_what_others_have_written_since_its_caller_did() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("total", pack((await ctx.issue(c.GetState("total"), unpack) or 0) + 1)), unpack)

    @world.handler("O", Kind.SHARED)
    async def total(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetState("total"), unpack)

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/add"), b""), unpack)
        mine = await ctx.issue(c.Call(target("O/k/total"), b""), unpack)
        awakeable = ctx.issue(c.Awakeable(), unpack)
        ids.append(awakeable.id)
        await awakeable
        return [mine, await ctx.issue(c.Call(target("O/k/total"), b""), unpack)]

    task = world.start("S/ask")
    await world.clock.advance(1)
    await world.engines[1].call(Request(target("O/k/add"), b""), until=world.clock.now() + 1000)
    assert await world.engines[1].outbound.complete(ids[0], Outcome(pack(None))) == "accepted"
    await world.clock.advance(5)
    assert value((await task).outcome) == [1, 2]


@pytest.mark.parametrize("lazy", [True, False], ids=["lazily", "eagerly"])
async def test_a_shared_handler_is_shown_no_earlier_state_than_before(lazy: bool) -> None:
    world = World()

    async def look(ctx: Any) -> int:
        return await ctx.issue(c.GetState("total"), unpack) or 0

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("total", pack((await ctx.issue(c.GetState("total"), unpack) or 0) + 1)), unpack)

    @world.handler("O", Kind.SHARED, lazy_state=lazy)
    async def watch(ctx: Any, _: Any) -> Any:
        seen = [await look(ctx)]
        await ctx.issue(c.Call(target("O/k/add"), b""), unpack)
        seen.append(await look(ctx))
        await ctx.issue(c.Sleep(500), unpack)
        return [*seen, await look(ctx)]

    @world.handler("S")
    async def ask(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("O/k/watch"), b""), unpack)

    assert await world.call("S/ask") == ([0, 1, 1] if lazy else [0, 0, 0])


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


async def test_a_cancellation_that_comes_while_the_last_attempt_fails_is_not_lost() -> None:
    world = World(2)
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        return await failing

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("step", step), unpack)

    id = await world.send("S/work")
    await settle()
    assert await world.engines[1].control.cancel(id) == "accepted"
    failing.set_exception(ValueError("unlucky"))
    await world.clock.advance(0.1)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")


async def test_who_is_cancelled_and_paused_before_seeing_that_goes_on_when_cancelled_again() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await settle()
    with dispatches_lost(world):
        assert await world.engine.control.cancel(id) == "accepted"
        await settle()
        assert await world.engine.control.pause(id) == "accepted"
    assert await world.engine.control.cancel(id) == "accepted"
    await settle()
    assert value((await world.meta(id)).outcome) == (409, "cancelled")


async def test_who_fails_without_seeing_its_cancellation_is_not_woken_by_that_again_and_again() -> None:
    world = World()
    attempts = 0

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await ctx.issue(c.Run(f"step {attempts}", closure(1)), unpack)  # not what the journal holds
        await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(60)
    assert ((await world.meta(id)).status, attempts) == (Status.PAUSED, 2)


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


async def test_what_is_said_once_more_and_otherwise_does_not_change_what_an_awakeable_was_given() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        given = await ctx.issue(c.Awakeable(), unpack)
        return [len(given), *sorted(set(given))]

    id = await world.send("S/work")
    await settle()
    awakeable = awakeable_id((await world.meta(id)).ref, 0)
    with dispatches_lost(world):
        for given, said in (("a" * 1_600_000, "accepted"), ("b" * 800_000, "already"), ("a" * 1_600_000, "accepted")):
            assert await world.engine.outbound.complete(awakeable, Outcome(pack(given)), commit_id="same") == said
        await settle()
    await world.engine.resume(id)
    assert value((await world.meta(id)).outcome) == [1_600_000, "a"]


async def test_what_is_said_twice_at_once_does_not_mix_in_a_promise() -> None:
    world = World()
    key = ObjectKey("W", "k")

    async def come_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "put":
            world.store.hook = None
            first = Outcome(pack("a" * 1_600_000))
            assert await world.engine.promises.complete(key, "done", first, commit_id="same") == "accepted"

    world.store.hook = come_first
    second = Outcome(pack("b" * 800_000))
    assert await world.engine.promises.complete(key, "done", second, commit_id="same") == "already"
    given = value(await world.engine.promises.peek(key, "done"))
    assert [len(given), *sorted(set(given))] == [1_600_000, "a"]


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


async def test_who_has_an_awakeable_s_id_can_complete_nothing_else_with_it() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        given = ctx.issue(c.Awakeable(), unpack)
        await ctx.issue(c.Sleep(5000), unpack)
        return await given

    id = await world.send("S/work")
    await settle()
    ref = (await world.meta(id)).ref
    for n in (1, 0):
        await world.engine.outbound.complete(awakeable_id(ref, n), Outcome(pack(n)))
    await world.clock.advance(4)
    assert (await world.meta(id)).live
    await world.clock.advance(2)
    assert value((await world.meta(id)).outcome) == 0


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


async def test_a_handler_may_go_on_after_a_state_entry_was_refused() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        with suppress(TerminalError):
            ctx.issue(c.SetState("a", b"x" * 5_000_000), unpack)
        await ctx.issue(c.Run("step", closure(1)), unpack)
        await ctx.issue(c.Sleep(100_000), unpack)
        return await ctx.issue(c.Run("step", closure(2)), unpack)

    id = await world.send("O/k/work")
    await settle()
    await world.clock.advance(101)
    await settle()
    meta = await world.meta(id)
    assert (meta.status, meta.error, meta.outcome and value(meta.outcome)) == (Status.COMPLETED, None, 2)


async def test_what_a_handler_does_after_a_journal_mismatch_counts_for_nothing() -> None:
    world = World()
    changed = False
    ran: list[str] = []

    @world.handler("S")
    async def refund(ctx: Any, _: Any) -> Any:
        ran.append("refund")

    @world.handler("S")
    async def order(ctx: Any, _: Any) -> Any:
        try:
            if changed:
                await ctx.issue(c.Run("another", closure(0)), unpack)
            return await ctx.issue(c.Awakeable(), unpack)
        except Exception:
            ctx.issue(c.Send(target("S/refund"), b""), unpack)
            raise

    id = await world.send("S/order")
    await settle()
    ref = (await world.meta(id)).ref
    changed = True
    await world.engine.outbound.signal(id, "wake", Outcome(pack(1)))
    await world.clock.advance(1)
    changed = False
    assert (await world.meta(id)).status is Status.BACKING_OFF
    await world.engine.outbound.complete(awakeable_id(ref, 0), Outcome(pack("paid")))
    await world.clock.advance(100)
    meta = await world.meta(id)
    assert (meta.error, meta.outcome and value(meta.outcome), ran) == (None, "paid", [])


async def test_the_result_of_a_step_is_kept_while_another_one_runs() -> None:
    world = World(2)
    ran: list[str] = []

    async def fast() -> bytes:
        ran.append("fast")
        return b"1"

    async def slow() -> bytes:
        ran.append("slow")
        return b"2" if ran.count("slow") > 1 else await never()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await gather(ctx.issue(c.Run("fast", fast), unpack), ctx.issue(c.Run("slow", slow), unpack))

    id = await world.send("S/work")
    await world.clock.advance(50)
    world.engine.process.abort()
    await settle()
    await world.clock.advance(75)
    await world.engines[1].sweeper.sweep()
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == [1, 2]
    assert ran == ["fast", "slow", "slow"]


async def test_a_crash_of_a_cancelled_caller_does_not_keep_its_call_from_being_cancelled() -> None:
    world = World(2)
    ids = caller_of_child(world, lambda ctx, call: call)
    id = await world.send("S/parent")
    await settle()
    assert (await world.meta(id)).status is Status.SUSPENDED
    child = ids[0]
    assert (await world.meta(child)).status is Status.SUSPENDED
    await crash_before_telling(world, id, child)
    again = await world.engines[1].control.cancel(id)
    await world.clock.advance(60)
    await world.engines[1].sweeper.sweep()
    await settle()
    assert (again, (await world.meta(child)).status, (await world.meta(id)).status) == (
        "already",
        Status.COMPLETED,
        Status.COMPLETED,
    )


async def test_a_crash_of_a_cancelled_caller_that_had_ended_does_not_either() -> None:
    world = World(2)
    ids = caller_of_child(world, lambda ctx, call: select(call, ctx.issue(c.Sleep(1_000_000), unpack)))
    id = await world.send("S/parent")
    await settle()
    await crash_before_telling(world, id, ids[0])
    assert ((await world.meta(id)).status, (await world.meta(ids[0])).status) == (Status.COMPLETED, Status.COMPLETED)


@pytest.mark.parametrize("sleep", ["durable", "asyncio"])
async def test_a_cancellation_is_not_lost_to_a_call_that_makes_the_best_of_it(sleep: str) -> None:
    world = World()

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        try:
            await ctx.issue(c.Sleep(10_000), unpack)
        except TerminalError:
            return "cleaned up"

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("S/child"), b""), unpack)
        await (asyncio.sleep(100_000) if sleep == "asyncio" else ctx.issue(c.Sleep(100_000_000), unpack))
        return "done"

    id = await world.send("S/parent")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(1000)
    meta = await world.meta(id)
    assert not meta.live, meta.status


async def test_a_cancellation_is_not_lost_to_a_call_that_is_over_by_then() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return "done"

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call
        await ctx.issue(c.Sleep(100_000_000), unpack)
        return "done"

    id = await world.send("S/parent")
    await settle()
    with dispatches_lost(world):  # the process that is to see the cancellation comes a moment late
        await world.clock.advance(9.9)
        assert await world.engine.control.cancel(id) == "accepted"
        world.engine.process.spawn(world.engine.resume(ids[0]), repeated_by=Repeat.DISPATCH)
        await world.clock.advance(0.2)
    assert not (await world.meta(ids[0])).live
    await world.clock.advance(20)
    await world.engine.sweeper.sweep()
    await world.clock.advance(20)
    meta = await world.meta(id)
    again = await world.engine.control.cancel(id)
    assert (meta.status, again) == (Status.COMPLETED, "already")


async def test_a_cancellation_ends_a_sleep_of_asyncio() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await asyncio.sleep(100_000)

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(20)
    meta = await world.meta(id)
    assert not meta.live, meta.status


async def test_a_cancellation_ends_a_task_that_sleeps() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        t = asyncio.create_task(asyncio.sleep(100_000))
        await asyncio.wait({t})

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(20)
    meta = await world.meta(id)
    assert not meta.live, meta.status


async def test_who_runs_beside_a_call_that_is_killed_has_not_failed() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("first", closure(1)), unpack)
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call

    id = await world.send("S/parent")
    await settle()
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(8)
    for _ in range(20):
        await world.clock.advance(10)
        await world.engines[1].sweeper.sweep()
        await settle()
        meta = await world.meta(id)
        if not meta.live:
            break
    assert value(meta.outcome) == (409, "killed")


async def test_who_ended_beside_a_call_that_is_killed_and_is_not_stored_yet_has_not_failed() -> None:
    world = World(2)
    ids: list[str] = []

    async def slow() -> bytes:  # it ends just before its unit looks at its records
        await world.clock.sleep(2.98)
        return b"1"

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def other(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("slow", slow), unpack)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def parent(ctx: Any, _: Any) -> Any:
        killed = ctx.issue(c.Call(target("S/child"), b""), unpack)
        result = ctx.issue(c.Call(target("S/other"), b""), unpack)
        ids.append(killed.id)
        with suppress(TerminalError):
            await killed
        return await result

    id = await world.send("S/parent")
    await settle()
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(2.999)
    assert (await world.meta(id)).epoch == 1
    await world.clock.advance(5)
    meta = await world.meta(id)
    assert (meta.outcome and value(meta.outcome), meta.failures) == (1, 0)


async def test_a_call_of_which_two_timers_end_at_once_ends_once() -> None:
    world = World()
    tries = 0

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await select(ctx.issue(c.Sleep(20), unpack), ctx.issue(c.Sleep(20), unpack))
        return 1

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1
        result = await ctx.issue(c.Call(target("S/child"), b""), unpack)
        if tries == 1:
            raise ValueError("unlucky")
        return result

    @world.handler("S")
    async def grandparent(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/parent"), b""), unpack)

    id = await world.send("S/grandparent")
    await world.clock.advance(10)
    meta = await world.meta(id)
    assert (meta.outcome and value(meta.outcome), meta.failures, tries) == (1, 0, 2)


async def test_who_has_only_written_its_journal_goes_on_at_once_beside_a_call_that_is_killed() -> None:
    world = World(2)
    ids: list[str] = []

    async def slow() -> bytes:
        await world.clock.sleep(0.1)
        return b"1"

    @world.handler("S")
    async def child(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("hang", never), unpack)

    @world.handler("S")
    async def parent(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("slow", slow), unpack)
        call = ctx.issue(c.Call(target("S/child"), b""), unpack)
        ids.append(call.id)
        await call

    with dispatches_lost(world):
        id = await world.send("S/parent")
        await settle()
    task = asyncio.create_task(world.engine.resume(id, fresh=True))
    await world.clock.advance(1)
    assert await world.engines[1].control.kill(ids[-1]) == "accepted"
    await world.clock.advance(8)
    assert value((await world.meta(id)).outcome) == (409, "killed")
    assert task.done()


@pytest.mark.parametrize("how", ["an operator", "a crash"])
async def test_who_is_stopped_in_its_first_step_and_then_cancelled_can_undo_it(how: str) -> None:
    """That the step has begun is in no journal yet."""
    world = World(2)
    ran: list[str] = []

    async def charge() -> bytes:
        ran.append("charged")
        return await never()

    async def refund() -> bytes:
        ran.append("refunded")
        return b""

    @world.handler("S", retry=RetryPolicy(attempts=2))
    async def order(ctx: Any, _: Any) -> Any:
        if how == "a crash" and len(ran) == 1:
            ran.append("failed")
            raise ValueError("unlucky")
        try:
            await ctx.issue(c.Run("charge", charge), unpack)
        except TerminalError:
            await ctx.issue(c.Run("refund", refund), unpack)
            raise

    world.start("S/order", idempotency_key="k")
    id = idempotent_id(target("S/order"), "k")
    await settle()
    if how == "an operator":
        assert await world.engines[1].control.pause(id) == "accepted"
    else:
        world.engine.process.abort()
        await settle()
        await world.clock.advance(75)
        await world.engines[1].sweeper.sweep()
        await settle()
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engines[1].control.cancel(id) == "accepted"
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == (409, "cancelled")
    assert ran[-1] == "refunded"


async def test_an_exception_that_nobody_retrieves_is_no_failure() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def fails() -> None:
            await ctx.issue(c.Run("step", closure(1)), unpack)
            raise TerminalError("x")

        async def slow() -> int:
            await ctx.issue(c.Sleep(1000), unpack)
            return 2

        t1, t2 = asyncio.create_task(fails()), asyncio.create_task(slow())
        await asyncio.wait({t1, t2})
        return await t2

    id = await world.send("S/work")
    await world.clock.advance(50)
    meta = await world.meta(id)
    assert (meta.status, meta.error, meta.outcome and value(meta.outcome)) == (Status.COMPLETED, None, 2)


async def test_a_read_under_way_when_its_attempt_fails_does_not_see_a_later_write() -> None:
    world = World()
    tries = 0

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def go_on(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1
        read = ctx.issue(c.GetState("a"), unpack)
        ctx.issue(c.SetState("a", pack("new" * 1000)), unpack)
        if tries == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Run("another", closure(1)), unpack)
        return (await read)[:3]

    await world.call("O/k/begin")
    assert await world.call("O/k/go_on") == "old"


@pytest.mark.parametrize("how", ["a step has failed", "a result makes it fail"])
@pytest.mark.parametrize("later", range(8))
async def test_a_read_s_answer_counts_whatever_fails_before_the_handler_is_told(how: str, later: int) -> None:
    """The answer comes while the step is under way, in the same moment, or some time after it has ended."""
    world = World()
    tries = 0
    end = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        await end
        if how == "a step has failed" and tries == 1:
            raise ValueError("unlucky")
        return b"1"

    async def end_the_step(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "state"):
            world.store.hook = None
            end.set_result(None)
            for _ in range(later):
                await asyncio.sleep(0)

    @world.handler("O", Kind.EXCLUSIVE)
    async def begin(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("a", pack("old" * 1000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def go_on(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1
        long = ctx.issue(c.Run("long", step), unpack)
        await ctx.issue(c.Run("short", closure(1)), unpack)
        read = ctx.issue(c.GetState("a"), unpack)
        ctx.issue(c.SetState("a", pack("new" * 1000)), unpack)
        await long
        if tries == 1:
            raise ValueError("unlucky")
        await ctx.issue(c.Run("another", closure(1)), unpack)
        return (await read)[:3]

    await world.call("O/k/begin")
    world.store.hook = end_the_step
    assert await world.call("O/k/go_on") == "old"
    assert (tries, world.store.hook) == (2, None)


@pytest.mark.parametrize("crash", [False, True])
async def test_what_a_handler_says_to_one_and_does_not_wait_for_comes_in_the_order_in_which_it_said_it(
    crash: bool,
) -> None:
    world = World(2)
    late: list[str] = []

    async def delay_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method, late) == ("before", "peek", []):
            late.append(args[0])
            await world.clock.sleep(1)

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        given = ctx.issue(c.Awakeable(), unpack)
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(3)] + [await given]

    @world.handler("S")
    async def tell(ctx: Any, about: Any) -> Any:
        for n in range(3):
            ctx.issue(c.SendSignal(about[0], "a", Outcome(pack(n))), unpack)
        for n in range(3):
            ctx.issue(c.Complete(about[1], Outcome(pack(n))), unpack)

    id = await world.send("S/listen")
    await settle()
    given = awakeable_id((await world.meta(id)).ref, 0)
    world.store.hook = delay_the_first
    await world.send("S/tell", [id, given])
    await world.clock.advance(0.5)
    assert late
    if crash:
        world.engine.process.abort()
        await settle()
    for _ in range(4):
        await world.clock.advance(40)
        await world.engines[1].sweeper.sweep()
    assert value((await world.meta(id)).outcome) == [0, 1, 2, 0]


async def test_signals_come_in_order_to_who_hears_of_the_second_before_the_first() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(2)]

    task = world.start("S/listen")
    await settle()
    for n in (1, 0):
        await world.engines[n].outbound.signal(ids[0], "a", Outcome(pack(n)))
    await world.clock.advance(1)
    assert value(task.result().outcome) == [1, 0]


async def test_signals_come_in_order_though_clocks_differ() -> None:
    world = World()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(2)]

    id = await world.send("S/listen")
    await settle()
    with dispatches_lost(world):
        for n in range(2):
            await world.engine.outbound.signal(id, "a", Outcome(pack(n)))
            world.clock.time -= 1000
        await settle()
    await world.engine.resume(id)
    assert value((await world.meta(id)).outcome) == [0, 1]


async def test_signals_come_in_order_to_who_is_rewound() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        pass

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        first = await ctx.issue(c.Signal("a"), unpack)
        await ctx.issue(c.Call(target("O/k/work"), b""), unpack)
        return [first, await ctx.issue(c.Signal("a"), unpack)]

    async def interfere(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "commit") and any(isinstance(change, WriteHead) for change in args[0]):
            world.store.hook = None
            await world.engines[1].send(Request(target("O/k/work"), b""))
            await world.engine.outbound.signal(ids[0], "a", Outcome(pack(2)))

    task = world.start("S/listen")
    await settle()
    world.store.hook = interfere
    await world.engine.outbound.signal(ids[0], "a", Outcome(pack(1)))
    await world.clock.advance(5)
    assert value(task.result().outcome) == [1, 2]
    assert world.store.hook is None


@pytest.mark.parametrize("read", ["load", "read_notifications"])
async def test_signals_come_in_order_though_a_query_passes_over_the_first(read: str) -> None:
    """It is put at the beginning when that has been read, and the second at the end when that has not."""
    world = World(2)
    world.store = MemoryStore(page=2000)

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return [(await ctx.issue(c.Signal("a"), unpack))[0] for _ in range(6)]

    async def send(n: int, place: str) -> None:
        await world.engines[1].outbound.signal(id, "a", Outcome(pack([n, "x" * 900])), commit_id=place)

    async def send_two(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", read) and args[-1] is not None and len(args) > 1:
            world.store.hook = None
            await send(5, "0")
            await send(6, "9")

    id = await world.send("S/listen")
    await settle()
    with dispatches_lost(world):
        for n in range(1, 5):
            await send(n, f"5{n}")
            world.clock.time += 1
        await settle()
        world.store.hook = send_two
        if read == "load":
            await world.engine.resume(id)
        else:
            items = await world.engine.storage.notification_items((await world.meta(id)).ref)
            assert [item.after for item in items] == [0, 1, 2, 3, 4, 5]
            await world.engine.resume(id)
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("how", ["failed", "returned"])
async def test_what_a_task_does_after_its_handler_has_ended_counts_for_nothing(how: str) -> None:
    world = World()
    tries = 0
    ran: list[str] = []

    @world.handler("S")
    async def refund(ctx: Any, _: Any) -> Any:
        ran.append("refund")

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal tries
        tries += 1

        async def beside() -> None:
            ctx.issue(c.Send(target("S/refund"), b""), unpack)

        task = asyncio.create_task(beside())
        if how == "returned":
            return 1
        if tries == 1:
            raise ValueError("unlucky")
        task.cancel()
        return await ctx.issue(c.Run("step", closure(1)), unpack)

    id = await world.send("S/work")
    await world.clock.advance(10)
    meta = await world.meta(id)
    assert (meta.error, meta.outcome and value(meta.outcome), ran) == (None, 1, [])


@pytest.mark.filterwarnings("ignore:Exception ignored in")
async def test_a_handler_that_catches_everything_is_abandoned_all_the_same() -> None:
    world = World()
    count = 0

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        nonlocal count
        while count < 1000:
            count += 1
            with suppress(BaseException):
                await ctx.issue(c.Awakeable(), unpack)

    await world.send("S/work")
    await settle()
    assert count < 2 * AWAITS_TO_LEAVE


async def test_a_resume_is_not_swallowed_by_an_attempt_that_does_not_know_it_was_paused() -> None:
    world = World()
    tries = 0

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        return b"1" if tries > 1 else await never()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("hang", step), unpack)

    id = await world.send("S/work")
    await settle()
    assert await world.engine.control.pause(id) == "accepted"
    assert await world.engine.control.resume(id) == "accepted"
    await world.clock.advance(9)
    meta = await world.meta(id)
    assert not meta.live, meta


async def test_a_generator_that_is_left_early_is_closed() -> None:
    world = World()
    said: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def pages() -> Any:
            try:
                for n in range(3):
                    yield await ctx.issue(c.Run("page", closure(n)), unpack)
            finally:
                await ctx.issue(c.Run("close", closure(0)), unpack)
                said.append("closed")

        async for page in pages():
            first = page
            break
        await ctx.issue(c.Sleep(100), unpack)
        return first

    id = await world.send("S/work")
    await world.clock.advance(5)
    assert value((await world.meta(id)).outcome) == 0
    assert said == ["closed"]


async def test_a_value_too_large_for_whoever_waits_for_it_is_refused_at_once() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, _: Any) -> Any:
        large = Outcome(b"x" * 5_000_000)
        with pytest.raises(TerminalError, match="the most is 4194304"):
            ctx.issue(c.CompletePromise("p", large), unpack)
        with pytest.raises(TerminalError, match="the most is 4194304"):
            ctx.issue(c.SendSignal(ctx.id, "s", large), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)
        return await ctx.issue(c.PeekPromise("p"), unpack)

    id = await world.send("W/k/run")
    await world.clock.advance(11)
    meta = await world.meta(id)
    assert (meta.error, meta.status) == (None, Status.COMPLETED)


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


async def test_a_notification_behind_one_that_could_not_be_counted_wakes_its_receiver() -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        first, second = (ctx.issue(c.Awakeable(), unpack) for _ in range(2))
        return [await first, await second]

    task = world.start("S/work")
    await world.clock.advance(1)
    [meta] = [record for record in world.store.records() if isinstance(record, Meta)]

    async def throttle(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "count_notifications":
            raise Unavailable("throttled")

    world.store.hook = throttle
    first = asyncio.create_task(world.engine.outbound.complete(awakeable_id(meta.ref, 0), Outcome(b"1")))
    await world.clock.advance(20)
    world.store.hook = None
    with pytest.raises(Unavailable):
        await first
    await world.clock.advance(600)  # the client gives up, and the attempt is suspended
    assert (await task).outcome is None
    assert (await world.meta(meta.id)).status is Status.SUSPENDED
    assert await world.engines[1].outbound.complete(awakeable_id(meta.ref, 1), Outcome(b"2")) == "accepted"
    await world.clock.advance(1)
    assert value((await world.meta(meta.id)).outcome) == [1, 2]


GIVEN_UP: dict[str, Callable[[World, str], Coroutine[Any, Any, Any]]] = {
    "call": lambda world, id: world.engine.call(
        Request(target("S/ends"), b"null", "once"), until=world.clock.now() + 600_000
    ),
    "send": lambda world, id: world.engine.send(Request(target("S/ends"), b"null")),
    "signal": lambda world, id: world.engine.outbound.signal(id, "go", Outcome(b"null")),
    "resume": lambda world, id: world.engine.control.resume(id),
}


@pytest.mark.parametrize("asked", GIVEN_UP)
async def test_what_a_client_asked_for_happens_at_once_although_it_gives_up_when_it_is_stored(asked: str) -> None:
    world = World()
    ended: list[str] = []

    @world.handler("S")
    async def ends(ctx: Any, _: Any) -> None:
        ended.append("call or send")

    @world.handler("S")
    async def waits(ctx: Any, _: Any) -> None:
        await ctx.issue(c.Signal("go"), unpack)
        ended.append("signal or resume")

    id = (await world.engine.send(Request(target("S/waits"), b"null"))).id
    await world.clock.advance(1)
    if asked == "resume":
        await world.engine.control.pause(id)
        await world.engine.outbound.signal(id, "go", Outcome(b"null"))
    await world.clock.advance(1)
    stored = asyncio.Event()

    async def stay(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method in ("commit", "update") and not stored.is_set():
            stored.set()
            await settle()

    world.store.hook = stay
    client = asyncio.create_task(GIVEN_UP[asked](world, id))
    await stored.wait()
    client.cancel()
    await world.clock.advance(1)
    assert client.cancelled()
    assert ended == ["call or send" if asked in ("call", "send") else "signal or resume"]
