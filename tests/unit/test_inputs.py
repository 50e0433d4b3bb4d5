"""Parts of an input that were put for an invocation that was never made are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine.records import Meta, Part, Ref, Status, cut
from adapter.engine.types import Kind
from tests.unit.world import World, settle, target, value

INPUT = "x" * 1_500_000


@pytest.mark.parametrize("how", ["sent", "called", "called with a key"])
async def test_parts_of_an_input_go_when_the_process_ends_before_the_record_is_made(how: str) -> None:
    world = World(2)

    @world.handler("S")
    async def work(ctx: Any, input: Any) -> Any:
        return len(input)

    async def end(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("after", "put"):
            world.store.hook = None
            world.engine.process.abort()
            raise asyncio.CancelledError

    world.store.hook = end
    if how == "sent":
        task = asyncio.create_task(world.send("S/work", INPUT))
    else:
        task = world.start("S/work", INPUT, idempotency_key="k" if how == "called with a key" else None)
    await settle()
    assert world.store.hook is None
    task.cancel()
    assert [record for record in world.store.records() if isinstance(record, Part)]
    for _ in range(20):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
    assert not list(world.store.records())


@pytest.mark.parametrize("how", ["sent", "called", "called with a key"])
async def test_an_invocation_with_a_large_input_leaves_no_note(how: str) -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, input: Any) -> Any:
        return len(input)

    if how == "sent":
        id = await world.send("S/work", INPUT)
        await settle()
        assert value((await world.meta(id)).outcome) == len(INPUT)
    else:
        key = "k" if how == "called with a key" else None
        assert await world.call("S/work", INPUT, idempotency_key=key) == len(INPUT)
    await world.clock.advance(1)
    await world.engine.sweeper.sweep()
    assert [record.id for record in world.store.records() if getattr(record, "id", "").startswith("gc_")] == []


async def test_a_sweeper_that_ends_while_it_gives_up_an_input_is_followed_by_another() -> None:
    world = World(2)
    ref = Ref("inv_" + "a" * 32, "b" * 16)
    meta = Meta(*ref, target=target("S/work"), kind=Kind.SERVICE, status=Status.READY, created=0)
    await world.engine.runtime.blobs.put_input(meta, cut(ref, "input", INPUT.encode()))

    async def end(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("after", "commit"):
            world.store.hook = None
            raise asyncio.CancelledError

    await world.clock.advance(120)
    world.store.hook = end
    with pytest.raises(asyncio.CancelledError):
        await world.engine.sweeper.sweep()
    assert [record for record in world.store.records() if isinstance(record, Part)]
    await world.engines[1].sweeper.sweep()
    assert not list(world.store.records())
