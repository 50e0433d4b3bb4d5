"""Invocations that are collected to be dispatched together."""

from __future__ import annotations

import asyncio

from adapter.engine.piles import Piles


async def test_what_is_added_in_one_turn_is_sent_by_the_first_caller() -> None:
    piles = Piles[str]()
    sent = await asyncio.gather(*(piles.add("S", id, 2) for id in ("a", "b", "c")))
    assert sent == [[["a", "b"], ["c"]], [], []]


async def test_a_caller_that_is_cancelled_keeps_no_later_one_from_being_sent() -> None:
    piles = Piles[str]()
    first = asyncio.create_task(piles.add("S", "a", 2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert await piles.add("S", "b", 2) == [["b"]]
