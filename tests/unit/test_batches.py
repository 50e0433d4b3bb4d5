"""The owner of a key runs the next invocations of the inbox in its own session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.journal import CommandIssued, ResultDelivered, encode
from adapter.engine.keys import KeyState
from adapter.engine.ports import Change, Create, Delete, MarkQueued, Put, TakeKey, Update, WriteHead
from adapter.engine.preparation import INBOX_PAGE
from adapter.engine.records import Head, InboxEntry, JournalSegment, Meta, Ref, Status, Unreadable
from adapter.engine.types import Kind, ObjectKey, Outcome, Target
from tests.unit.world import World, closure, pack, settle, target, unpack

KEY = ObjectKey("O", "k")


def counting(world: World, *, steps: int = 1) -> list[Any]:
    """Register ``O/hold``, which keeps its key for ten seconds, and ``O/add``, which counts; returns the inputs run."""
    ran: list[Any] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def add(ctx: Any, name: Any) -> Any:
        ran.append(name)
        for _ in range(steps):
            count = await ctx.issue(c.GetState("count"), unpack) or 0
            ctx.issue(c.SetState("count", pack(count + 1)), unpack)

    return ran


async def count(world: World) -> Any:
    return unpack((await world.store.heads([KEY]))[KEY].state.get("count"))


async def slowly(*_: object) -> None:
    """A hook: other tasks run during each request."""
    await asyncio.sleep(0)


async def pass_time(world: World, done: Callable[[], bool]) -> None:
    for _ in range(200):
        if done():
            return
        await settle()
    await world.clock.advance(1)


def puts_entry(changes: list[Change]) -> bool:
    return any(isinstance(change, Put) and isinstance(change.item, InboxEntry) for change in changes)


def hands_over(changes: list[Change]) -> bool:
    return any(isinstance(change, WriteHead) and change.owner is not None for change in changes)


async def entry_of_a_slow_process(world: World, put: asyncio.Event) -> asyncio.Task[str]:
    """Send ``late``, which takes its ticket now; its entry is put when the event is set."""

    async def wait(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and puts_entry(args[0]):
            await put.wait()

    world.store.hook = wait
    task = asyncio.create_task(world.send("O/k/add", "late", process=1))
    await settle()
    world.store.hook = None
    return task


async def test_an_entry_that_is_put_between_two_reads_of_an_inbox_has_none_run_twice() -> None:
    world = World(2)
    ran = counting(world)
    await world.send("O/k/hold")
    await settle()
    put = asyncio.Event()
    late = await entry_of_a_slow_process(world, put)
    for n in range(60):
        await world.send("O/k/add", n)
    reads = 0

    async def put_before_second_read(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        nonlocal reads
        await slowly()
        if phase == "before" and method == "inbox" and args[1] > 2:
            reads += 1
            if reads == 2:
                put.set()
                await late

    world.store.hook = put_before_second_read
    await world.clock.advance(11)
    await pass_time(world, lambda: len(ran) > 60)
    world.store.hook = None
    await world.clock.advance(1)
    assert await count(world) == 61
    assert ran == [*range(INBOX_PAGE), "late", *range(INBOX_PAGE, 60)]


def test_an_entry_that_was_read_late_stays_behind_those_that_were_known() -> None:
    """The session has run the known ones already. After a commit of less than that they have to be the next ones."""
    late, early, own = (InboxEntry(KEY, f"{n}", Ref(f"inv_{n}", "g")) for n in (2, 1, 3))
    owner = Ref("inv_0", "g")
    state = KeyState(Head(KEY, 1, owner), 0, [late, early])
    state.new_entries.append(own)
    assert state.stored_front() == [late, early, own]
    for expected in (late, early, own):
        assert state.owner is not None
        assert state.release(state.owner)
        assert state.owner == expected.ref


async def test_an_entry_that_is_put_before_an_inbox_is_read_anew_comes_first() -> None:
    world = World(2)
    ran = counting(world)
    await world.send("O/k/hold")
    await settle()
    put = asyncio.Event()
    late = await entry_of_a_slow_process(world, put)
    await world.send("O/k/add", "first")
    cancelled = await world.send("O/k/add", "cancelled")
    for name in range(50):
        await world.send("O/k/add", name)
    await world.engine.outbound.signal(cancelled, "hello", Outcome(b"1"))  # so it does not run in the owner's session

    async def cancel(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        await slowly()
        if (
            phase == "before"
            and method == "commit"
            and any(change.item.ref.id == cancelled for change in args[0] if isinstance(change, Delete))
        ):
            world.store.hook = None
            assert await world.engines[1].control.cancel(cancelled) == "accepted"
            put.set()
            await late

    world.store.hook = cancel
    await world.clock.advance(11)
    await world.clock.advance(1)
    assert ran == ["first", "late", "first", *range(50)]
    assert await count(world) == 52
    assert not [record for record in world.store.records() if isinstance(record, InboxEntry)]


async def test_an_invocation_that_left_a_part_of_its_journal_runs_after_the_owner() -> None:
    world = World(2)
    ran = counting(world)

    @world.handler("O", Kind.EXCLUSIVE)
    async def fill(ctx: Any, _: Any) -> Any:
        for n in range(5):
            ctx.issue(c.SetState(f"entry-{n}", pack("x" * 300_000)), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def read(ctx: Any, _: Any) -> Any:
        ran.append("read")
        for n in range(5):
            await ctx.issue(c.GetState(f"entry-{n}"), unpack)

    await world.send("O/k/fill")
    await world.clock.advance(1)
    owner = await world.send("O/k/hold")
    await settle()
    reader = await world.send("O/k/read")
    cancelled = await world.send("O/k/add")
    await world.engine.outbound.signal(cancelled, "hello", Outcome(b"1"))  # so it does not run in the owner's session
    parts = 0

    async def cancel(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        nonlocal parts
        await slowly()
        if phase != "before" or method != "commit":
            return
        parts += all(isinstance(change, Put) and isinstance(change.item, JournalSegment) for change in args[0])
        if len([change for change in args[0] if isinstance(change, Delete)]) == 2:  # the parts are stored by now
            assert await world.engines[1].control.cancel(cancelled) == "accepted"

    world.store.hook = cancel
    await world.clock.advance(11)
    await pass_time(world, lambda: len(ran) >= 3)
    await world.clock.advance(1)
    assert ran == ["read"] * 3  # twice in the owner's session, the second time without an end
    assert parts == 3
    assert {(await world.meta(id)).status for id in (owner, reader)} == {Status.COMPLETED}
    assert (await world.meta(owner)).failures == 0


@pytest.mark.parametrize("steps", [0, 1])
async def test_hundreds_of_messages_to_a_key_run_once_each(steps: int) -> None:
    world = World(2)
    ran = counting(world, steps=steps)
    await world.send("O/k/hold")
    await settle()
    ids = [await world.send("O/k/add", n) for n in range(400)]
    world.store.hook = slowly
    await world.clock.advance(11)
    await pass_time(world, lambda: len(ran) >= 400)
    await world.clock.advance(1)
    assert {(await world.meta(id)).status for id in ids} == {Status.COMPLETED}
    assert ran == list(range(400))
    assert await count(world) == (400 if steps else None)


async def test_what_has_run_is_committed_before_the_next_page_of_the_inbox_runs() -> None:
    world = World()
    ran = counting(world)
    await world.send("O/k/hold")
    for n in range(2 * INBOX_PAGE + 10):
        await world.send("O/k/add", n)
    uncommitted: list[int] = []

    async def look(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        await slowly()
        if phase == "before" and method == "commit" and ran:
            uncommitted.append(len(ran) - (await count(world) or 0))

    world.store.hook = look
    await world.clock.advance(11)
    await pass_time(world, lambda: len(ran) == 2 * INBOX_PAGE + 10)
    world.store.hook = None
    assert await count(world) == len(ran) == 2 * INBOX_PAGE + 10
    assert max(uncommitted) <= INBOX_PAGE + 1


async def test_a_message_behind_a_call_that_has_just_left_the_key_is_run_at_once() -> None:
    world = World()
    ran = counting(world)

    @world.handler("S")
    async def helper(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/k/add"), pack("call")), unpack)

    @world.handler("S")
    async def caller(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Send(target("O/k/add"), pack("before")), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)
        await ctx.issue(c.Call(target("S/helper"), b""), unpack)
        ctx.issue(c.Send(target("O/k/add"), pack("behind")), unpack)

    await world.send("S/caller")
    await settle()
    await world.clock.advance(11)
    assert (ran[0], ran[-1]) == ("before", "behind")
    assert await count(world) == 3


async def test_the_sweeper_tells_an_owner_that_an_invocation_waits() -> None:
    world = World(2)
    ran = counting(world)

    @world.handler("O", Kind.EXCLUSIVE)
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(1_000_000), unpack)

    await world.send("O/k/wait")
    await settle()
    dying: list[int] = []

    async def die(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and isinstance(args[0][0], MarkQueued):
            dying.append(1)
            await asyncio.get_running_loop().create_future()

    world.store.hook = die
    task = asyncio.create_task(world.send("O/k/add", "waiting", process=1))
    await settle()
    world.store.hook = None
    assert dying
    task.cancel()
    world.engines[1].process.abort()
    for _ in range(33):
        await world.clock.advance(30)
        await world.engine.sweeper.sweep()
    assert ran == []
    await world.clock.advance(11)  # the owner ends, and no sweep is due
    assert ran == ["waiting"]


async def test_a_waiting_record_that_cannot_be_read_keeps_no_owner_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    counting(world)
    owner = await world.send("O/k/hold")
    await settle()
    await world.send("O/k/add", "newer")
    await settle()

    async def refuse(*_: object) -> None:
        raise Unreadable("a record of a newer format")

    monkeypatch.setattr(world.store, "peek_all", refuse)
    await world.clock.advance(11)
    assert (await world.meta(owner)).status is Status.COMPLETED


async def test_a_key_that_was_handed_over_while_its_inbox_was_read_is_not_run_here() -> None:
    world = World(2)
    ran = counting(world)

    @world.handler("S")
    async def each(ctx: Any, _: Any) -> Any: ...

    @world.handler("S")
    async def many(ctx: Any, _: Any) -> Any:
        for _ in range(450):
            ctx.issue(c.Send(target("S/each"), b""), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def fan_out(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        ctx.issue(c.Call(target("S/many"), b""), unpack)

    await world.send("O/k/fan_out")
    await settle()
    await world.send("O/k/add", "next", process=1)
    await settle()
    handed = asyncio.Event()
    waited: list[int] = []

    async def wait(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "peek_all":
            waited.append(1)
            await handed.wait()
        if phase == "after" and method == "commit" and hands_over(args[0]):
            handed.set()

    world.store.hook = wait
    await world.clock.advance(11)
    await settle()
    assert waited
    made = [record for record in world.store.records() if isinstance(record, Meta) and record.target.service == "S"]
    assert len(made) == 451
    assert {record.status for record in made} == {Status.COMPLETED}
    assert ran == ["next"]


@pytest.mark.parametrize("how", ["cancel", "kill"])
async def test_an_invocation_whose_inbox_entry_was_lost_can_be_ended(how: str) -> None:
    world = World()
    ran = counting(world)
    await world.send("O/k/hold")
    await settle()
    id = await world.send("O/k/add")
    [entry] = await world.store.inbox(KEY, 2)
    await world.store.commit([Delete(entry)], "lost")
    end = asyncio.create_task(getattr(world.engine.control, how)(id))
    await settle()
    assert end.done()
    assert end.result() == "accepted"
    await world.clock.advance(11)
    assert not (await world.meta(id)).live
    assert ran == []


async def test_a_former_deployment_runs_no_messages_that_came_after_it() -> None:
    world = World(2)
    counting(world)
    ran: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        ran.append(next(engine.deployment.id for engine in world.engines if ctx.meta.id in engine.process.active))

    @world.handler("S")
    async def sender(ctx: Any, _: Any) -> Any:
        for _ in range(3):
            ctx.issue(c.Send(target("O/k/work"), b""), unpack)

    former, current = world.engines
    former.deployment.id, current.deployment.id = "1", "2"
    await world.send("O/k/hold")
    await settle()
    world.dispatchers[0].engine = current
    await world.send("S/sender", process=1)
    await world.clock.advance(12)
    assert ran == ["2", "2", "2"]


async def test_a_process_that_comes_too_late_to_begin_reads_the_state_again() -> None:
    world = World()

    @world.handler("O", kind=Kind.EXCLUSIVE)
    async def note(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("n", b"1"), unpack)
        return await ctx.issue(c.Run("step", closure(1)), unpack)

    key, now = ObjectKey("O", "k"), world.clock.now()
    meta = Meta("inv_" + "a" * 32, "g", Target("O", "note", "k"), Kind.EXCLUSIVE, Status.READY, now, input=b"null")
    meta = replace(meta, due=now + 60_000)
    await world.store.commit([Create(meta, 0), TakeKey(key, meta.ref, queued=False, empty=True)], "granted")
    read = asyncio.Event()
    entries = [CommandIssued(0, "set", "n", value=Outcome()), CommandIssued(1, "run", "step")]
    waiting = {
        "status": Status.BACKING_OFF,
        "epoch": 1,
        "failures": 1,
        "segments": 1,
        "due": now + 500,
        "timer": now + 500,
    }

    async def other_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Another process begins, writes the state and fails, between the two requests of this one."""
        if phase == "after" and method == "heads":
            read.set()
        if phase == "before" and method == "peek":
            await read.wait()
            world.store.hook = None
            written = WriteHead(Head(key, owner=meta.ref, state={"n": b"1"}), owner=meta.ref)
            segment = Put(JournalSegment(meta.id, "g", 0, encode(entries)[0]))
            await world.store.commit([Update(meta.ref, set=waiting), segment, written], "failed")

    world.store.hook = other_first
    late = asyncio.create_task(world.engine.resume(meta.id, key=key))
    await pass_time(world, late.done)
    assert (await world.meta(meta.id)).status is Status.COMPLETED
    assert (await world.store.heads([key]))[key].state == {"n": b"1"}


async def test_a_queued_invocation_with_a_piece_of_a_journal_runs_apart_from_the_owner() -> None:
    """An owner ran it in a batch, and put a piece of its journal ahead of a commit that failed."""
    world = World()
    ran = counting(world)

    @world.handler("O", Kind.EXCLUSIVE)
    async def hold_more(ctx: Any, _: Any) -> Any:
        ctx.issue(c.SetState("large", pack("x" * 300_000)), unpack)
        await ctx.issue(c.Sleep(10_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def read(ctx: Any, times: Any) -> Any:
        return [len(await ctx.issue(c.GetState("large"), unpack)) for _ in range(times)]

    owner = await world.send("O/k/hold_more")
    await settle()
    reader = await world.send("O/k/read", 4)
    await world.send("O/k/add", "behind")
    left = await world.meta(reader)
    assert left.status is Status.QUEUED
    piece = encode([ResultDelivered(0, Outcome(b"x" * 400_000))])[0]
    await world.store.commit([Put(JournalSegment(reader, left.generation, 0, piece))], "an earlier attempt")

    await world.clock.advance(11)
    await pass_time(world, lambda: bool(ran))

    assert await count(world) == 1
    assert (await world.meta(owner)).failures == 0
    assert unpack((await world.meta(reader)).outcome.value) == [300_000] * 4  # type: ignore[union-attr]


async def test_messages_of_two_attempts_to_their_own_key_come_in_order() -> None:
    """The first attempt has not told the owner, which is its own invocation, that a message waits."""
    world = World(2)
    ran = counting(world)

    @world.handler("O", Kind.EXCLUSIVE)
    async def sends(ctx: Any, _: Any) -> None:
        ctx.issue(c.Send(target("O/k/add"), pack("first")), unpack)
        await ctx.issue(c.Run("between", closure(None)), unpack)
        ctx.issue(c.Send(target("O/k/add"), pack("second")), unpack)

    told = asyncio.Event()

    async def wait(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and isinstance(args[0][0], MarkQueued):
            await told.wait()

    world.store.hook = wait
    owner = await world.send("O/k/sends")
    await settle()
    assert await world.engines[1].control.pause(owner) == "accepted"
    assert await world.engines[1].control.resume(owner) == "accepted"
    await world.clock.advance(1)
    told.set()
    await world.clock.advance(1)
    assert (await world.meta(owner)).status is Status.COMPLETED
    assert ran == ["first", "second"]
