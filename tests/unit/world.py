"""Engines on one store in memory, under a clock that tests move."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adapter import steps
from adapter.engine.deployment import HandlerSpec
from adapter.engine.engine import Engine
from adapter.engine.records import Meta
from adapter.engine.reports import Reports
from adapter.engine.requests import Answer, Request
from adapter.engine.types import Kind, Options, Outcome, Target
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers

THREADS_MAY_TAKE = 30_000
"""Milliseconds after which a plain step is given up."""


class ManualClock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.time = 1_000_000_000_000
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.time + round(seconds * 1000), self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever somebody wakes."""
        end = self.time + round(seconds * 1000)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.time = max(self.time, at)
                future.set_result(None)
                await settle()
        self.time = end
        await settle()


async def settle() -> None:
    """Let everything run that can run without time passing, and plain steps end in their threads."""
    for _ in range(THREADS_MAY_TAKE):
        for _ in range(60):
            await asyncio.sleep(0)
        turns = steps._turns.get(asyncio.get_running_loop())
        if turns is None or turns._value == steps._LIVE:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("a plain step does not end")


class World:
    """One or more processes. Handlers are registered on it before the first request."""

    def __init__(self, processes: int = 1) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self._specs: list[HandlerSpec] = []
        self._engines: list[Engine] = []
        self.reports = Reports()
        self.dispatchers = [LocalDispatcher() for _ in range(processes)]
        self.timers = [LocalTimers(self.clock) for _ in range(processes)]

    def handler(
        self, service: str, kind: Kind = Kind.SERVICE, name: str | None = None, **options: Any
    ) -> Callable[[Any], Any]:
        """Register a function of attempt and input, which both it and its result are plain JSON values for."""

        def register(function: Callable[[Any, Any], Awaitable[Any]]) -> Any:
            async def execute(attempt: Any, input: bytes) -> bytes:
                return pack(await function(attempt, unpack(input)))

            self._specs.append(HandlerSpec(service, name or function.__name__, kind, execute, Options(**options)))
            return function

        return register

    @property
    def engines(self) -> list[Engine]:
        if not self._engines:
            for dispatcher, timers in zip(self.dispatchers, self.timers, strict=True):
                engine = Engine(
                    store=self.store,
                    timers=timers,
                    dispatcher=dispatcher,
                    clock=self.clock,
                    handlers=self._specs,
                    reports=self.reports,
                )
                dispatcher.engine = timers.engine = engine
                self._engines.append(engine)
        return self._engines

    @property
    def engine(self) -> Engine:
        return self.engines[0]

    def start(self, path: str, input: Any = None, *, process: int = 0, **options: Any) -> asyncio.Task[Answer]:
        """Call ``Service/handler`` or ``Service/key/handler`` beside what goes on."""
        request = Request(target(path), pack(input), **options)
        return asyncio.create_task(self.engines[process].call(request, until=self.clock.now() + 600_000))

    async def call(self, path: str, input: Any = None, **options: Any) -> Any:
        """Call and give the output; fails where the handler does."""
        task = self.start(path, input, **options)
        for _ in range(200):
            await settle()
            if task.done():
                break
            await self.clock.advance(0.1)
        return value((await task).outcome)

    async def send(self, path: str, input: Any = None, *, process: int = 0, **options: Any) -> str:
        return (await self.engines[process].send(Request(target(path), pack(input), **options))).id

    async def outlive(self, seconds: float = 60 * 24 * 3600) -> None:
        """Let time pass in which records expire and times to live end, and have DynamoDB and the sweeper act on it."""
        await self.clock.advance(seconds)
        for _ in range(2):
            await self.engines[-1].sweeper.sweep()
            await settle()
        self.store.expire(self.clock.now())

    async def meta(self, id: str) -> Meta:
        found = await self.store.peek(id)
        assert found is not None
        return found


def target(path: str) -> Target:
    service, *key, handler = path.split("/")
    return Target(service, handler, key[0] if key else None)


def pack(value: Any) -> bytes:
    return json.dumps(value).encode()


def unpack(value: bytes | None) -> Any:
    return json.loads(value) if value else None


def value(outcome: Outcome | None) -> Any:
    """The output, or the failure as ``(code, message)``."""
    assert outcome is not None
    return (outcome.failure.code, outcome.failure.message) if outcome.failure else unpack(outcome.value)


def closure(result: Any) -> Callable[[], Awaitable[bytes]]:
    """A step that returns this."""

    async def step() -> bytes:
        return pack(result() if callable(result) else result)

    return step


@contextmanager
def dispatches_lost(world: World) -> Iterator[None]:
    """Lose all dispatches."""

    async def lose(*_: object) -> None:
        pass

    with pytest.MonkeyPatch.context() as patched:
        for dispatcher in world.dispatchers:
            patched.setattr(dispatcher, "dispatch", lose)
        yield


async def never() -> bytes:
    """A step that does not end."""
    end: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    return await end
