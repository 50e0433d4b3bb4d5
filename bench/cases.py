"""The budget table: what each case may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from uuid import uuid4

from adapter import Context, ObjectContext, Service, VirtualObject, gather, handler
from adapter.engine.engine import Engine
from adapter.engine.ports import Store
from bench.services import Bench, Counter
from bench.world import Cost, Definitions, MovableClock, World


class Far(Service):
    """A service in another function."""

    @handler
    async def echo(self, ctx: Context, n: int) -> int:
        """The input."""
        return n

    @handler
    async def down(self, ctx: Context, n: int) -> int:
        """A chain of n calls to and fro between two functions."""
        return 1 + await ctx.service_client(Cases).down(n - 1) if n else 0


class Stepper(VirtualObject):
    """An object whose handlers take a while."""

    @handler
    async def steps(self, ctx: ObjectContext, n: int) -> int:
        """n durable steps in sequence."""
        return await Bench().steps.fn(ctx, n)

    @handler
    async def hold(self, ctx: ObjectContext, seconds: int) -> int:
        """Keep the key for a while."""
        await ctx.sleep(timedelta(seconds=seconds))
        return seconds


class Cases(Service):
    """What the workloads leave out."""

    @handler
    async def objcalls(self, ctx: Context, spread: tuple[int, int]) -> int:
        """n calls in sequence, over k keys."""
        n, k = spread
        for i in range(n):
            await ctx.object_client(Counter, f"{ctx.request.id}-{i % k}").add(1)
        return n

    @handler
    async def objsends(self, ctx: Context, spread: tuple[int, int]) -> int:
        """n messages, over k keys."""
        n, k = spread
        for i in range(n):
            ctx.object_send_client(Counter, f"{ctx.request.id}-{i % k}").add(1)
        return n

    @handler
    async def sleep(self, ctx: Context, seconds: int) -> int:
        """One sleep."""
        await ctx.sleep(timedelta(seconds=seconds))
        return seconds

    @handler
    async def sleeps(self, ctx: Context, n: int) -> int:
        """n sleeps in sequence."""
        for _ in range(n):
            await ctx.sleep(timedelta(minutes=30))  # 500 of these end before the journal is renewed
        return n

    @handler
    async def fan(self, ctx: Context, n: int) -> int:
        """n calls at once."""
        return len(await gather(*(ctx.service_client(Bench).greet("x") for _ in range(n))))

    @handler
    async def down(self, ctx: Context, n: int) -> int:
        """A chain of n calls to and fro between two functions."""
        return 1 + await ctx.service_client(Far).down(n - 1) if n else 0

    @handler
    async def fetch(self, ctx: Context, kilobytes: list[int]) -> int:
        """Steps with large results, then a sleep."""
        total = 0
        for i, size in enumerate(kilobytes):
            total += len(await ctx.run(f"fetch-{i}", _payload, size))
        await ctx.sleep(timedelta(hours=1))
        return total

    @handler
    async def far(self, ctx: Context, n: int) -> int:
        """n calls into another function, all at once."""
        return sum(await gather(*(ctx.service_client(Far).echo(i) for i in range(n))))


def _payload(kilobytes: int) -> str:
    return "x" * (kilobytes * 1024)


FUNCTIONS: list[Definitions] = [[Bench, Counter, Stepper, Cases], [Far]]


def world(store: Store, clock: MovableClock | None = None) -> World:
    """The functions that the cases run on."""
    return World(store, *FUNCTIONS, clock=clock)


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: What is done.
        limit: The fewest requests that we see a way to do it with.
        budget: How many it may take.
        run: Does it, and measures.
        dispatches: How many Lambda invocations more it may take.
    """

    name: str
    limit: int
    budget: int
    run: Callable[[World], Awaitable[Cost]]
    dispatches: int = 0


def _call(path: str, input: object, *, key: bool = False, delivers: bool = True) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        unique = uuid4().hex
        world.delivers = delivers
        with world.measured() as cost:
            await world.call(path.format(unique), input, unique if key else None)
        return cost

    return run


async def _duplicate(world: World) -> Cost:
    key = uuid4().hex
    await world.call("Bench/greet", "x", key)
    with world.measured() as cost:
        await world.call("Bench/greet", "x", key)
    return cost


async def _sleep(world: World) -> Cost:
    with world.measured() as cost:
        await world.start("Cases/sleep", 3600)
        await world.fire()
    return cost


async def _waited(world: World) -> Cost:
    with world.measured() as cost:
        began = world.clock.now()
        await world.call("Cases/sleep", 5)
        cost.held = (world.clock.now() - began) / 1000
    return cost


async def _far_waited(world: World) -> Cost:
    with world.measured() as cost:
        began = world.clock.now()
        await world.call("Cases/far", 1)
        cost.held = (world.clock.now() - began) / 1000
        await world.settle()
    return cost


def _preferred(seconds: int) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        with world.measured() as cost:
            await world.prefer("Cases/sleep", 5, seconds * 1000)
            cost.held = float(seconds)
        return cost

    return run


def _left(*, key: bool) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        with world.measured() as cost:
            await world.leave("Cases/sleep", 5, uuid4().hex if key else None)
        return cost

    return run


def _resume(*kilobytes: int) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        await world.start("Cases/fetch", list(kilobytes))
        with world.measured() as cost:
            await world.fire()
        return cost

    return run


async def _resume_exclusive(world: World) -> Cost:
    await world.start(f"Stepper/{uuid4().hex}/hold", 3600)
    with world.measured() as cost:
        await world.fire()
    return cost


def _far(n: int) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        with world.measured() as cost:
            await world.send("Cases/far", n)
        # The caller's own creation and beginning are those of any message.
        cost.requests -= 2
        del cost.dispatches[0]
        return cost

    return run


async def _fan_in(world: World) -> Cost:
    world.cost = Cost()
    with world.measured() as cost:
        id = await world.send("Cases/far", 20)
    cost.dispatches = [dispatched for dispatched in cost.dispatches if dispatched == id][1:]
    return cost


async def _held(world: World) -> Cost:
    key = uuid4().hex
    holder: Engine = await world.start(f"Stepper/{key}/hold", 3600)
    assert not holder.process.active
    with world.measured() as cost:
        await world.start(f"Stepper/{key}/steps", 0)
    return cost


async def _granted(world: World) -> Cost:
    """From the request at a held key to its stored completion, without what its owner needs."""
    arrived = await _held(world)
    with world.measured() as cost:
        await world.fire()
    cost.requests += arrived.requests - (await _resume_exclusive(world)).requests
    cost.read_units = cost.write_units = 0
    return cost


async def _chain(world: World) -> Cost:
    with world.measured() as cost:
        await world.send("Cases/down", 50)
    return cost


async def _messages(world: World) -> Cost:
    with world.measured() as cost:
        await world.call("Cases/objsends", [1000, 1])
        await world.settle()
    return cost


def _sends(n: int) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        with world.measured() as cost:
            await world.call("Bench/sends", n)
            await world.settle()
        return cost

    return run


def _sleeps(n: int) -> Callable[[World], Awaitable[Cost]]:
    async def run(world: World) -> Cost:
        with world.measured() as cost:
            await world.start("Cases/sleeps", n)
            for _ in range(n):
                await world.fire()
        return cost

    return run


async def _at_once(world: World) -> Cost:
    key = uuid4().hex
    with world.measured() as cost:
        await asyncio.gather(*(world.call(f"Counter/{key}/add", 1) for _ in range(10)))
    return cost


CASES = [
    Case("service handler, no steps", 1, 1, _call("Bench/greet", "x")),
    Case("service handler, no steps, idempotency key", 2, 2, _call("Bench/greet", "x", key=True)),
    Case("exclusive handler, get and set", 2, 2, _call("Counter/{}/add", 1)),
    Case("exclusive handler, get and set, idempotency key", 3, 3, _call("Counter/{}/add", 1, key=True)),
    *(Case(f"{n} steps in sequence", n + 1, n + 1, _call("Bench/steps", n)) for n in (1, 10, 100)),
    *(Case(f"{n} deferred steps in sequence", 1, 2, _call("Bench/deferred", n)) for n in (1, 10, 100)),
    Case("10 steps in an exclusive handler", 12, 12, _call("Stepper/{}/steps", 10)),
    *(
        Case(f"{n} calls to service handlers", ceil((n + 1) / 100), ceil((n + 1) / 100), _call("Bench/calls", n))
        for n in (1, 10, 99, 250)
    ),
    *(
        Case(
            f"{n} calls to object handlers, {k} keys",
            k + ceil((n + k + 1) / 100),
            k + ceil((n + k + 1) / 100),
            _call("Cases/objcalls", [n, k]),
        )
        for n, k in ((10, 1), (10, 3), (200, 3))
    ),
    *(
        Case(
            f"{n} sends to services",
            ceil((n + 2) / 100),
            ceil((n + 2) / 100),
            _call("Bench/sends", n, delivers=False),
            dispatches=ceil(n / 25) + ceil((n + 2) / 100),
        )
        for n in (10, 98, 250)
    ),
    *(
        Case(
            f"{n} sends to {k} idle keys",
            ceil(k / 100) + ceil((2 * n + 2) / 100),
            budget,
            _call("Cases/objsends", [n, k], delivers=False),
            dispatches=ceil(k / 25) + 1,
        )
        # Of 150 in turn to 50 keys each commit but the first writes many a head again: messages are taken in order.
        for n, k, budget in ((10, 3, 2), (150, 50, 6))
    ),
    Case("duplicate of a completed request", 1, 1, _duplicate),
    Case("resume and complete, small journal", 2, 2, _resume(1), dispatches=1),
    Case("resume and complete, journal of 1.2 MB", 3, 3, _resume(300, 300, 300, 300), dispatches=1),
    Case("resume and complete, exclusive handler", 3, 3, _resume_exclusive, dispatches=1),
    Case("sleep of an hour", 3, 3, _sleep, dispatches=1),
    Case("call into another function", 6, 7, _far(1), dispatches=2),
    # One commit for the calls; they are read and completed together, and each is counted; then the caller is loaded.
    Case("fan-in of 20 calls into another function", 2 + 1 + 2 + 20 + 2, 2 + 1 + 2 + 20 + 4, _fan_in, dispatches=2),
    Case("arriving at a held key", 3, 4, _held),
]
"""DESIGN's rows, at sizes that show their slope."""

WAITING = [
    # Before the sleep a commit stores the invocation, as the process may end. The last one completes it.
    Case("sleep of 5 s with a client that waits", 2, 5, _waited),
    # What the client's process reads meanwhile, every second at most, is on top of what a sleep takes.
    Case("sleep of 5 s, with a client that prefers to wait for 1 s", 6, 14, _preferred(1), dispatches=2),
    Case("sleep of 5 s, with a client that asks later", 6, 6, _preferred(0), dispatches=2),
    # The commit that suspends it, a read for the first answer, one to resume it, its last commit, one for the result.
    Case("sleep of 5 s, with a client that leaves", 5, 5, _left(key=False), dispatches=1),
    Case("sleep of 5 s, with a client that leaves, idempotency key", 6, 6, _left(key=True), dispatches=1),
    Case("call into another function with a client that waits", 6, 9, _far_waited, dispatches=1),
]
"""What a client costs that waits."""

SCALE = [
    # And one read for every three seconds.
    *(Case(f"{n:,} steps", n + 1, n + 1, _call("Bench/steps", n)) for n in (1000, 10_000)),
    # All of them are made before the first runs, and commits keep that order.
    Case("a fan-out of 1,000 calls", 21, 21, _call("Cases/fan", 1000)),
    # Each batch is read with one request and completed with another. A commit of 100 has 4 batches.
    *(
        Case(
            f"{n:,} sends, and what they start",
            ceil((n + 2) / 100) + 2 * ceil(n / 25),
            ceil((n + 2) / 100) + 2 * (ceil(n / 25) + ceil((n + 2) / 100)),
            _sends(n),
            ceil(n / 25) + ceil((n + 2) / 100),
        )
        for n in (10, 100, 1000)
    ),
    # A commit stores 50 messages. The owner of their key reads 48 of the inbox and their records, and completes them.
    # On a store without latency an owner may have drained the inbox before the sender's next commit.
    Case("1,000 messages to one key, and what they start", 23 + 63, 25 + 65, _messages, dispatches=6),
    Case("a chain of 50 calls to and fro between two functions", 50 * 6 + 3, 50 * 6 + 3, _chain, dispatches=101),
    # A suspension is a commit, which also claims the attempt; a resume reads.
    *(Case(f"{n} suspensions", 2 * n + 1, 2 * n + 1, _sleeps(n), dispatches=n) for n in (100, 500)),
]
"""One invocation that is large."""
