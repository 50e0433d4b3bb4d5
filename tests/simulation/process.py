"""A process with an engine of its own: what leaves and reaches it, and how it stops and dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from adapter.engine.engine import Engine
from adapter.engine.piles import Piles
from adapter.engine.ports import Dispatcher, Store, Timers, Unavailable
from adapter.engine.records import Ref, Status
from adapter.engine.types import Kind, Target
from tests.simulation import sessions
from tests.simulation.clock import EPOCH
from tests.simulation.hosting import handlers, kind_of
from tests.simulation.storms import PAUSES
from tests.simulation.waits import LEASE, RECOVERY, REFUSED, Span

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

READS = {
    "load", "peek", "peek_all", "read_notifications", "output", "heads", "inbox", "state", "entries", "waiters", "due",
    "active", "dependents",
}  # fmt: skip

METHODS = (*sorted(READS), "count_notifications", "commit", "put", "delete", "renew", "forget")

RESERVE = 0.5
"""Seconds that a process has left at its deadline, as Lambda's entry sets it."""

UNREAD = 0.1
"""How often the registry cannot be read."""


class Process:
    """A process with an engine of its own. Once it is dead, or while it is paused, nothing leaves or reaches it."""

    def __init__(self, world: World, name: str, function: int, deployment: str, timeout: float | None) -> None:
        self.world = world
        self.name = name
        self.function = function
        self.deployment = deployment
        self.timeout = timeout
        """Seconds for one event at a time, as in a Lambda; ``None``: a server."""
        self.skew = round(world.random.uniform(-world.faults.skew, world.faults.skew) * 1000)
        self.dead = False
        self.death: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.paused = 0.0
        """Until when."""
        self.events = 0
        self.requests: list[Span] = []
        """When it had requests to the store under way."""
        self.in_flight = 0
        """How many are under way."""
        self.engine = (world.engine or Engine)(
            store=cast("Store", _Store(self)),
            timers=cast("Timers", _Timers(self)),
            dispatcher=cast("Dispatcher", _Dispatcher(self)),
            clock=_Clock(self),
            handlers=handlers(self),
            deployment=deployment,
            kinds=self.kind,
            poll=world.poll,
            always_replay=world.always_replay,
        )
        self.engine.storage._random = Random(world.random.random())

    def kind(self, target: Target) -> Kind | None:
        """The kind of a handler elsewhere, as the registry says, which may not answer."""
        world = self.world
        elsewhere = world.plan.functions.get(target.service) != self.function
        if elsewhere and not world.calm and world.chance(UNREAD if "registry" in world.reach else world.faults.refused):
            world.waits.mishap(REFUSED)
            raise Unavailable("the registry")
        return kind_of(target.service, target.handler)

    @property
    def frozen(self) -> bool:
        return self.dead or (self.paused > 0 and self.paused > self.world.loop.time())

    async def gate(self) -> None:
        """Pass, unless the process is dead or paused."""
        while self.frozen:
            if self.dead:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.paused - self.world.loop.time())

    def begins_request(self) -> None:
        """Note that a request to the store begins."""
        if not self.in_flight:
            self.requests.append((self.world.loop.now, inf))
        self.in_flight += 1

    def ends_request(self) -> None:
        """Note that one has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self.requests[-1] = self.requests[-1][0], self.world.loop.now

    async def work(self, seconds: float) -> None:
        """Do something that takes so long."""
        if self.frozen:
            await self.gate()
        await self.world.loop.pause(seconds)
        if self.frozen:
            await self.gate()

    async def mishap(self, *where: str) -> None:
        """A point at which a process may die or stop."""
        world = self.world
        if self.frozen:
            await self.gate()
        if world.chance(world.faults.kill):
            self.kill(" ".join(where))
        elif world.chance(world.faults.pause):
            self._stop(*where)
        if self.frozen:
            await self.gate()

    async def mishap_apart(self) -> None:
        """A point before it puts the record of a call apart, at which it may stop."""
        if self.world.chance(self.world.faults.apart):
            self._stop("before a call is put")
            await self.gate()

    def _stop(self, *where: str) -> None:
        """Have it stand still for a while."""
        world = self.world
        world.stops += 1
        seconds = world.random.choice(PAUSES if "stills" in world.reach else (1.0, 5.0, 20.0, 70.0, 150.0))
        self.paused = world.loop.time() + seconds
        world.waits.mishap(seconds + LEASE + RECOVERY)
        world.note(self, "paused for", seconds, *where)

    def kill(self, why: str) -> None:
        """End it where it stands."""
        if not self.dead:
            self.dead = self.world.faulty = True  # out of time for want of quick answers, maybe
            self.world.note(self, "killed", why)
            self.world.waits.mishap(LEASE + RECOVERY)
            self.world.functions.processes[self.function].remove(self)
            if not self.death.done():
                self.death.set_result(None)

    def event(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Handle one event, as the entry of a function does."""
        self.events += 1
        return self._event(work)

    async def _event(self, work: Coroutine[Any, Any, T]) -> T:
        timer: asyncio.TimerHandle | None = None
        if self.timeout is not None:
            self.engine.process.deadline = self.engine.process.now() + round(self.timeout * 1000)
            timer = self.world.loop.call_later(self.timeout + RESERVE, self._time_out)
        try:
            return await work
        finally:
            if timer is not None and not self.dead:
                await self.engine.process.drain()
                if not self.frozen:
                    active, runtime = self.engine.process.active, self.engine.runtime
                    if active or runtime.gates or runtime.listeners:
                        self.world.violation(f"{self.name} keeps {active}, gates, or listeners")
                    timer.cancel()
            self.events -= 1

    def _time_out(self) -> None:
        sessions.check_time(self.world, self)
        self.kill("timed out")

    def __repr__(self) -> str:
        return self.name


class _Clock:
    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> int:
        return EPOCH + int(self._process.world.loop.now * 1000) + self._process.skew

    async def sleep(self, seconds: float) -> None:
        await self._process.work(seconds)


class _Store:
    """The store as one process reaches it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.usage = process.world.store.usage


def _method(name: str) -> Callable[..., Awaitable[Any]]:
    def send(self: _Store, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self._process.world.network.request(self._process, name, args, kwargs)

    return send


for _name in METHODS:
    setattr(_Store, _name, _method(_name))


class _Dispatcher:
    def __init__(self, process: Process) -> None:
        self._process = process
        self._piles: Piles[tuple[str, str, int]] = Piles()

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        process, world = self._process, self._process.world
        await process.mishap("before a dispatch")
        meta = world.store._record(ref.id)
        if meta is None:
            if not world.forgets(ref.id):
                world.violation(f"{ref.id} is dispatched, and is not stored")
        elif service != meta.target.service:
            world.violation(f"{ref.id} is dispatched to {service}")
        function = world.plan.functions[service]
        for pile in await self._piles.add((service, deployment, batch), ref.id, batch):
            await process.work(world.network.latency())
            records = [world.store._record(id) for id in pile]
            suspended = any(each is not None and each.status is Status.SUSPENDED for each in records)
            for wait in world.network.deliveries(fresh=fresh, suspended=suspended):
                world.note(process, "dispatches", *pile, "fresh" if fresh else "", f"in {wait:.3f}")
                world.soon(wait, partial(world.functions.deliver, function, deployment, pile, fresh))
        await process.mishap("after a dispatch")


class _Timers:
    def __init__(self, process: Process) -> None:
        self._process = process

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        process, world = self._process, self._process.world
        await process.mishap("before a schedule")
        await process.work(world.network.latency())
        meta = world.store._record(ref.id)
        if meta is None:
            if not world.forgets(ref.id):
                world.violation(f"{ref.id} is scheduled, and is not stored")
        elif (ref, name) not in world.network.timers:
            world.network.timers.add((ref, name))
            seconds = (at - EPOCH) / 1000 - world.loop.time()
            for wait in world.network.deliveries(timer=seconds):
                world.note(process, "schedules", ref.id, name, f"for {seconds:.3f}+{wait:.3f}")
                world.soon(max(0.0, seconds + wait), lambda: self._fire(ref, name))
        await process.mishap("after a schedule")

    def _fire(self, ref: Ref, name: str) -> None:
        """Wake an invocation at the function that made the timer, whatever its deployment is by then.

        After that the timer is no more: who finds by a slower clock that it is too early makes another.
        """
        world = self._process.world
        world.network.timers.discard((ref, name))
        world.functions.deliver(self._process.function, "", [ref.id], fresh=False)

    async def unschedule(self, ref: Ref, name: str) -> None:
        await self._process.mishap("before an unschedule")
