"""The example services in one process, on the store in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapter.engine.engine import Engine, Request
from adapter.engine.types import Target
from adapter.errors import TerminalError
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.registry import Registry
from handlers.checkout.app import Checkout
from handlers.greeter.app import Counter, Greeter, Mailer
from handlers.signup.app import Confirmation, SignUp
from handlers.warehouse.app import Account, Inventory, Payment, Shipping


class FastClock:
    """A clock that runs 100,000 times as fast: a day takes 0.9 seconds."""

    def __init__(self, factor: float = 100_000) -> None:
        self.factor = factor
        self._base = time.time() * 1000
        self._started = time.monotonic()

    def now(self) -> int:
        return round(self._base + (time.monotonic() - self._started) * 1000 * self.factor)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.factor)


class Services:
    """Calls of the example services by path, as over HTTP."""

    def __init__(self) -> None:
        clock, dispatcher = FastClock(), LocalDispatcher()
        self.timers = LocalTimers(clock)
        registry = Registry(
            *(Greeter, Counter, Mailer),
            *(Checkout, Inventory, Payment, Account, Shipping(pace=timedelta(0))),
            *(SignUp, Confirmation),
        )
        self.engine = Engine(
            store=MemoryStore(), timers=self.timers, dispatcher=dispatcher, clock=clock, handlers=registry.specs
        )
        dispatcher.engine = self.timers.engine = self.engine

    async def call(self, path: str, input: object = None, idempotency_key: str | None = None) -> Any:
        """The result of a call."""
        request = self._request(path, input, idempotency_key)
        answer = await self.engine.call(request, until=self.engine.clock.now() + 10**12)
        if not answer.accepted and answer.outcome is None:
            raise TerminalError("it runs already", code=409)
        outcome = answer.outcome
        assert outcome is not None
        if outcome.failure is not None:
            raise TerminalError(outcome.failure.message, code=outcome.failure.code)
        return json.loads(outcome.value) if outcome.value else None

    async def send(self, path: str, input: object = None, delay: timedelta = timedelta(0)) -> None:
        """Leave a message."""
        request = self._request(path, input, None, round(delay.total_seconds() * 1000))
        await self.engine.send(request)

    def _request(self, path: str, input: object, idempotency_key: str | None, delay: int = 0) -> Request:
        service, *key, handler = path.split("/")
        body = b"" if input is None else json.dumps(input).encode()
        return Request(Target(service, handler, key[0] if key else None), body, idempotency_key, delay=delay)


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = Services()
    yield services
    services.timers.close()
    await services.engine.drain()
