"""Tasks of handlers. One that is left before it first runs is closed, and not reported as never awaited."""

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


def test_tasks_of_many_handlers_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def equal(task: object, other: object) -> bool:
        nonlocal compared
        compared += 1
        return task is other

    async def wait(loop: DurableLoop) -> None:
        await loop.create_future()

    loops = [DurableLoop(refuse, refuse) for _ in range(100)]
    first = loops[0].create_task(wait(loops[0]))
    monkeypatch.setattr(type(first), "__eq__", equal)
    tasks = [first, *(loop.create_task(wait(loop)) for loop in loops[1:])]
    assert compared == 0
    assert {hash(task) for task in tasks} == {hash(first)}  # a replay sees sets of them in one order
    for loop in loops:
        loop.abandon()
