"""Waiting for several operations, in whatever order their results come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapter import (
    Context,
    Operation,
    Service,
    TerminalError,
    TimedOutError,
    as_completed,
    gather,
    handler,
    select,
    wait_completed,
)
from adapter.testing import Environment, StuckError
from tests.handlers.conftest import Environments

Flow = Callable[[Context, list[Operation[int]]], Awaitable[Any]]


class Flows(Service):
    """Runs what a test gives it, over awakeables that the test completes in the order it likes."""

    def __init__(self, flow: Flow, count: int = 3) -> None:
        self.flow = flow
        self.count = count
        self.ids: list[str] = []

    @handler
    async def run(self, ctx: Context) -> Any:
        awakeables = [ctx.awakeable(int) for _ in range(self.count)]
        await ctx.run("tell", self.tell, [each.id for each in awakeables])
        return await self.flow(ctx, [*awakeables])

    def tell(self, ids: list[str]) -> None:
        self.ids = ids


class Play:
    """A flow under way."""

    def __init__(self, env: Environment, flows: Flows) -> None:
        self.env = env
        self.flows = flows
        self.run = env.service_client(Flows).run()

    async def give(self, *ns: int) -> None:
        """Resolve awakeables with their own number, or, below 0, reject them."""
        for n in ns:
            await self.env.settle()
            if n < 0:
                await self.env.reject_awakeable(self.flows.ids[-n], f"no {-n}")
            else:
                await self.env.resolve_awakeable(self.flows.ids[n], n)
            await self.env.settle()


@pytest.fixture
def play(environment: Environments) -> Callable[..., Play]:
    def begin(flow: Flow, count: int = 3) -> Play:
        flows = Flows(flow, count)
        return Play(environment(flows), flows)

    return begin


Begin = Callable[..., Play]


async def test_gather_wakes_for_the_last(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        return list(await gather(*results))

    playing = play(flow)
    await playing.give(2, 0)
    assert await playing.env.status(playing.run) == "suspended"
    await playing.give(1)
    assert await playing.run == [0, 1, 2]


async def test_gather_returns_failures_where_it_is_told_to(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        said = await gather(*results, return_exceptions=True)
        return [f"{type(each).__name__} {each}" for each in said]

    playing = play(flow)
    await playing.give(-2, -1)
    assert await playing.env.status(playing.run) == "suspended"
    await playing.give(0)
    assert await playing.run == ["int 0", "TerminalError no 1", "TerminalError no 2"]


async def test_gather_fails_with_the_first_failure_and_the_rest_goes_on(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        try:
            await gather(*results)
        except TerminalError as error:
            return [
                str(error),
                await select(results[0], results[1]) is results[1],
                list(await gather(results[0], results[1])),
            ]

    playing = play(flow)
    await playing.give(-2, 1, 0)
    assert await playing.run == ["no 2", True, [0, 1]]


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_select_gives_what_came_first(play: Begin, first: int) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        won = await select(*results)
        assert (won.done, [each.done for each in results].count(True)) == (True, 1)
        again = await select(*results)
        return [await won, again is won]

    playing = play(flow)
    await playing.give(first)
    assert await playing.run == [first, True]


async def test_select_gives_a_failure_to_whoever_awaits_it(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        won = await select(*results)
        try:
            await won
        except TerminalError as error:
            return str(error)

    playing = play(flow)
    await playing.give(-1)
    assert await playing.run == "no 1"


async def test_select_between_an_answer_and_patience(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        patience = ctx.sleep(timedelta(days=1))
        return await results[0] if await select(results[0], patience) is results[0] else "too late"

    late, early = play(flow), play(flow)
    assert await late.run == "too late"
    await early.give(0)
    assert await early.run == 0


async def test_wait_completed(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        done, pending = await wait_completed(*results)
        first = [len(done), len(pending)]
        await gather(*pending)
        done, pending = await wait_completed(*results)
        return [first, len(done), len(pending)]

    playing = play(flow)
    await playing.give(1, 2, 0)
    assert await playing.run == [[1, 2], 3, 0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
async def test_as_completed(play: Begin, order: tuple[int, ...]) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        got: list[int] = []
        async for each in as_completed(*results):
            got.append(await each)
            await ctx.run(f"note {got[-1]}", lambda: None)
        return got

    playing = play(flow)
    await playing.give(*order)
    assert await playing.run == list(order)


async def test_as_completed_left_early_and_with_what_is_busy(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        got: list[int] = []
        async for each in as_completed(*results):
            got.append(await each)
            await ctx.sleep(timedelta(minutes=1))
            if len(got) == 2:
                break
        return got

    playing = play(flow)
    await playing.give(2, 1, 0)
    assert await playing.run == [2, 0]


async def test_nothing_and_strangers_are_refused(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async def stranger() -> int:
            return 1

        refused: list[str] = []
        for wrong in ([], [asyncio.create_task(stranger())]):
            try:
                await select(*wrong)  # type: ignore[arg-type]
            except (TypeError, ValueError) as error:
                refused.append(type(error).__name__)
        nothing: list[Operation[int]] = []
        assert [each async for each in as_completed(*nothing)] == []
        assert await gather() == ()
        return refused

    assert await play(flow).run == ["ValueError", "TypeError"]


# --- timeouts ---


async def test_timeouts_nest_and_what_they_leave_goes_on(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        said: list[Any] = []
        try:
            async with ctx.timeout(timedelta(days=2)):
                for each in results:
                    try:
                        async with ctx.timeout(timedelta(days=1)):
                            said.append(await each)
                    except TimedOutError:
                        said.append("inner")
                await ctx.sleep(timedelta(days=3))
        except TimeoutError as error:
            said.append(f"outer {getattr(error, 'code', None)}")
        return [*said, await results[0]]

    playing = play(flow)
    await playing.env.advance(timedelta(days=1, hours=1))
    await playing.give(1, 2, 0)
    assert await playing.run == ["inner", 1, 2, "outer 408", 0]


async def test_a_timeout_that_is_not_caught_ends_the_invocation(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async with ctx.timeout(timedelta(seconds=1)):
            await gather(*results)

    playing = play(flow)
    with pytest.raises(TerminalError, match="not done within 0:00:01") as timed_out:
        await playing.run
    assert timed_out.value.code == 408


async def test_a_timeout_that_is_not_needed_wakes_nobody(play: Begin) -> None:
    attempts = 0

    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        nonlocal attempts
        attempts += 1
        async with ctx.timeout(timedelta(days=1)):
            first = await results[0]
        return [first, await results[1]]

    playing = play(flow)
    await playing.give(0)
    before = attempts
    await playing.env.advance(timedelta(days=3))
    assert await playing.env.status(playing.run) == "suspended"
    assert attempts == before
    await playing.give(1)
    assert await playing.run == [0, 1]


# --- asyncio's own ---


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
async def test_asyncio_gather_wait_and_task_groups(play: Begin, order: tuple[int, ...]) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async def double(n: int) -> int:
            return 2 * await results[n] + await ctx.run(f"step {n}", lambda: 0, type=int)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(n)) for n in range(3)]
        doubled = [task.result() for task in tasks]
        again = await asyncio.gather(*results)
        waiting = {asyncio.ensure_future(double(n)) for n in range(3)}
        came: list[int] = []
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            came += [await ctx.run("note", asyncio.Task.result, task, type=int) for task in done]
        return [doubled, again, sorted(came)]

    playing = play(flow)
    await playing.give(*order)
    assert await playing.run == [[0, 2, 4], [0, 1, 2], [0, 2, 4]]


async def test_asyncio_wait_for_and_timeout(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        said: list[Any] = []
        try:
            await asyncio.wait_for(results[0], 3600)
        except TimeoutError:
            said.append("too late")
        try:
            async with asyncio.timeout(3600):
                await results[0]
        except TimeoutError:
            said.append("again")
        said.append(await asyncio.wait_for(results[1], 3600))
        await asyncio.sleep(3600)
        return said

    playing = play(flow)
    await playing.give(1)
    assert await playing.run == ["too late", "again", 1]


async def test_asyncio_queues_events_locks_and_generators(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        event, lock = asyncio.Event(), asyncio.Lock()
        closed: list[str] = []

        async def put() -> None:
            for each in results:
                async with lock:
                    await queue.put(await each)
            event.set()

        async def numbers() -> AsyncIterator[int]:
            try:
                while True:
                    yield await queue.get()
            finally:
                closed.append("closed")

        putting = asyncio.create_task(put())
        got: list[int] = []
        async for number in numbers():
            got.append(await ctx.run(f"note {number}", int, number))
            if len(got) == 3:
                break
        await event.wait()
        await putting
        return [got, closed]

    playing = play(flow)
    await playing.give(1, 0, 2)
    got, closed = await playing.run
    assert got == [0, 1, 2]
    assert closed in ([], ["closed"])


async def test_task_groups_cancel_the_others_in_the_same_order(play: Begin) -> None:
    kept: list[object] = []  # so that no replay has its tasks at the same addresses

    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        undone: list[int] = []

        async def work(n: int) -> None:
            try:
                await results[n]
            except asyncio.CancelledError:
                undone.append(await ctx.run(f"undo {n}", lambda: n, type=int))
                raise

        try:
            async with asyncio.TaskGroup() as group:
                kept.extend([group.create_task(work(n)) for n in range(8)])
        except* TerminalError as errors:
            undone.append(len(errors.exceptions))
        return undone

    playing = play(flow, 8)
    await playing.give(-5)
    assert sorted(await playing.run) == [0, 1, 1, 2, 3, 4, 6, 7]


async def test_a_task_group_that_fails_terminally_fails_its_handler(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async def wait(n: int) -> int:
            return await results[n]

        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            outer.create_task(wait(0))
            inner.create_task(wait(1))
            inner.create_task(wait(2))

    playing = play(flow)
    await playing.give(-2)
    with pytest.raises(TerminalError, match="no 2"):
        await playing.run


async def test_a_task_group_that_is_cancelled_ends(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async def wait(n: int) -> int:
            return await results[n]

        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(wait(n))

    playing = play(flow)
    await playing.env.settle()
    assert await playing.env.cancel(playing.run.id)
    with pytest.raises(TerminalError) as cancelled:
        await playing.run
    assert cancelled.value.code == 409


async def test_a_failure_that_is_not_terminal_keeps_a_task_group_trying(play: Begin) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        async def fail(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fail(TerminalError("no")))
            group.create_task(fail(OSError("try again")))

    with pytest.raises(StuckError, match="TerminalError: no; OSError: try again"):
        await play(flow).run


async def test_what_a_replay_could_not_repeat_is_refused(environment: Environments) -> None:
    async def flow(ctx: Context, results: list[Operation[int]]) -> Any:
        for each in asyncio.as_completed(results):
            await each

    async def thread(ctx: Context, results: list[Operation[int]]) -> Any:
        await asyncio.to_thread(print)

    async def stranger(ctx: Context, results: list[Operation[int]]) -> Any:
        await asyncio.get_running_loop().create_future()

    async def gathered(ctx: Context, results: list[Operation[int]]) -> Any:
        await asyncio.wait([asyncio.gather(*results[:2]), asyncio.gather(*results[2:])])

    async def own(ctx: Context, results: list[Operation[int]]) -> Any:
        await asyncio.wait([asyncio.Future()])

    for each, said in (
        (flow, "use adapter.as_completed"),
        (thread, "run_in_executor was used in handler code"),
        (stranger, "no durable operation will ever complete"),
        (gathered, "asyncio.wait keeps to no order"),
        (own, "asyncio.wait keeps to no order"),
    ):
        env = environment(Flows(each))
        with pytest.raises(StuckError, match=said):
            await env.service_client(Flows).run()
