"""What an invocation waits for: the tree, what follows from it, and how the code's awaits become one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapter import gather, wait_completed
from adapter.aws.attributes import read_awaiting, write_awaiting
from adapter.combinators import wait_all
from adapter.engine import commands as c
from adapter.engine.awaiting import Awaiting, Leaf, Node, blockers, ends_at, missing, needs_each
from adapter.engine.records import Status
from adapter.engine.types import Kind, Outcome
from tests.unit.world import World, target, unpack

CALL, CALLS = Leaf("call", (0, 0)), Leaf("call", (1, 2, 5, 5))
ATTACHED = Leaf("attach", (3, 3), "inv_x")
SIGNAL, SIGNALS = Leaf("signal", (4, 4)), Leaf("signal", (6, 7))
SOON, LATE = Leaf("sleep", (8, 8), until=100), Leaf("sleep", (9, 9), until=900)


def every(*parts: Leaf | Node) -> Node:
    return Node(True, parts)


def one(*parts: Leaf | Node) -> Node:
    return Node(False, parts)


@pytest.mark.parametrize(
    ("node", "lacks", "ends"),
    [
        (every(CALL), 1, None),
        (every(CALLS), 3, None),
        (one(CALLS), 1, None),
        (every(CALLS, SIGNALS), 5, None),
        (one(SIGNAL, every(CALLS)), 1, None),
        (one(every(CALLS), every(SIGNALS)), 2, None),
        (every(one(CALLS), one(SIGNALS)), 2, None),
        (every(SOON), 1, 100),
        (every(SOON, LATE), 2, 900),
        (one(SOON, LATE), 1, 100),
        (every(CALL, LATE), 2, 900),  # only the timer wakes it, which then finds both
        (one(CALL, LATE), 1, 900),
        (one(LATE, every(CALLS)), 3, 900),
        (one(LATE, every(CALLS, SOON)), 4, 100),
        (every(one(SOON, SIGNAL), one(LATE, CALL)), 2, 900),
    ],
)
def test_when_to_wake(node: Node, lacks: int, ends: int | None) -> None:
    assert (missing(node), ends_at(node)) == (lacks, ends)
    waits = Awaiting(7, node)
    assert (waits.wake_after, waits.timer) == (7 + lacks - 1, ends)
    assert read_awaiting(write_awaiting(waits)) == waits


@pytest.mark.parametrize(
    ("node", "others"),
    [
        (every(SIGNAL), None),
        (every(SOON), None),
        (every(CALL), every(CALL)),
        (every(CALLS, SIGNAL, SOON), every(CALLS)),
        (one(CALLS, ATTACHED), one(CALLS, ATTACHED)),
        (one(CALL, SIGNAL), None),
        (one(CALL, every(CALLS, SIGNAL)), one(CALL, every(CALLS))),
        (one(CALL, every(SIGNALS)), None),
        (every(CALL, one(ATTACHED, SOON)), every(CALL)),
    ],
)
def test_which_invocations_block_it(node: Node, others: Node | None) -> None:
    assert blockers(node) == others


@pytest.mark.parametrize(
    ("node", "each"),
    [
        (every(CALLS), True),
        (one(CALL), True),
        (one(CALLS), False),
        (one(CALL, ATTACHED), False),
        (every(CALL, one(CALLS)), False),
        (every(CALL, one(ATTACHED)), True),
    ],
)
def test_whether_it_needs_each(node: Node, each: bool) -> None:
    assert needs_each(node) is each


# --- what code awaits ------------------------------------------------------------------------------------------------

Waits = Callable[[Any], Awaitable[Any]]


def call(ctx: Any, path: str = "S/rest") -> Any:
    return ctx.issue(c.Call(target(path), b""), unpack)


def sleep(ctx: Any, seconds: float) -> Any:
    return ctx.issue(c.Sleep(round(seconds * 1000)), unpack)


def signal(ctx: Any) -> Any:
    return ctx.issue(c.Signal("go"), unpack)


async def _timeout(ctx: Any) -> None:
    async with asyncio.timeout(600):
        await gather(call(ctx), call(ctx), signal(ctx))


async def _tasks(ctx: Any) -> None:
    async def both() -> None:
        await gather(call(ctx), signal(ctx))

    await gather(both(), signal(ctx))


def _calls(*ranges: int) -> Leaf:
    return Leaf("call", ranges)


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        (call, every(_calls(0, 0))),
        (lambda ctx: gather(call(ctx), signal(ctx), call(ctx)), every(_calls(0, 0, 2, 2), Leaf("signal", (1, 1)))),
        (lambda ctx: wait_all(call(ctx), call(ctx)), every(_calls(0, 1))),
        (lambda ctx: wait_completed(call(ctx), call(ctx)), one(_calls(0, 1))),
        (lambda ctx: asyncio.gather(call(ctx), call(ctx)), one(_calls(0, 1))),
        (lambda ctx: gather(sleep(ctx, 60), sleep(ctx, 90)), every(Leaf("sleep", (0, 1), until=90_000))),
        (lambda ctx: wait_completed(sleep(ctx, 60), sleep(ctx, 90)), one(Leaf("sleep", (0, 1), until=60_000))),
        (_timeout, one(Leaf("sleep", (1, 1), until=600_000), every(_calls(2, 3), Leaf("signal", (4, 4))))),
        (_tasks, one(Leaf("signal", (0, 0)), every(_calls(1, 1), Leaf("signal", (2, 2))))),
    ],
)
async def test_a_suspended_record_holds_the_tree_of_what_its_code_awaits(waits: Waits, expected: Node) -> None:
    world = World()
    began = world.clock.now()

    @world.handler("S")
    async def rest(ctx: Any, _: Any) -> Any:
        await sleep(ctx, 3600)

    @world.handler("S")
    async def wait(ctx: Any, _: Any) -> Any:
        await waits(ctx)

    id = await world.send("S/wait")
    await world.clock.advance(0)
    meta = await world.meta(id)

    assert meta.status is Status.SUSPENDED
    assert meta.awaits is not None
    assert _since(meta.awaits, began) == expected


def _since(node: Node, began: int) -> Node:
    """Return a tree with times since the beginning."""
    return Node(
        node.all,
        tuple(
            _since(part, began)
            if isinstance(part, Node)
            else Leaf(part.kind, part.ranges, part.id, part.until and part.until - began)
            for part in node.parts
        ),
    )


async def test_a_fan_in_under_a_timeout_is_woken_once() -> None:
    world, attempts = World(), list[int]()

    @world.handler("O", Kind.EXCLUSIVE)
    async def rest(ctx: Any, seconds: Any) -> Any:
        await sleep(ctx, seconds)

    @world.handler("S")
    async def fan(ctx: Any, _: Any) -> Any:
        attempts.append(world.clock.now())
        async with asyncio.timeout(600):
            calls = [ctx.issue(c.Call(target(f"O/{n}/rest"), str(5 + n).encode()), unpack) for n in range(20)]
            return len(await gather(*calls))

    id = await world.send("S/fan")
    await world.clock.advance(60)

    assert (await world.meta(id)).outcome == Outcome(b"20")
    assert len(attempts) == 2


async def test_several_sleeps_that_are_awaited_together_wake_once() -> None:
    world, attempts = World(), list[int]()

    @world.handler("S")
    async def nap(ctx: Any, _: Any) -> Any:
        attempts.append(world.clock.now())
        await gather(*(sleep(ctx, seconds) for seconds in (10, 20, 30)))
        return "awake"

    id = await world.send("S/nap")
    await world.clock.advance(29)
    assert (await world.meta(id)).status is Status.SUSPENDED
    await world.clock.advance(2)

    assert (await world.meta(id)).outcome == Outcome(b'"awake"')
    assert len(attempts) == 2
