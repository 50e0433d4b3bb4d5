"""A stack in one process: each request and each dispatch gets an engine of its own, as on Lambda, on a shared store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

from adapter.engine.deployment import HandlerSpec
from adapter.engine.engine import Engine
from adapter.engine.ids import partition
from adapter.engine.piles import Piles
from adapter.engine.ports import Store, Usage
from adapter.engine.records import Meta, Ref
from adapter.engine.requests import Answer, Request
from adapter.engine.types import Kind, Target
from adapter.hosting import hosting
from adapter.local.changes import Write
from adapter.local.memory import MemoryStore

TIMEOUT = 600_000
"""Milliseconds after which a function would be stopped."""

LONGEST_QUEUED = 60_000
"""Milliseconds of the longest delay that goes through the queue, as in ``template.yaml``."""

Definitions = Sequence[Any]


class MovableClock:
    """The machine's clock, plus what it was moved by."""

    def __init__(self) -> None:
        self._moved = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self._moved

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def move_to(self, at: int) -> None:
        self._moved += max(0, at - self.now())


class StillClock(MovableClock):
    """A clock that moves only when a sleep ends or a test moves it.

    What a case costs then does not depend on how busy the machine is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._time = time.time_ns() // 1_000_000

    def now(self) -> int:
        return self._time + self._moved

    async def sleep(self, seconds: float) -> None:
        until = self.now() + round(seconds * 1000)
        await asyncio.sleep(seconds)
        self.move_to(until)


class QuickClock(MovableClock):
    """A clock on which nobody waits: when nothing else runs, it moves to the end of the sleep that ends first."""

    TURNS = 50
    """Turns of the event loop in which all runs that can run."""

    def __init__(self) -> None:
        super().__init__()
        self._time = time.time_ns() // 1_000_000
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._moves = False

    def now(self) -> int:
        return self._time + self._moved

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._count += 1
        heappush(self._sleepers, (self.now() + round(seconds * 1000), self._count, future))
        if not self._moves:
            self._moves = True
            loop.call_soon(self._move, loop, self.TURNS)
        await future

    def _move(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns == 0:
            at, _, future = heappop(self._sleepers)
            if not future.done():
                self.move_to(at)
                future.set_result(None)
        self._moves = bool(self._sleepers)
        if self._moves:
            loop.call_soon(self._move, loop, turns - 1 if turns else self.TURNS)


class PricedStore(MemoryStore):
    """A store that also counts what the index of invocations costs, which a stack has unless ``History=false``.

    An entry is put with its record. It changes once more, when the invocation ends.
    """

    history_units = 0

    def _save(self, writes: Sequence[Write]) -> None:
        super()._save(writes)
        for (id, _), old, new, _ in writes:
            if isinstance(new, Meta) and partition(id, new.target) is not None:
                before = old.ended if isinstance(old, Meta) else None
                self.history_units += old is None or new.ended != before


@dataclass
class Cost:
    """What went on in a `World.measured` block.

    Attributes:
        requests: DynamoDB requests.
        read_units: Capacity units read, and below, written.
        history_units: Capacity units written to the index of invocations, if the store is a `PricedStore`.
        dispatches: Lambda invocations that were asked for, those by timers included.
        schedules: Timers made at EventBridge Scheduler.
        delays: Timers made as messages in the queue for short delays.
        ms: How long it took.
        cpu: Milliseconds of CPU of this process, the store in memory included.
        held: Seconds for which a process waited with its client.
    """

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    history_units: int = 0
    dispatches: list[str] = field(default_factory=list)
    schedules: int = 0
    delays: int = 0
    ms: float = 0.0
    cpu: float = 0.0
    held: float = 0.0


class World:
    """Functions on one store.

    Args:
        store: Where everything is kept.
        functions: The definitions of each function.
        clock: The clock of all processes; by default the machine's.
    """

    def __init__(self, store: Store, *functions: Definitions, clock: MovableClock | None = None) -> None:
        self.store = store
        self.clock = clock or MovableClock()
        self.cost = Cost()
        self.delivers = True
        """Whether what is dispatched is run."""
        self.invocations = 0
        """How often a function was invoked for what is measured; a sender of messages does not count."""
        self._functions: list[list[HandlerSpec]] = [hosting(*definitions).specs for definitions in functions]
        self._kinds = {(spec.service, spec.name): spec.kind for specs in self._functions for spec in specs}
        self._timers: list[tuple[int, Ref]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._piles: Piles[tuple[str, int]] = Piles()

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """Count what the block does."""
        self.store.usage = Usage()
        self.cost = cost = Cost()
        history = getattr(self.store, "history_units", 0)
        started, worked = time.perf_counter(), time.process_time()
        yield cost
        cost.cpu = (time.process_time() - worked) * 1000
        cost.ms = (time.perf_counter() - started) * 1000
        cost.history_units = getattr(self.store, "history_units", 0) - history
        usage = self.store.usage
        cost.requests, cost.read_units, cost.write_units = usage.requests, usage.read_units, usage.write_units

    async def call(
        self,
        path: str,
        input: object,
        idempotency_key: str | None = None,
        *,
        engine: Engine | None = None,
        patience: int = TIMEOUT,
    ) -> Any:
        """Return the result of a call, when all that it began in its process has ended.

        Args:
            path: What to call.
            input: With what.
            idempotency_key: As the client gives it.
            engine: The process that takes the request; a new one by default.
            patience: Milliseconds that the client waits.
        """
        request = _request(path, input, idempotency_key)
        engine = engine or self.process(request.target.service)
        self.invocations += 1
        engine.process.deadline = self.clock.now() + TIMEOUT
        answer = await engine.call(request, until=self.clock.now() + patience)
        await engine.process.drain()
        return _result(answer)

    async def prefer(self, path: str, input: object, wait: int) -> Any:
        """Return the result of a call whose client waits for so many milliseconds, and asks again when it is there."""
        request = _request(path, input, None)
        engine = self.process(request.target.service)
        self.invocations += 2
        answer = await engine.send(request)
        await engine.outcome(answer.id, until=self.clock.now() + wait)
        await engine.process.drain()
        await self.settle()
        await self.fire()
        outcome = await self.process(request.target.service).outcome(answer.id, until=self.clock.now() + 1000)
        return _result(replace(answer, outcome=outcome))

    async def leave(self, path: str, input: object, idempotency_key: str | None = None) -> Any:
        """Return the result of a call whose client leaves it once it is suspended, and asks again when it continues."""
        request = _request(path, input, idempotency_key)
        engine = self.process(request.target.service)
        self.invocations += 2
        began = self.clock.now()
        answer = await engine.call(request, until=began + TIMEOUT, leave=True)
        self.cost.held = (self.clock.now() - began) / 1000
        assert await engine.storage.find(answer.id) is not None  # as the ingress does, to tell when to ask
        await engine.process.drain()
        await self.settle()
        await self.fire()
        storage = self.process(request.target.service).storage
        meta = await storage.find(answer.id)
        assert meta is not None
        return _result(replace(answer, outcome=await storage.result(meta)))

    async def start(self, path: str, input: object) -> Engine:
        """Begin a call for which nobody waits; for one that is to be suspended."""
        request = _request(path, input, None)
        engine = self.process(request.target.service)
        self.invocations += 1
        await engine.call(request, until=self.clock.now())
        await engine.process.drain()
        return engine

    async def send(self, path: str, input: object) -> str:
        """Leave a message, and wait until it and all that it caused is done. Returns the invocation's id."""
        request = _request(path, input, None)
        engine = self.process(request.target.service)
        answer = await engine.send(request)
        await engine.process.drain()
        await self.settle()
        return answer.id

    async def settle(self) -> None:
        """Wait until everything that was dispatched has run."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def fire(self) -> None:
        """Move the clock to the earliest timer, and run what it wakes."""
        at, ref = min(self._timers)
        self._timers.remove((at, ref))
        self.clock.move_to(at)
        meta = await self.store.peek(ref.id)
        assert meta is not None
        self.store.usage.requests -= 1
        self.store.usage.read_units -= 1
        await self.dispatch(ref, meta.target.service, meta.deployment, False)
        await self.settle()

    # --- the engine's dispatcher and timers ---

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        for ids in await self._piles.add((service, batch), ref.id, batch):
            self.cost.dispatches.append(ids[0])
            self.invocations += 1
            if self.delivers:
                task = asyncio.create_task(self._run(ids, service, fresh))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        if 0 < at - self.clock.now() <= LONGEST_QUEUED:
            self.cost.delays += 1
        else:
            self.cost.schedules += 1
        self._timers.append((at, ref))

    async def unschedule(self, ref: Ref, name: str) -> None:
        return

    async def _run(self, ids: list[str], service: str, fresh: bool) -> None:
        engine = self.process(service)
        await (engine.resume(ids[0], fresh=fresh) if len(ids) == 1 else engine.resume_all(ids))
        await engine.process.drain()

    def process(self, service: str) -> Engine:
        """Start a process of the function that a service lives in."""
        specs = next(specs for specs in self._functions if any(spec.service == service for spec in specs))
        engine = Engine(
            store=self.store, timers=self, dispatcher=self, clock=self.clock, handlers=specs, kinds=self._kind
        )
        engine.process.deadline = self.clock.now() + TIMEOUT
        return engine

    def _kind(self, target: Target) -> Kind | None:
        return self._kinds.get((target.service, target.handler))


def _request(path: str, input: object, idempotency_key: str | None) -> Request:
    service, *key, handler = path.split("/")
    return Request(Target(service, handler, key[0] if key else None), json.dumps(input).encode(), idempotency_key)


def _result(answer: Answer) -> Any:
    outcome = answer.outcome
    if outcome is None or outcome.failure is not None or outcome.value is None:
        raise AssertionError(f"{answer} is no result")
    return json.loads(outcome.value)
