"""What the memory store adds to the contract: its hook, small pages, and a look at everything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from adapter.engine.ports import Conflict, Create, Put, Unavailable
from adapter.engine.records import Meta, Piece, Status
from adapter.engine.types import Kind, Target
from adapter.local.memory import MemoryStore

META = Meta("inv_a", "g", Target("Greeter", "greet"), Kind.SERVICE, Status.READY, 1)


class Faults:
    def __init__(self, fails: str = "") -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails = fails

    async def __call__(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.calls.append((phase, method))
        await asyncio.sleep(0)
        if phase == self.fails:
            raise Unavailable


async def test_the_hook_sees_both_sides_of_a_request() -> None:
    faults = Faults()
    store = MemoryStore(faults)
    await store.commit([Create(META, 0)], "n")
    assert faults.calls == [("before", "commit"), ("after", "commit")]
    assert store.usage.requests == 1


async def test_a_request_that_never_arrives() -> None:
    store = MemoryStore(Faults("before"))
    with pytest.raises(Unavailable):
        await store.commit([Create(META, 0)], "n")
    assert list(store.records()) == []
    assert store.usage.requests == 0


async def test_an_answer_that_is_lost() -> None:
    store = MemoryStore(Faults("after"))
    with pytest.raises(Unavailable):
        await store.commit([Create(META, 0)], "n")
    assert [record.id for record in store.records() if isinstance(record, Meta)] == ["inv_a"]


async def test_a_refusal_that_is_lost() -> None:
    store = MemoryStore()
    await store.commit([Create(META, 0)], "n")
    store.hook = Faults("after")
    with pytest.raises(Unavailable) as raised:
        await store.commit([Create(META, 0)], "m")
    assert isinstance(raised.value.__context__, Conflict)


async def test_the_hook_sees_the_arguments() -> None:
    seen: list[Any] = []

    async def hook(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        seen.append((args, dict(kwargs)))

    store = MemoryStore(hook)
    await store.start("inv_a", set={}, now=3)
    assert seen == [(("inv_a",), {"set": {}, "now": 3})] * 2


def test_without_a_hook_it_never_yields() -> None:
    store = MemoryStore()
    with pytest.raises(StopIteration):
        store.commit([Create(META, 0)], "n").send(None)


async def test_small_pages() -> None:
    store = MemoryStore(page=1)
    for index in range(3):
        await store.commit([Put(Piece("inv_a", "g", index, "[]"))], "n")
    page, indexes = await store.load("inv_a"), list[int]()
    while page.cursor is not None:
        indexes += [piece.index for piece in page.pieces]
        page = await store.load("inv_a", page.cursor)
    assert indexes == [0, 1, 2]
    assert page.pieces == []
