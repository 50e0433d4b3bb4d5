"""What came at an unlucky moment, and lost something once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import pytest

from adapter import TerminalError, gather, select
from adapter.engine import commands as c
from adapter.engine.ids import awakeable_id
from adapter.engine.notifier import Acknowledgement
from adapter.engine.ports import Contended, Unavailable
from adapter.engine.records import Meta, Ref, Status
from adapter.engine.requests import Request
from adapter.engine.types import Kind, ObjectKey, Outcome, RetryPolicy
from tests.unit.world import World, dispatches_lost, never, pack, settle, target, unpack, value


def returning(data: bytes) -> Callable[[], Awaitable[bytes]]:
    """A step that returns this."""

    async def step() -> bytes:
        return data

    return step


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


async def test_what_goes_wrong_while_a_session_reads_its_records_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("where", ["handler", "step"])
async def test_the_metadata_of_an_error_may_name_an_odd_file(where: str) -> None:
    world = World()
    ran: list[int] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def step() -> bytes:
            ran.append(1)
            if where == "step":
                raise TerminalError("cannot be read", metadata={"file": "odd\udcff"})
            return b"1"

        await ctx.issue(c.Run("charge", step), unpack)
        raise TerminalError("cannot be read", metadata={"file": "odd\udcff"})

    id = await world.send("S/work")
    await settle()
    outcome = (await world.meta(id)).outcome
    assert outcome is not None
    assert outcome.failure is not None
    assert (outcome.failure.metadata, ran) == ({"file": "odd?"}, [1])
