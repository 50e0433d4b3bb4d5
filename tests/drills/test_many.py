"""Every command on a store of 100,000 invocations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from adapter import ObjectContext, VirtualObject, handler
from adapter.local.memory import MemoryStore
from tests.cli.conftest import Cli
from tests.drills.world import World
from tests.drills.world import world as served
from tests.unit.test_admin_listing import fill

LIMIT = 1.0
"""Seconds within which each answers."""

TRIES = 3
"""Of several tries the fastest counts: other processes of the machine may hold one up."""

COMMANDS = [
    "inv list",
    "inv list --limit 1000",
    "inv list --status paused",
    "inv list --outcome failed --service Shop",
    "keys show Counter busy",
    "services list",
    "deployments list",
    "deadlocks",
    "dead-letters list",
]


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext) -> None: ...


class Mailer(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext) -> None: ...


class Shop(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext) -> None: ...


@contextmanager
def crowded() -> Iterator[World]:
    """Serve a store of 100,000 invocations."""
    store = MemoryStore()
    asyncio.run(fill(store))
    with served(definitions=[Counter, Mailer, Shop], store=store) as world:
        yield world


@pytest.fixture(scope="module")
def many() -> Iterator[World]:
    with crowded() as world:
        yield world


def fastest(work: Callable[[], object]) -> float:
    def took() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(took() for _ in range(TRIES))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_answers_within_a_second(
    many: World, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_URL", many.url)
    cli = Cli(capsys, monkeypatch)
    assert fastest(lambda: cli.ok(*command.split())) < LIMIT
