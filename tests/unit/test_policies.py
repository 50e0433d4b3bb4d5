"""What options decide: how long things are kept, how long attempts may stand still, how state is read."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.control import Control
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.notifier import Notifier
from adapter.engine.records import JournalSegment, Meta, Status
from adapter.engine.types import Kind, Outcome, RetryPolicy
from adapter.errors import TerminalError
from tests.unit.world import World, closure, pack, settle, target, unpack, value

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def stepped(ctx: Any, _: Any) -> Any:
    return await ctx.issue(c.Run("step", closure(1)), unpack)


async def journal(world: World, id: str) -> list[Any]:
    return await world.engine.storage.journal(await world.meta(id))


def segments(world: World) -> int:
    return sum(isinstance(record, JournalSegment) for record in world.store.records())


async def kept(world: World, id: str, span: timedelta) -> bool:
    """Whether an invocation is there until a time from now, and no longer."""
    await world.clock.advance(span.total_seconds() - 2)
    before = await world.engine.storage.find(id)
    await world.clock.advance(4)
    return before is not None and await world.engine.storage.find(id) is None


async def test_what_keeps_a_result_is_how_it_was_asked_for() -> None:
    world = World()
    options = {"idempotency_retention": 3 * HOUR, "workflow_retention": 5 * HOUR, "journal_retention": HOUR}
    world.handler("S", name="do", **options)(stepped)
    world.handler("W", Kind.WORKFLOW, "run", **options)(stepped)
    answer = await world.start("S/do")
    assert await kept(world, answer.id, HOUR)
    await world.call("S/do", idempotency_key="k")
    assert await kept(world, idempotent_id(target("S/do"), "k"), 3 * HOUR)
    await world.call("W/k/run")
    assert await kept(world, workflow_id("W", "k"), 5 * HOUR)


@pytest.mark.parametrize("steps", [1, 3], ids=["in the record", "in segments"])
async def test_a_journal_may_go_before_the_result(steps: int) -> None:
    world = World()

    @world.handler("S", journal_retention=HOUR)
    async def do(ctx: Any, _: Any) -> Any:
        for n in range(steps):
            await ctx.issue(c.Run(f"step {n}", closure(n)), unpack)
        return "x" * 5000

    output = await world.call("S/do", idempotency_key="k")
    id = idempotent_id(target("S/do"), "k")
    await world.clock.advance(3500)
    await world.engine.sweeper.sweep()
    assert len(await journal(world, id)) == 2 * steps
    await world.clock.advance(200)
    assert await journal(world, id) == []
    assert await world.call("S/do", idempotency_key="k") == output, "the result stays"
    await world.outlive()
    assert not list(world.store.records())


async def test_a_journal_that_is_not_kept_is_not_written_at_the_end() -> None:
    world = World()
    world.handler("S", name="do", journal_retention=timedelta(0))(stepped)
    assert await world.call("S/do", idempotency_key="k") == 1
    id = idempotent_id(target("S/do"), "k")
    assert (await world.meta(id)).inline_journal is None
    await world.engine.sweeper.sweep()
    assert (await journal(world, id), segments(world)) == ([], 0)
    assert await world.call("S/do", idempotency_key="k") == 1


@pytest.mark.parametrize("how", ["it expires", "it is purged"])
async def test_who_waits_is_told_before_a_record_goes(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that completed it ended before it told anybody."""
    world = World(processes=2)
    retention = timedelta(0) if how == "it expires" else DAY

    @world.handler("S", journal_retention=retention)
    async def slow(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(30_000), unpack)
        return "done"

    @world.handler("S")
    async def join(ctx: Any, id: Any) -> Any:
        return await ctx.issue(c.Attach(id), unpack)

    id = await world.send("S/slow")
    await settle()
    waiting = await world.send("S/join", id)
    await settle()
    assert (await world.meta(id)).waiters == 1

    async def nothing(notifier: Notifier, meta: Meta) -> None:
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Notifier, "fan_out", nothing)
        await world.clock.advance(31)
        assert not (await world.meta(id)).live
    if how == "it is purged":
        assert await world.engine.control.purge(id) == "accepted"
    await world.engine.sweeper.sweep()
    await world.engine.sweeper.sweep()
    await settle()
    assert value((await world.meta(waiting)).outcome) == "done"
    await world.outlive(900 if how == "it is purged" else 8 * 24 * 3600)
    assert await world.store.peek(id) is None


async def test_a_workflows_run_is_not_restarted() -> None:
    world = World()
    world.handler("W", Kind.WORKFLOW, "run")(stepped)
    await world.call("W/k/run")
    control: Control = world.engine.control
    with pytest.raises(Exception, match="runs once per id"):
        await control.restart(workflow_id("W", "k"))


async def test_what_stands_still_is_suspended_while_its_client_waits() -> None:
    world = World()
    ids: list[str] = []

    @world.handler("S", inactivity_timeout=timedelta(seconds=5))
    async def wait(ctx: Any, _: Any) -> Any:
        awakeable = ctx.issue(c.Awakeable(), unpack)
        ids.append(awakeable.id)
        return await awakeable

    task = world.start("S/wait", idempotency_key="k")
    id = idempotent_id(target("S/wait"), "k")
    await world.clock.advance(4.5)
    assert (await world.meta(id)).status is Status.RUNNING
    await world.clock.advance(1)
    assert (await world.meta(id)).status is Status.SUSPENDED
    await world.engine.outbound.complete(ids[0], Outcome(pack("here")))
    await world.clock.advance(2)
    assert value((await task).outcome) == "here"


async def test_a_step_that_takes_too_long_is_given_up_and_tried_again() -> None:
    world = World()
    begun: list[asyncio.Future[bytes]] = []

    async def stuck() -> bytes:
        begun.append(asyncio.get_running_loop().create_future())
        if len(begun) > 1:
            return pack("at last")
        return await begun[0]

    @world.handler("S", abort_timeout=timedelta(seconds=10))
    async def do(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("stuck", stuck), unpack)

    task = world.start("S/do", idempotency_key="k")
    await world.clock.advance(9.9)
    assert (len(begun), begun[0].done()) == (1, False)
    await world.clock.advance(0.11)
    assert begun[0].cancelled()
    assert (await world.meta(idempotent_id(target("S/do"), "k"))).error == (
        "TimeoutError: step 'stuck' took longer than its abort_timeout, 0:00:10"
    )
    await world.clock.advance(1)
    assert value((await task).outcome) == "at last"


@pytest.mark.parametrize("exhausted", ["pause", "kill"])
async def test_attempts_are_made_ever_later_up_to_the_maximum_and_then_no_more(exhausted: str) -> None:
    world = World()
    tries: list[int] = []
    second = timedelta(seconds=1)

    @world.handler("S", retry=RetryPolicy(second, factor=3, maximum=5 * second, attempts=5, exhausted=exhausted))
    async def do(ctx: Any, _: Any) -> Any:
        tries.append(world.clock.now())
        raise OSError("no")

    id = await world.send("S/do")
    await world.clock.advance(1000)
    assert [at - tries[0] for at in tries] == [0, 1000, 4000, 9000, 14000]
    meta = await world.meta(id)
    if exhausted == "pause":
        assert (meta.status, meta.error) == (Status.PAUSED, "OSError: no")
    else:
        assert value(meta.outcome) == (500, "gave up after 5 attempts: OSError: no")


async def test_a_step_is_not_tried_again_after_its_duration() -> None:
    world = World()
    tries: list[int] = []

    async def fails() -> bytes:
        tries.append(world.clock.now())
        raise OSError("no")

    policy = RetryPolicy(initial=timedelta(seconds=1), duration=timedelta(seconds=10), attempts=None)

    @world.handler("S")
    async def do(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("fails", fails, policy), unpack)

    assert await world.call("S/do") == (500, "step 'fails' failed 4 times: OSError: no")
    assert [at - tries[0] for at in tries] == [0, 1000, 3000, 7000]


async def test_a_step_that_waits_for_long_needs_no_process_and_its_tries_add_up() -> None:
    world = World(4)
    tries: list[int] = []

    async def fails() -> bytes:
        tries.append(world.clock.now())
        raise OSError("no")

    policy = RetryPolicy(initial=10 * MINUTE, maximum=HOUR, attempts=4)

    @world.handler("S", retry=RetryPolicy(attempts=1))
    async def do(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("fails", fails, policy), unpack)

    id = await world.send("S/do")
    for process in range(1, 4):
        await settle()
        waits = await world.meta(id)
        assert (waits.status, waits.failures) == (Status.BACKING_OFF, 0)
        assert waits.error == f"step 'fails' failed {process} times: OSError: no"
        for engine in world.engines:
            engine.process.abort()
        await world.clock.advance((waits.due or 0) / 1000 - world.clock.now() / 1000 + 1)
        await world.engines[process].sweeper.sweep()
    await settle()
    assert value((await world.meta(id)).outcome) == (500, "step 'fails' failed 4 times: OSError: no")
    waits = [round((after - before) / 60_000) for before, after in pairwise(tries)]
    assert waits == [10, 20, 40]


async def test_a_step_is_tried_again_on_time_while_a_client_waits() -> None:
    world = World()
    tries: list[int] = []

    async def flaky() -> bytes:
        tries.append(world.clock.now())
        if len(tries) < 3:
            raise OSError("no")
        return b"1"

    policy = RetryPolicy(initial=timedelta(seconds=5), factor=1, attempts=3)

    @world.handler("S")
    async def do(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("flaky", flaky, policy), unpack)

    task = world.start("S/do")
    await world.clock.advance(9)
    answer = next(record for record in world.store.records() if isinstance(record, Meta))
    assert (answer.status, answer.epoch) == (Status.RUNNING, 1)
    await world.clock.advance(1)
    assert value((await task).outcome) == 1
    assert [at - tries[0] for at in tries] == [0, 5000, 10_000]


async def test_a_step_that_waits_for_its_next_try_does_not_stop_another() -> None:
    world = World()
    ran: list[str] = []

    async def fails() -> bytes:
        ran.append("fails")
        raise OSError("no")

    async def works() -> bytes:
        ran.append("works")
        await world.clock.sleep(60)
        return b"1"

    policy = RetryPolicy(initial=timedelta(seconds=10), factor=1, attempts=5)

    @world.handler("S")
    async def do(ctx: Any, _: Any) -> Any:
        working = ctx.issue(c.Run("works", works), unpack)
        with suppress(TerminalError):
            await ctx.issue(c.Run("fails", fails, policy), unpack)
        return await working

    id = await world.send("S/do")
    await world.clock.advance(30)
    assert (await world.meta(id)).status is Status.RUNNING
    await world.clock.advance(31)
    assert value((await world.meta(id)).outcome) == 1
    assert sorted(ran) == ["fails"] * 5 + ["works"]


async def test_a_step_whose_next_try_is_beyond_the_process_end_is_left_to_another() -> None:
    world = World()
    tries = 0

    async def flaky() -> bytes:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("no")
        return b"1"

    policy = RetryPolicy(initial=timedelta(milliseconds=1500), factor=1, attempts=3)

    @world.handler("S")
    async def do(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("flaky", flaky, policy), unpack)

    world.engine.process.deadline = world.clock.now() + 2000
    id = await world.send("S/do")
    await world.clock.advance(1.9)
    assert tries == 2
    await world.clock.advance(0.2)
    assert (await world.meta(id)).status is Status.BACKING_OFF
    world.engine.process.deadline = None
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == 1


ENTRIES = {f"n{n}": "x" * 2000 for n in range(20)}


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.SHARED])
@pytest.mark.parametrize("lazy", [True, False], ids=["lazily", "eagerly"])
async def test_entries_are_read_one_by_one_or_all_with_the_first(kind: Kind, lazy: bool) -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE)
    async def write(ctx: Any, _: Any) -> Any:
        for name, text in ENTRIES.items():
            ctx.issue(c.SetState(name, pack(text)), unpack)

    @world.handler("O", kind, lazy_state=lazy)
    async def read(ctx: Any, _: Any) -> Any:
        found = {name: await ctx.issue(c.GetState(name), unpack) for name in ENTRIES}
        assert await ctx.issue(c.GetState("none"), unpack) is None
        assert await ctx.issue(c.StateKeys(), unpack) == sorted(ENTRIES)
        return found

    await world.call("O/k/write")
    await world.clock.advance(2)
    before = world.store.usage.requests
    assert await world.call("O/k/read") == ENTRIES
    requests = world.store.usage.requests - before
    if kind is Kind.EXCLUSIVE:
        assert requests == (1 + 20 + 1 + 1 + 1 if lazy else 3)  # the head, reads, the commit
    else:
        # for what is not found the head is read again: the entry may have moved there
        assert requests == (2 * 22 + 2 + 1 if lazy else 4)


async def test_what_was_read_at_once_is_as_the_handler_wrote_it_since() -> None:
    world = World()

    @world.handler("O", Kind.EXCLUSIVE, lazy_state=False)
    async def change(ctx: Any, _: Any) -> Any:
        async def look() -> Any:
            names = await ctx.issue(c.StateKeys(), unpack)
            return {name: len(await ctx.issue(c.GetState(name), unpack)) for name in names}

        for name in "abc":
            ctx.issue(c.SetState(name, pack("x" * 2000)), unpack)
        seen = [await look()]
        ctx.issue(c.SetState("a", pack("x" * 3000)), unpack)
        ctx.issue(c.SetState("b", pack("x")), unpack)
        ctx.issue(c.ClearState("c"), unpack)
        seen.append(await look())
        await ctx.issue(c.Run("commits", closure(1)), unpack)
        seen.append(await look())
        ctx.issue(c.ClearAllState(), unpack)
        ctx.issue(c.SetState("d", pack("x" * 2000)), unpack)
        seen.append(await look())
        await ctx.issue(c.Run("commits", closure(1)), unpack)
        return [*seen, await look()]

    three, changed, left = dict.fromkeys("abc", 2000), {"a": 3000, "b": 1}, {"d": 2000}
    assert await world.call("O/k/change") == [three, changed, changed, left, left]
    again = [{**three, **left}, {**changed, **left}, {**changed, **left}, left, left]
    assert await world.call("O/k/change") == again, "entries that were stored before are seen as well"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"initial": 5}, TypeError, "initial is a timedelta, not 5"),
        ({"maximum": None}, TypeError, "maximum is a timedelta, not None"),
        ({"duration": 60}, TypeError, "duration is a timedelta, not 60"),
        ({"initial": timedelta(0)}, ValueError, "initial is a positive duration"),
        ({"maximum": timedelta(milliseconds=1)}, ValueError, "maximum is not shorter than initial"),
        ({"factor": 0.5}, ValueError, "factor is at least 1, and finite"),
        ({"factor": float("nan")}, ValueError, "factor is at least 1, and finite"),
        ({"attempts": 0}, ValueError, "attempts is at least 1, or None for no end"),
        ({"exhausted": "stop"}, ValueError, 'exhausted is "pause" or "kill"'),
        ({"duration": timedelta(0)}, ValueError, "duration is positive, or None for no end"),
    ],
    ids=str,
)
def test_policies_that_make_no_sense(values: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        RetryPolicy(**values)


def test_a_factor_may_be_as_large_as_a_float() -> None:
    policy = RetryPolicy(factor=1e300, maximum=timedelta(hours=1))
    assert [policy.backoff(failures) for failures in (1, 2, 3, 70)] == [0.05, 3600, 3600, 3600]
