"""A development server that starts on what a former one has left: its timers are armed again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from adapter import Context, Service, handler
from adapter.clock import SystemClock
from adapter.engine.ids import idempotent_id
from adapter.engine.ports import Store
from adapter.engine.records import Status
from adapter.engine.types import Target
from adapter.local.memory import MemoryStore
from adapter.local.server import LocalApp, running
from adapter.registry import Registry

NEVER = 3600.0
"""Seconds between sweeps: no test waits for the second one."""

NAP = timedelta(hours=1)
"""More than a process waits out by itself, and than a test waits."""


class Sleeper(Service):
    @handler
    async def nap(self, ctx: Context) -> str:
        await ctx.sleep(NAP)
        return "slept"

    @handler
    async def wake(self, ctx: Context) -> str:
        return "woken"


@asynccontextmanager
async def server(store: Store) -> AsyncGenerator[tuple[LocalApp, httpx.AsyncClient]]:
    async with running(Registry(Sleeper), store, sweep=NEVER) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            yield app, http


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return a function that lets it be later, for servers that start after that."""
    ahead, now = [0], SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + sum(ahead))
    return lambda time: ahead.append(round(time.total_seconds() * 1000))


async def test_a_handler_that_sleeps_goes_on_when_it_is_due(store: Store, later: Callable[[timedelta], None]) -> None:
    clock, began = SystemClock(), SystemClock().now()
    id = idempotent_id(Target("Sleeper", "nap"), "one")
    async with server(store) as (app, http):
        waiting = asyncio.create_task(http.post("/Sleeper/nap", headers={"idempotency-key": "one"}))
        while await store.peek(id) is None:
            assert not waiting.done(), "the answer came before the invocation was seen in the store"
            await asyncio.sleep(0.01)
        app.stop()
        answer = await waiting
    in_memory = isinstance(store, MemoryStore)
    assert (answer.status_code, answer.headers.get("retry-after")) == ((503, "1") if in_memory else (504, None))
    assert ("is lost" in answer.text) is in_memory
    left = await store.peek(id)
    assert left is not None
    assert left.status is Status.SUSPENDED
    later(NAP - timedelta(seconds=1))
    started = time.monotonic()
    async with server(store) as (_, http):
        answer = await http.get(f"/restate/invocation/{id}/attach")
    assert answer.json() == "slept"
    assert clock.now() - began >= NAP / timedelta(milliseconds=1)
    assert time.monotonic() - started < NEVER / 10  # by its timer, not by the sweep


async def test_a_delayed_message_is_handled_when_it_is_due(store: Store) -> None:
    async with server(store) as (_, http):
        id = (await http.post("/Sleeper/wake/send?delay=3s")).json()["invocationId"]
    async with server(store) as (_, http):
        answer = await http.get(f"/restate/invocation/{id}/attach")
    assert answer.json() == "woken"


async def test_what_became_due_meanwhile_goes_on_at_once(store: Store) -> None:
    async with server(store) as (_, http):
        id = (await http.post("/Sleeper/wake/send?delay=100ms")).json()["invocationId"]
        due = time.monotonic() + 0.1
    await asyncio.sleep(max(0, due - time.monotonic()))
    async with server(store) as (_, http):
        answer = await http.get(f"/restate/invocation/{id}/attach")
    assert answer.json() == "woken"
