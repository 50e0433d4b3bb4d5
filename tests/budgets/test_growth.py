"""What a piece of work costs grows no faster than its size, and a process keeps nothing of what it has done."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from bench.growth import GROWTH, Growth, LongLived


@pytest.mark.parametrize("each", GROWTH, ids=lambda each: each.name)
async def test_requests_grow_no_faster_than_the_work(each: Growth) -> None:
    row = await replace(each, sizes=(10, 50, 250), seen={}).measure()
    assert row["slope of requests"] <= 1.1  # 1 is linear


async def test_a_process_keeps_nothing_of_what_it_has_done() -> None:
    process = LongLived()
    counts: list[int] = []
    for _ in range(6):
        await process.load(5)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert process.served == 180
    assert counts[-1] - counts[2] < 90  # one object for each request would be that
