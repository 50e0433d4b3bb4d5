"""The type of a step's result, from its function's annotations."""

from __future__ import annotations

import operator
import typing
from functools import partial
from typing import Any

import pytest

from adapter.steps import returned


class Clock:
    def now(self) -> int:
        return 0

    def __call__(self, at: int) -> str:
        return str(at)


async def later() -> list[int]:
    return []


@pytest.mark.parametrize(
    ("fn", "type"),
    [
        (Clock().now, int),
        (Clock(), str),
        (partial(partial(Clock()), 1), str),
        (Clock, Clock),
        (later, list[int]),
        (lambda: 1, Any),
        (len, Any),
        (operator.attrgetter("x"), Any),
    ],
)
def test_the_annotation(fn: Any, type: Any) -> None:
    assert returned(fn) == type
    assert returned(fn) == type


def test_it_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[Any] = []
    evaluate = typing.get_type_hints

    def counted(fn: Any, **options: Any) -> dict[str, Any]:
        evaluated.append(fn)
        return evaluate(fn, **options)

    def step() -> int:
        return 1

    monkeypatch.setattr(typing, "get_type_hints", counted)
    assert [returned(step) for _ in range(3)] == [int] * 3
    assert evaluated == [step]
