"""A task that an attempt leaves before it first runs is closed: its coroutine is not reported as never awaited."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from adapter.engine.loop import DurableLoop


def refuse(*_: object) -> float:
    raise AssertionError("no code asks for the time")


@contextmanager
def no_coroutine_is_lost() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def work() -> None:
    raise AssertionError("it never runs")


async def makes_a_task_at_its_end() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        asyncio.get_running_loop().create_task(work())


async def gathers_at_its_end() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.gather(work(), work())


@pytest.mark.parametrize("code", [makes_a_task_at_its_end, gathers_at_its_end])
def test_a_task_that_is_made_while_its_attempt_is_abandoned(code: Callable[[], object]) -> None:
    with no_coroutine_is_lost():
        loop = DurableLoop(refuse, refuse)  # type: ignore[arg-type]
        loop.create_task(code())  # type: ignore[arg-type]
        loop.run_until_blocked()
        loop.abandon()
        del loop


def test_a_task_that_is_abandoned_before_it_begins() -> None:
    with no_coroutine_is_lost():
        loop = DurableLoop(refuse, refuse)  # type: ignore[arg-type]
        loop.create_task(work())
        loop.abandon()
        del loop
