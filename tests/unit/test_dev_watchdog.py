"""The development server warns of code that blocks it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial

import httpx

from adapter import Context, Service, handler
from adapter.local import watchdog
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.local.watchdog import Watchdog
from adapter.registry import Registry

WARNED = threading.Event()
"""Set when a warning is written: blocking code here goes on until then."""


BLOCK: list[Callable[[], object]] = []
"""What blocking code does, call by call."""


UNTIL_WARNED = partial(WARNED.wait, 30)
SLEEP = partial(time.sleep, 3 * watchdog.PATIENCE)


class Blocking(Service):
    @handler
    async def wait(self, ctx: Context) -> None:
        BLOCK.pop(0)()

    @handler
    async def wait_in_a_step(self, ctx: Context) -> None:
        await ctx.run("step", self.step)

    async def step(self) -> None:
        BLOCK.pop(0)()

    @handler
    async def wait_in_a_thread(self, ctx: Context) -> None:
        await ctx.run("sleep", SLEEP)


def place(method: Callable[..., object], line: int) -> str:
    return f"{os.path.relpath(__file__)}:{method.__code__.co_firstlineno + line} in {method.__name__}: "


OWN = tuple(f" in {each}: " for each in ("wait", "wait_in_a_step", "wait_in_a_thread", "step"))


class Listener(logging.Handler):
    """Takes the warnings of the handlers' code. Where the processor is busy, any code may seem to block."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if any(each in record.getMessage() for each in OWN):
            self.records.append(record)
            WARNED.set()


async def warnings_of(*calls: str) -> list[logging.LogRecord]:
    listener, log = Listener(), logging.getLogger("adapter")
    log.addHandler(listener)
    try:
        with Watchdog(asyncio.get_running_loop()):
            async with running(Registry(Blocking), MemoryStore()) as app:
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                    for call in calls:
                        WARNED.clear()
                        assert (await http.post(f"/Blocking/{call}")).status_code == 200
    finally:
        log.removeHandler(listener)
    return listener.records


async def test_blocking_code_in_a_handler_is_named_with_its_place() -> None:
    BLOCK[:] = [UNTIL_WARNED]
    (record,) = await warnings_of("wait")
    assert f"the code blocks at {place(Blocking.wait.function, 2)}" in record.getMessage()
    assert "ctx.run(name, function)" in record.getMessage()
    assert (record.levelname, record.target) == ("WARNING", "Blocking/wait")  # type: ignore[attr-defined]
    assert record.invocation_id.startswith("inv_")  # type: ignore[attr-defined]


async def test_blocking_code_in_an_async_step_is_named_with_its_place() -> None:
    BLOCK[:] = [UNTIL_WARNED]
    (record,) = await warnings_of("wait_in_a_step")
    assert f"the code blocks at {place(Blocking.step, 1)}" in record.getMessage()


async def test_a_step_in_a_thread_blocks_nothing() -> None:
    assert await warnings_of("wait_in_a_thread") == []


async def test_a_place_is_told_of_once() -> None:
    BLOCK[:] = [UNTIL_WARNED, SLEEP]
    assert len(await warnings_of("wait", "wait")) == 1
    assert BLOCK == []
