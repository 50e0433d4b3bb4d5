"""Every command on a store of 100,000 invocations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from adapter import ObjectContext, VirtualObject, handler
from adapter.cli.api import Api
from adapter.http.admin.listing import MOST_EXAMINED
from adapter.local.memory import MemoryStore
from tests.cli.conftest import Cli
from tests.drills.world import World
from tests.drills.world import world as served
from tests.pace import answers_within_a_second
from tests.unit.test_admin_listing import fill

COMMANDS = [
    "inv list",
    "inv list --limit 1000",
    "inv list --status paused",
    "inv list --outcome failed --service Shop",
    "keys list",
    "keys list --all",
    "keys show Counter busy",
    "inv cancel --all --dry-run",
    "inv resume --status paused --dry-run -o json",
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


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_answers_within_a_second(
    many: World, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_URL", many.url)
    cli = Cli(capsys, monkeypatch)
    answers_within_a_second(lambda: cli.ok(*command.split()))


def test_the_keys_with_a_queue_are_found_in_few_pages(
    many: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand invocations that wait for one key are one line of one page."""
    monkeypatch.setenv("ADAPTER_URL", many.url)
    asked: list[str] = []
    ask = Api.get

    def counted(self: Api, path: str, query: Mapping[str, Any] | None = None) -> Any:
        asked.append(path)
        return ask(self, path, query)

    monkeypatch.setattr(Api, "get", counted)
    listed = Cli(capsys, monkeypatch).ok("keys", "list", "-o", "json").json
    assert [(each["service"], each["key"], each["waiting"]) for each in listed] == [("Counter", "busy", 1000)]
    assert len(asked) <= 1 + 100_001 // MOST_EXAMINED
