"""While a client waits, the call of an invocation that waits for nothing else is put after the write that issues it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.ports import Create, Put, Update
from adapter.engine.records import JournalSegment, Meta, Notification, Status
from adapter.engine.requests import Answer
from adapter.engine.storage import Storage
from adapter.engine.transitions import GRACE
from adapter.engine.types import Outcome, RetryPolicy, Target
from adapter.frozen import replace
from tests.unit.stage import Stage
from tests.unit.world import closure, pack, settle, unpack, value

FIRST, FURTHER = "Near/call", "Near/again"


async def answered(stage: Stage, client: asyncio.Task[Answer]) -> Any:
    """Let time pass until the client has its answer, and return that."""
    for _ in range(100):
        await settle()
        if client.done():
            break
        await stage.clock.advance(0.1)
    return value((await client).outcome)


async def held(stage: Stage, path: str) -> tuple[asyncio.Task[Answer], Meta]:
    """Return a client that waits for a caller, and the record of the call that this waits for. Its dispatch is lost."""
    number = int(path == FURTHER)
    stage.lost = number
    client = stage.begin(path)
    for _ in range(20):
        await stage.clock.advance(0.1)
    assert stage.caller.status is Status.RUNNING
    call = await stage.call_of(stage.caller.id, number)
    assert call is not None
    return client, call


async def torn(stage: Stage, path: str) -> None:
    """Leave a caller whose process ended before it put the record of a call."""
    number = int(path != FIRST)
    stage.fails = number
    client = stage.begin(path)
    stage.engines["Near"].process.deadline = stage.clock.now() + 1500
    await stage.clock.advance(4)
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    stage.fails = None
    assert stage.caller.status is Status.RUNNING
    assert await stage.call_of(stage.caller.id, number) is None
    stage.engines["Near"].process.deadline = stage.clock.now() + stage.timeout


def described(stage: Stage) -> list[int]:
    """The calls that the caller's record and its journal describe, by their commands."""
    segments = [each.calling for each in stage.store.records() if isinstance(each, JournalSegment)]
    return [each.command for each in (stage.caller.calling, *segments) if each is not None]


async def test_each_call_takes_two_plain_writes_of_its_caller() -> None:
    stage = Stage()
    assert await answered(stage, stage.begin(FURTHER)) == [7, 8]
    assert stage.commits == [
        ["Create"], ["Create"], ["Update", "Put"],
        ["Put"], ["Create"], ["Update", "Put"],
        ["Update"],
    ]  # fmt: skip
    assert stage.ran == [7, 8]


@pytest.mark.parametrize("path", [FIRST, FURTHER])
async def test_the_call_has_no_due_time_and_its_caller_describes_it(path: str) -> None:
    stage = Stage()
    client, call = await held(stage, path)
    assert (call.status, call.due, call.epoch) == (Status.READY, None, 0)
    assert described(stage)[-1] == int(path == FURTHER)
    client.cancel()


@pytest.mark.parametrize("path", [FIRST, FURTHER])
async def test_a_lost_dispatch_is_repeated_while_the_client_waits(path: str) -> None:
    stage = Stage()
    client, _ = await held(stage, path)
    await stage.clock.advance(GRACE / 1000)
    assert await answered(stage, client) == (7 if path == FIRST else [7, 8])
    assert stage.ran == ([7] if path == FIRST else [7, 8])


@pytest.mark.parametrize("path", [FIRST, FURTHER])
async def test_a_client_that_waits_no_longer_leaves_a_call_that_is_looked_after(path: str) -> None:
    stage = Stage()
    number = stage.lost = int(path == FURTHER)
    client = stage.begin(path, patience=1.0)
    await stage.clock.advance(2)
    assert (await client).outcome is None
    assert stage.caller.status is Status.COMPLETED
    assert stage.ran == [7, 8][: number + 1]


@pytest.mark.parametrize("path", [FIRST, FURTHER])
@pytest.mark.parametrize("end", [held, torn], ids=["not dispatched", "not put"])
@pytest.mark.parametrize("what", ["kill", "pause", "cancel", "the sweeper", "restart"])
async def test_whatever_acts_on_the_caller_looks_after_its_call(end: Any, what: str, path: str) -> None:
    stage = Stage()
    await end(stage, path)
    id, number = stage.caller.id, int(path == FURTHER)
    control = stage.engines["Near"].control
    match what:
        case "kill":
            assert await control.kill(id) == "accepted"
        case "pause":
            assert await control.pause(id) == "accepted"
            await stage.clock.advance(40)
            assert await control.resume(id) == "accepted"
        case "cancel":
            assert await control.cancel(id) == "accepted"
        case "restart":
            assert await control.restart(id, first=number + 1) is not None
        case _:
            pass
    await stage.clock.advance(40)
    await stage.sweep()
    await stage.clock.advance(40)
    await stage.sweep()
    call = await stage.call_of(id, number)
    assert call is not None
    assert not call.live
    assert not (await stage.meta(id)).live
    assert len(stage.ran) <= number + 1
    if what == "kill":
        assert value(call.outcome) == (409, "killed")
        assert stage.ran == [7][:number]
    if what in ("pause", "the sweeper"):
        assert stage.ran == [7, 8][: number + 1]


@pytest.mark.parametrize("path", [FIRST, FURTHER])
async def test_a_killed_caller_leaves_no_call_that_a_late_write_begins(path: str) -> None:
    stage = Stage()
    await torn(stage, path)
    caller = stage.caller
    calling = (
        caller.calling
        if path == FIRST
        else next(each.calling for each in stage.store.records() if isinstance(each, JournalSegment) and each.calling)
    )
    assert calling is not None
    assert await stage.engines["Near"].control.kill(caller.id) == "accepted"
    await settle()
    ran = list(stage.ran)
    await stage.engines["Near"].runtime.calls.make(caller, calling, 1)
    await settle()
    assert stage.ran == ran


@pytest.mark.parametrize("path", [FIRST, FURTHER])
async def test_a_put_without_an_answer_is_made_sure_of(path: str) -> None:
    stage = Stage()
    stage.unheard = 1 + (path == FURTHER)
    assert await answered(stage, stage.begin(path)) == (7 if path == FIRST else [7, 8])
    assert stage.ran == ([7] if path == FIRST else [7, 8])


async def sweep(stage: Stage, minutes: int) -> None:
    """Let so many minutes pass, with a sweep in each."""
    for _ in range(minutes):
        await stage.clock.advance(60)
        await stage.sweep()


async def test_a_lost_dispatch_is_repeated_while_a_step_runs_beside_the_call() -> None:
    stage = Stage(timeout=600_000)

    async def long() -> bytes:
        await stage.clock.sleep(500)
        return pack(1)

    @stage.near.handler("Near")
    async def beside(ctx: Any, input: Any) -> Any:
        step = ctx.issue(c.Run("long", long), unpack)
        output = await ctx.issue(c.Call(Target("Far", "work"), pack(input)), unpack)
        return output, await step

    stage.build()
    stage.lost = 1
    client = stage.begin("Near/beside", patience=590)
    await stage.clock.advance(GRACE / 1000 + 4)
    assert stage.ran == [7]
    client.cancel()


async def test_a_call_begins_that_was_not_put_before_a_long_pause() -> None:
    stage = Stage()

    @stage.near.handler("Near")
    async def call_naps(ctx: Any, input: Any) -> Any:
        await ctx.issue(c.Run("before", closure(1)), unpack)
        return await ctx.issue(c.Call(Target("Far", "naps"), pack(input)), unpack)

    @stage.far.handler("Far")
    async def naps(ctx: Any, input: Any) -> Any:
        await ctx.issue(c.Sleep(120_000), unpack)
        return input

    stage.build()
    await torn(stage, "Near/call_naps")
    id, control = stage.caller.id, stage.engines["Near"].control
    assert await control.pause(id) == "accepted"
    for _ in range(33):
        await stage.clock.advance(24 * 3600)
        await stage.sweep()
    assert await control.resume(id) == "accepted"
    await sweep(stage, 10)
    assert value((await stage.meta(id)).outcome) == 7


@pytest.mark.parametrize("end", [held, torn], ids=["not dispatched", "not put"])
async def test_one_with_a_notification_that_is_unknown_is_killed_with_its_call(end: Any) -> None:
    stage = Stage()
    await end(stage, FURTHER)
    caller = stage.caller
    await stage.store.commit([Put(Notification(caller.ref, "q7", Outcome(b"1"), stage.clock.now()))], "x")
    assert await stage.engines["Near"].control.kill(caller.id) == "accepted"
    await sweep(stage, 20)
    assert not (await stage.meta(caller.id)).live
    call = await stage.call_of(caller.id, 1)
    assert call is not None
    assert value(call.outcome) == (409, "killed")


async def test_a_call_is_made_sure_of_by_the_record_as_it_is_now() -> None:
    stage = Stage()
    await torn(stage, FURTHER)
    caller = stage.caller
    await stage.engines["Near"].runtime.calls.ensure_by_journal(caller.ref)
    await settle()
    assert await stage.call_of(caller.id, 1) is not None


async def test_a_call_that_is_issued_while_its_caller_is_run_again_is_made_sure_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    control = stage.engines["Near"].control
    issued, put = asyncio.Event(), asyncio.Event()
    read, original = asyncio.Event(), stage.store.hook

    async def hook(phase: Any, method: str, args: Any, kwargs: Any) -> None:
        assert original is not None
        await original(phase, method, args, kwargs)
        if phase != "before" or method != "commit":
            return
        match args[0]:
            case [Put(JournalSegment(calling=calling))] if calling is not None:
                await read.wait()
            case [Create(meta, _)] if meta.parent is not None and meta.parent.command == 1:
                issued.set()
                await put.wait()

    async def timed_journal(meta: Meta) -> Any:
        read.set()
        await issued.wait()
        return await Storage.timed_journal(control._storage, meta)

    stage.store.hook = hook
    monkeypatch.setattr(control._storage, "timed_journal", timed_journal)
    client = stage.begin(FURTHER)
    for _ in range(20):
        await stage.clock.advance(0.1)
    caller = stage.caller
    assert await control.restart(caller.id, first=2) is not None
    assert await stage.call_of(caller.id, 1) is not None
    put.set()
    assert await answered(stage, client) == [7, 8]


async def test_one_that_has_completed_and_is_deleted_is_not_put_again() -> None:
    stage = Stage()
    client, call = await held(stage, FURTHER)
    segments = [each for each in stage.store.records() if isinstance(each, JournalSegment)]
    stage.delivers = False
    await stage.engines["Far"].resume(call.id, fresh=True)
    await settle()
    assert stage.ran == [7, 8]
    await stage.store.forget(call.ref, stage.clock.now() + 3_600_000)
    assert await stage.call_of(stage.caller.id, 1) is None
    await stage.engines["Near"].runtime.calls.ensure(stage.caller, segments)
    await settle()
    assert await stage.call_of(stage.caller.id, 1) is None
    assert stage.ran == [7, 8]
    client.cancel()


async def test_a_late_move_of_the_call_leaves_it_a_due_time() -> None:
    """The interleaving:

    1. An operator is about to move a call that has no due time, because its caller looks after it.
    2. The client leaves. The caller is suspended, gives the call a due time, and forgets it. The dispatch is lost.
    3. The move is applied. It took the due time away, and nobody came for the call.
    """
    stage = Stage()
    stage.lost = 1
    client = stage.begin(FURTHER, patience=3.0)
    await stage.clock.advance(2)
    call = await stage.call_of(stage.caller.id, 1)
    assert call is not None
    move = lifecycle.resumed(call, stage.engines["Near"].process.times(), "v2").change
    stage.lost = 1
    await stage.clock.advance(5)
    assert (await client).outcome is None
    await stage.store.commit([move], "move")
    await sweep(stage, 5)
    assert stage.ran == [7, 8]


@pytest.mark.parametrize("end", [held, torn], ids=["not dispatched", "not put"])
async def test_a_caller_that_cannot_be_read_and_gives_up_leaves_a_call_that_is_looked_after(end: Any) -> None:
    stage = Stage()
    retry = RetryPolicy(attempts=2, exhausted="kill")
    stage.near._specs[:] = [replace(spec, options=replace(spec.options, retry=retry)) for spec in stage.near._specs]
    stage.build()
    await end(stage, FURTHER)
    stage.engines["Near"].process.abort()
    await settle()
    stage.build()
    await stage.store.commit([Update(stage.caller.ref, {"inline_journal": "2.[damaged"})], "damage")
    await sweep(stage, 20)
    assert not stage.caller.live
    assert stage.ran == [7, 8]


def keep_calls(stage: Stage) -> None:
    """Have the journals of calls outlive them."""
    stage.far._specs[:] = [
        replace(spec, options=replace(spec.options, journal_retention=timedelta(days=1))) for spec in stage.far._specs
    ]
    stage.build()


@pytest.mark.parametrize("act", ["resume", "pause"])
async def test_a_restart_makes_sure_of_a_call_while_an_operator_acts(act: str) -> None:
    """What an operator does to the caller between the reads of a restart and its write does not always make sure of
    the call."""
    stage = Stage()
    keep_calls(stage)
    await torn(stage, FURTHER)
    control, caller = stage.engines["Near"].control, stage.caller
    if act == "resume":
        assert await control.pause(caller.id) == "accepted"
    acted: list[str] = []
    hook = stage.store.hook
    assert hook is not None

    async def between(phase: Any, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
        await hook(phase, method, args, kwargs)
        if (phase, method) == ("before", "commit") and [type(change) for change in args[0]] == [Create, Update]:
            stage.store.hook = hook
            stage.delivers = False
            acted.append(await getattr(control, act)(caller.id))

    stage.store.hook = between
    task = asyncio.create_task(control.restart(caller.id, first=2))
    await stage.clock.advance(1)
    restarted = await task
    assert restarted is not None
    assert acted == ["accepted"]
    stage.delivers = True
    await stage.engines["Near"].resume(restarted.id)
    await sweep(stage, 30)
    assert value((await stage.meta(restarted.id)).outcome) == [7, 8]


@pytest.mark.parametrize("kept", [False, True])
async def test_a_restart_waits_for_a_call_that_is_under_way(kept: bool) -> None:
    stage = Stage()
    if kept:
        keep_calls(stage)
    client, _ = await held(stage, FURTHER)
    restarted = await stage.engines["Near"].control.restart(stage.caller.id, first=2)
    assert restarted is not None
    await sweep(stage, 5)
    assert value((await stage.meta(restarted.id)).outcome) == [7, 8]
    assert value((await client).outcome) == [7, 8]
