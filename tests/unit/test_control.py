"""Results from outside, cancellation, kill, pause, restart: on records in every state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from adapter import select
from adapter.engine import commands as c
from adapter.engine.control import Control
from adapter.engine.ids import workflow_id
from adapter.engine.ports import Unavailable
from adapter.engine.records import Meta, Status
from adapter.engine.types import CANCELLED, Failure, Kind, ObjectKey, Outcome, RetryPolicy
from adapter.errors import TerminalError
from adapter.local.ports import LocalTimers
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
    assert await world.engine.outbound.complete(ids[0], Outcome(pack("yes"))) == "accepted"
    assert await world.engine.outbound.complete(ids[0], Outcome(pack("no"))) == "already"
    await settle()
    assert value((await world.meta(id)).outcome) == "yes"
    assert await world.engine.outbound.complete(ids[0], Outcome(pack("no"))) == "already"
    assert await world.engine.outbound.complete("awk_nonsense", Outcome()) == "not found"
    assert await world.engine.outbound.complete(ids[0][:-17] + "a" * 16 + "0", Outcome()) == "not found"


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
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(1))) == "accepted"
    await world.clock.advance(11)
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(2))) == "accepted"
    assert (await world.meta(id)).live
    await world.clock.advance(11)
    assert value((await world.meta(id)).outcome) == [1, 2]
    assert await world.engine.outbound.signal(id, "go", Outcome()) == "not found"


async def test_a_signal_under_the_same_nonce_is_the_same_signal() -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return [await ctx.issue(c.Signal("go"), unpack) for _ in range(2)]

    id = await world.send("S/wait")
    await settle()
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(1)), commit_id="a" * 24) == "accepted"
    await world.clock.advance(1)
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(1)), commit_id="a" * 24) == "accepted"
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(2)), commit_id="b" * 24) == "accepted"
    await world.clock.advance(11)
    assert value((await world.meta(id)).outcome) == [1, 2]
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(2)), commit_id="b" * 24) == "accepted"
    assert await world.engine.outbound.signal(id, "go", Outcome(pack(2)), commit_id="c" * 24) == "not found"


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
    assert await world.engine.control.cancel(id, commit_id="a") == "accepted"
    assert await world.engine.control.cancel(id, commit_id="a") == "accepted", "which is the same request"
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


@pytest.mark.parametrize("how", ["cancel", "kill"])
@pytest.mark.parametrize(
    "status", ["queued", "scheduled", "running", "suspended", "asleep", "backing-off", "failing", "paused"]
)
async def test_whatever_it_is_at_it_is_cancelled_and_killed(status: str, how: str) -> None:
    world = World()

    async def wait() -> bytes:
        return await asyncio.get_running_loop().create_future()

    @world.handler("O", Kind.EXCLUSIVE, retry=RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1)))
    async def work(ctx: Any, what: Any) -> Any:
        match what:
            case "running":
                await ctx.issue(c.Run("wait", wait), unpack)
            case "suspended" | "paused":
                await ctx.issue(c.Awakeable(), unpack)
            case "asleep":
                await ctx.issue(c.Sleep(3_600_000), unpack)
            case "backing-off":
                await ctx.issue(c.Run("fail", closure(lambda: 1 // 0)), unpack)
            case "failing":
                raise OSError("before it waits for anything")
        return what

    control = world.engine.control
    holder = await world.send("O/k/work", "suspended") if status == "queued" else None
    await settle()
    id = await world.send("O/k/work", status, delay=3_600_000 if status == "scheduled" else 0)
    await settle()
    if status == "paused":
        await control.pause(id)
    assert (await world.meta(id)).status == {"asleep": "suspended", "failing": "backing-off"}.get(status, status)
    act = control.cancel if how == "cancel" else control.kill
    assert await act(id) == "accepted"
    await world.clock.advance(10)
    assert value((await world.meta(id)).outcome) == (409, "cancelled" if how == "cancel" else "killed")
    assert await act(id) == "already"
    assert await act("inv_" + "a" * 32) == "not found"
    if holder is not None:
        assert (await world.meta(holder)).live
        assert await control.kill(holder) == "accepted"
    assert await world.call("O/k/work") is None, "the key is free"


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
    assert await world.engine.storage.find(id) is None
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
    assert (await world.meta(id)).outcome == Outcome(failure=CANCELLED)


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


async def interrupt_kill(world: World, id: str) -> None:
    """Kill an invocation, and let the process end once it is stopped."""

    async def dies(control: Control, meta: Meta) -> None:
        raise ConnectionError("the process died")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Control, "kill_calls", dies)
        with pytest.raises(ConnectionError):
            await world.engine.control.kill(id)


async def test_a_kill_that_is_interrupted_is_finished_by_the_sweeper() -> None:
    world = World(2)

    @world.handler("S")
    async def leaf(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000_000), unpack)

    @world.handler("S")
    async def root(ctx: Any, n: Any) -> Any:
        return await ctx.issue(c.Call(target("S/root" if n else "S/leaf"), pack(n - 1)), unpack)

    id = await world.send("S/root", 2)
    await settle()
    metas = [record for record in world.store.records() if isinstance(record, Meta)]
    assert [meta.status for meta in metas] == [Status.SUSPENDED] * 4

    await interrupt_kill(world, id)
    await world.clock.advance(120)
    await world.engines[1].sweeper.sweep()
    await world.clock.advance(2)
    for meta in metas:
        assert value((await world.meta(meta.id)).outcome) == (409, "killed")


@pytest.mark.parametrize("exclusive", [False, True])
async def test_kills_that_come_together_do_not_stop_each_other(exclusive: bool) -> None:
    """One of them stops the invocation. The others help to complete it."""
    world = World(2)
    kind, name = (Kind.EXCLUSIVE, "O/k/wait") if exclusive else (Kind.SERVICE, "S/wait")

    @world.handler(name[0], kind)
    async def wait(ctx: Any, n: Any) -> Any:
        if n:
            return await ctx.issue(c.Call(target(f"O/{n}/wait" if exclusive else "S/wait"), pack(n - 1)), unpack)
        return await ctx.issue(c.Awakeable(), unpack)

    id = await world.send(name, 2)
    await settle()
    metas = [record for record in world.store.records() if isinstance(record, Meta)]
    assert [meta.epoch for meta in metas] == [1] * 3

    async def take_turns(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)

    world.store.hook = take_turns
    told = await asyncio.gather(*(engine.control.kill(id) for engine in world.engines for _ in range(5)))
    assert set(told) <= {"accepted", "already"}
    assert "accepted" in told
    for meta in metas:
        ended = await world.meta(meta.id)
        assert (value(ended.outcome), ended.epoch) == ((409, "killed"), 2)
    world.store.hook = None
    if exclusive:
        assert (await world.send("O/k/wait", 0)) is not None
        await settle()
        [again] = [meta for meta in world.store.records() if isinstance(meta, Meta) and meta.live]
        assert again.epoch == 1, "the key is free"


@pytest.mark.parametrize("by", ["an operator", "a failure"])
async def test_what_is_paused_while_it_is_killed_ends(by: str) -> None:
    """An operator's pause comes too late. An attempt that cannot end it pauses it, and it is killed anew."""
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Awakeable(), unpack)

    id = await world.send("S/wait")
    await settle()

    await interrupt_kill(world, id)
    if by == "an operator":
        assert await world.engine.control.pause(id) == "already"
    else:
        assert await world.engine.control.keep_paused(await world.meta(id))
    assert await world.engine.control.kill(id) == "accepted"
    assert value((await world.meta(id)).outcome) == (409, "killed")


async def test_a_workflow_that_is_called_twice_by_one_handler_runs_once() -> None:
    world = World()

    @world.handler("W", Kind.WORKFLOW)
    async def run(ctx: Any, step: Any) -> Any:
        if step:
            await ctx.issue(c.Run("step", closure(1)), unpack)
        return "ran"

    @world.handler("S")
    async def twice(ctx: Any, step: Any) -> Any:
        first = ctx.issue(c.Call(target("W/k/run"), pack(step), kind=Kind.WORKFLOW), unpack)
        if step:
            assert await first == "ran"
        try:
            await ctx.issue(c.Call(target("W/k/run"), pack(step), kind=Kind.WORKFLOW), unpack)
        except TerminalError as error:
            return [await first, error.code, error.message]

    failure = ["ran", 409, f"workflow W/k ran already, or is running: attach to {workflow_id('W', 'k')}"]
    assert await world.call("S/twice", False) == failure
    await world.clock.advance(25 * 3600)
    assert await world.call("S/twice", True) == failure


async def test_a_signal_that_comes_just_before_the_end_is_deleted_with_the_rest() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        return "done"

    async def hook(phase: str, method: str, args: Any, kwargs: Any) -> None:
        if phase == "before" and method == "commit" and ids:
            world.store.hook = None
            assert await world.engine.outbound.signal(ids[0], "go", Outcome(pack(1))) == "accepted"

    world.store.hook = hook
    assert await world.call("S/work", idempotency_key="k") == "done"
    assert (await world.meta(ids[0])).notifications == 1
    await world.outlive()
    assert not list(world.store.records())


@pytest.mark.parametrize("size", [5_000, 500_000, 3_000_000])
async def test_a_request_that_comes_second_leaves_nothing_of_its_large_input(size: int) -> None:
    world = World(2)

    @world.handler("S")
    async def length(ctx: Any, text: Any) -> Any:
        return len(text)

    tasks = [world.start("S/length", "x" * size, idempotency_key="k", process=n) for n in (0, 1)]
    await world.clock.advance(2)
    answers = [await task for task in tasks]
    assert sorted(answer.accepted for answer in answers) == [False, True]
    assert [value(answer.outcome) for answer in answers] == [size, size]
    assert await world.call("S/length", "x" * size, idempotency_key="k") == size
    await world.outlive()
    assert not list(world.store.records())


async def test_signals_of_one_millisecond_keep_their_order() -> None:
    world = World()

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        return [await ctx.issue(c.Signal("go"), unpack) for _ in range(20)]

    id = await world.send("S/wait")
    await settle()
    for n in range(20):
        assert await world.engine.outbound.signal(id, "go", Outcome(pack(n))) == "accepted"
    await world.clock.advance(11)
    assert value((await world.meta(id)).outcome) == list(range(20))


async def test_a_first_attempt_whose_answer_was_lost_begins_all_the_same() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", closure("done")), unpack)

    async def hook(phase: str, method: str, args: Any, kwargs: Any) -> None:
        if phase == "after" and method == "commit" and args[0][0].set.get("status") is Status.RUNNING:
            world.store.hook = None
            raise Unavailable("the answer was lost")

    id = await world.send("S/work")
    world.store.hook = hook
    await world.clock.advance(1)
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == "done"


async def test_what_is_paused_is_not_woken_by_a_failure_that_it_waits_for() -> None:
    world = World(processes=2)

    @world.handler("S")
    async def leaf(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)
        raise TerminalError("broken")

    @world.handler("S")
    async def root(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("S/leaf"), b""), unpack)

    id = await world.send("S/root")
    await settle()
    assert await world.engine.control.pause(id) == "accepted"
    await world.clock.advance(100)
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engine.control.resume(id) == "accepted"
    await world.clock.advance(1)
    assert (await world.meta(id)).outcome == Outcome(failure=Failure(500, "broken"))


async def test_what_is_paused_for_good_ends_when_it_is_cancelled() -> None:
    world = World()

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def broken(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("work", closure(lambda: 1 // 0)), unpack)

    id = await world.send("S/broken")
    await settle()
    assert (await world.meta(id)).status is Status.PAUSED
    assert await world.engine.control.cancel(id) == "accepted"
    await world.clock.advance(1)
    assert (await world.meta(id)).outcome == Outcome(failure=CANCELLED)


async def test_what_gives_up_does_so_when_its_process_ends_in_the_last_attempt() -> None:
    world = World()

    @world.handler("S", retry=RetryPolicy(attempts=1, exhausted="kill"))
    async def stuck(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("work", asyncio.Event().wait), unpack)  # type: ignore[arg-type]

    id = await world.send("S/stuck")
    await settle()
    world.engine.process.abort()
    world.engine.process.active.clear()
    await world.clock.advance(100)
    await world.engine.sweeper.sweep()
    await settle()
    outcome = (await world.meta(id)).outcome
    assert outcome is not None
    assert outcome.failure is not None
    assert outcome.failure.message.startswith("gave up after 1 attempts: its process ended")


async def test_what_was_paused_before_it_began_begins_on_the_code_of_its_time() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(10_000), unpack)

    world.engine.deployment.id = "v1"
    id = await world.send("S/work", delay=1000)
    await world.engine.control.pause(id)
    world.engine.deployment.id = "v2"
    await world.clock.advance(1)
    await world.engine.control.resume(id)
    await settle()
    meta = await world.meta(id)
    assert (meta.status, meta.deployment) == (Status.SUSPENDED, "v2")


async def test_the_timer_of_a_wait_that_came_to_nothing_goes_with_the_invocation() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        awakeable = ctx.issue(c.Awakeable(), unpack)
        ids.append(awakeable.id)
        return await select(awakeable, ctx.issue(c.Sleep(3_600_000), unpack)) is awakeable

    id = await world.send("S/wait")
    await settle()
    timers = cast("LocalTimers", world.timers[0])._timers
    assert len(timers) == 1
    assert await world.engine.outbound.complete(ids[0], Outcome(pack("here"))) == "accepted"
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) is True
    assert not timers


async def test_a_signal_between_a_suspension_and_its_answer_wakes_at_once() -> None:
    """The process that suspends it sends the signal, and hears of that first."""
    world = World()
    ids: list[str] = []

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        return await ctx.issue(c.Signal("go"), unpack)

    async def hook(phase: str, method: str, args: Any, kwargs: Any) -> None:
        if not ids or (phase, method) != ("after", "commit"):
            return
        if (await world.meta(ids[0])).status is Status.SUSPENDED:
            world.store.hook = None
            assert await world.engine.outbound.signal(ids[0], "go", Outcome(pack("now"))) == "accepted"

    world.store.hook = hook
    id = await world.send("S/wait")
    await settle()
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == "now"


async def test_a_large_input_that_was_never_read_is_deleted_with_the_rest() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, text: Any) -> Any:
        return len(text)

    id = await world.send("S/work", "x" * 5_000, delay=60_000)
    assert await world.engine.control.cancel(id) == "accepted"
    await world.outlive()
    assert not list(world.store.records())


async def test_what_is_paused_while_an_operator_moves_it_goes_on() -> None:
    world = World()
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    tries = 0

    async def step() -> bytes:
        nonlocal tries
        tries += 1
        return await failing if tries == 1 else b"1"

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    async def fail(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "commit" and not failing.done():
            failing.set_exception(ValueError("unlucky"))
            await settle()

    id = await world.send("S/work")
    await settle()
    world.store.hook = fail
    assert await world.engine.control.resume(id, deployment="") == "accepted"
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 1


async def test_a_cancellation_that_arrives_with_the_failure_of_the_last_attempt_is_raised_in_a_further_one() -> None:
    world = World(2)
    failing: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def step() -> bytes:
        return await failing

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("step", step), unpack)

    async def fail(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "after" and method == "read_notifications" and not failing.done():
            failing.set_exception(ValueError("unlucky"))
            for _ in range(100):  # so that the step's failure comes first
                await asyncio.sleep(0)

    id = await world.send("S/work")
    await settle()
    assert await world.engines[1].control.cancel(id) == "accepted"
    world.store.hook = fail
    await world.clock.advance(10)
    assert failing.done()
    await world.clock.advance(10)

    assert (await world.meta(id)).outcome == Outcome(failure=CANCELLED)
