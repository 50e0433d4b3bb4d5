"""The course of a simulation: a storm, then peace, until nothing is left to do."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, cast

from adapter.engine import lifetimes
from adapter.engine.records import Meta, Record, Status
from adapter.engine.types import Kind
from tests.simulation.clock import EPOCH
from tests.simulation.faults import CALM
from tests.simulation.storms import UNDER_WAY
from tests.simulation.waits import RECOVERY

if TYPE_CHECKING:
    from tests.simulation.loop import SimLoop
    from tests.simulation.process import Process
    from tests.simulation.world import World

LATE = 170_000
"""Milliseconds for which a record stays at least after its completion: requests from before that may be so late."""

SWEEP = 60.0
"""Seconds between two sweeps."""

LONGEST = 1.2
"""How much longer it may be."""


async def run(world: World) -> None:
    """Let a simulation take its course, or end it at the first violation."""
    world.loop = cast("SimLoop", asyncio.get_running_loop())
    world.over = world.loop.create_future()
    world.store = world.store_class(world)
    main = asyncio.ensure_future(_run(world))
    await asyncio.wait([main, world.over], return_when=asyncio.FIRST_COMPLETED)
    if main.done():
        main.result()
    else:
        main.cancel()


async def _run(world: World) -> None:
    clients = [world.loop.create_task(world.clients.client(root, at)) for root in world.plan.roots for at in root.at]
    clients += [world.loop.create_task(world.operators.act(number)) for number in range(len(world.plan.acts))]
    for function, at in world.plan.deploys:
        world.loop.call_later(at, world.functions.deploy, function)
    for begin, _ in world.network.outages:
        # Who is refused nine times in a row gives up, and leaves what it was to do to the next sweep.
        world.loop.call_later(begin, world.waits.mishap, RECOVERY)
    sweeper = world.loop.create_task(_keep_sweeping(world))
    world.loop.create_task(_expire(world))
    storm = 1000.0 if world.expiring else world.random.choice((5.0, 60.0, 200.0))
    await asyncio.wait(clients, timeout=3000.0 if {"distant", "moves"} & world.reach else storm)
    if world.random.random() < 0.7:
        await asyncio.sleep(world.random.uniform(0, storm))
    world.note(None, "peace")
    world.faults = CALM
    world.calm = True
    if clients:
        await asyncio.wait(clients)
    sweeper.cancel()
    await _settle(world)
    if not world.expiring and world.random.random() < 0.15:
        await asyncio.sleep(world.retention + 10)
        await _settle(world, expired=True)
        world.store.expire(world.store.now() + 60 * lifetimes.DAY)
        world.swept = True


async def _expire(world: World) -> None:
    """Delete items whose time to live has ended, when it comes to it and in no order, as DynamoDB does.

    Where records expire, they go much earlier than in production: a second after they have expired, and not seven
    days. Those stay whose end is still to be told to others, for which some sweep has time in seven days. A workflow's
    stays as long as a process may stand still that has read its state before: no request is seven days old.
    """
    random = Random(f"{world.seed}/expiry")
    while True:
        await asyncio.sleep(random.uniform(0, 1000 if world.calm else 100))
        share = random.choice((0.1, 0.5, 1.0))

        def chosen(_: Record, share: float = share) -> bool:
            return random.random() < share

        if deleted := world.store.expire(world.store.now(), chosen):
            world.note(None, f"time to live ends of {deleted} items")
        if not world.expiring:
            continue
        for meta in list(world.store.metas()):
            untold = meta.waiters and meta.due is not None and meta.due <= world.store.now()
            again = {"tardy", "stills"} & world.reach or world.network.is_creating(meta.ref)
            late = UNDER_WAY if again else LATE
            expires = meta.expires or 0
            stays = max(expires, (meta.completed or 0) + late)
            if meta.kind is Kind.WORKFLOW and world.pauses:
                stays = max(stays, expires + late)
            ended = meta.expires is not None and stays + 1000 < world.store.now()
            if ended and not untold and random.random() < 0.3:
                world.note(None, "time to live ends", meta.id)
                world.store.remove(meta)


async def _settle(world: World, expired: bool = False) -> None:
    """Sweep until nothing is left to do but to expire, or not even that."""
    for _ in range(400):
        await asyncio.sleep(5)
        metas = list(world.store.metas())
        dues = [meta.due for meta in metas if meta.due is not None and _unsettled(meta, expired)]
        if not dues:
            paused = any(meta.status is Status.PAUSED for meta in metas)
            if (
                paused
                or world.pending
                or any(p.paused > world.loop.time() for ps in world.functions.processes.values() for p in ps)
            ):
                await asyncio.sleep(30)
                continue
            return
        wait = (min(dues) - EPOCH) / 1000 - world.loop.time()
        if world.pending and world.reach & {"tardy", "belated"}:
            wait = min(wait, SWEEP)  # what comes then may be due before
        await asyncio.sleep(min(max(wait, 0), 7200, lifetimes.RENEWAL / 4000) + 2.5)
        _sweep(world)
    world.violation("it does not come to rest")


def _unsettled(meta: Meta, expired: bool) -> bool:
    if meta.id.startswith(("blb_", "gc_")):
        return True
    if meta.input is None and not meta.input_parts:  # a promise; its waiters may have to be told
        return not meta.live and meta.waiters > 0
    settled = meta.due == meta.expires and not meta.waiters and not expired  # nothing is left but to expire
    return meta.status is not Status.PAUSED and (meta.live or not settled)


async def _keep_sweeping(world: World) -> None:
    while True:
        await asyncio.sleep(SWEEP * world.random.uniform(0.4, LONGEST))
        _sweep(world)
        if world.random.random() < 0.2:
            _sweep(world)


def _sweep(world: World) -> None:
    """Have a process of the one function sweep whose schedule does."""
    process = world.functions.pick(min(world.functions.processes))
    world.note(process, "sweeps")
    world.functions.spawn(process, process.event(_sweep_in(world, process)))


async def _sweep_in(world: World, process: Process) -> None:
    """Sweep while there is time. A Lambda function of three seconds has one second for it, and leaves the rest to the
    next sweep."""
    await process.engine.sweeper.sweep()
    if process.engine.sweeper.ran_out_of_time:
        world.waits.mishap(LONGEST * SWEEP)
