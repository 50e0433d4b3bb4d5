"""Parts of an input that were put for an invocation that was never made have a time to live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine.records import Part
from tests.unit.world import World, settle

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
    await world.outlive()
    assert not list(world.store.records())
