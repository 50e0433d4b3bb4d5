"""What a replay does differently although it issues the same commands.

The journal holds a command's kind and its name, which every replay compares. In replay mode, which tests use, inputs,
values, headers and the arguments of steps are compared as well. The process keeps them: no journal has them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol, cast

from adapter.engine import commands as c
from adapter.engine.records import Ref
from adapter.engine.types import ENCODED, TRACE_HEADERS, Outcome

_PARTS: Final[dict[type, tuple[str, ...]]] = {
    c.Call: ("input", "headers"),
    c.Send: ("input", "delay", "headers"),
    c.Run: ("arguments",),
    c.Sleep: ("milliseconds",),
    c.SetState: ("value",),
    c.Complete: ("outcome",),
    c.CompletePromise: ("outcome",),
    c.SendSignal: ("outcome",),
}
"""The fields that are compared."""

_SAME: Final[Any] = object.__eq__
"""Compares by identity."""

_DEEPEST: Final = 20
"""How many levels of an argument are compared."""


class Journaled(Protocol):
    """What is asked of an execution."""

    @property
    def ref(self) -> Ref:
        """The invocation."""
        ...

    @property
    def committed(self) -> int:
        """The number of commands that its committed journal holds."""
        ...


class Contents:
    """The contents of the commands that invocations issued last."""

    def __init__(self) -> None:
        self._issued = defaultdict[Ref, dict[int, tuple[Journaled, type[c.Command], dict[str, object]]]](dict)

    def note(self, execution: Journaled, n: int, command: c.Command) -> None:
        """Keep the contents of a command that was not issued before, or whose earlier effects were undone."""
        self._issued[execution.ref][n] = execution, type(command), _contents(command)

    def difference(self, ref: Ref, n: int, command: c.Command) -> str | None:
        """Return the name of a field that differs from the command that the journal holds; ``None`` if none does."""
        execution, kind, earlier = self._issued[ref].get(n) or (None, None, dict[str, object]())
        if execution is None or execution.committed <= n or kind is not type(command):
            return None  # another process issued the one in the journal
        now = _contents(command)
        return next((part for part in earlier if _differ(earlier[part], now[part])), None)


def _contents(command: c.Command) -> dict[str, object]:
    """Return what is compared of a command, by field."""
    contents = {part: getattr(command, part) for part in _PARTS.get(type(command), ())}
    if isinstance(command, c.Run):
        contents["arguments"] = [_Argument(value) for value in command.arguments]
    if isinstance(command, c.Call | c.Send):  # the headers of a trace differ in each attempt
        contents["headers"] = {name: value for name, value in command.headers.items() if name not in TRACE_HEADERS}
    return contents


def _differ(a: Any, b: Any) -> bool:
    """Return True if two values differ, as far as can be told of values that a codec has encoded."""
    if isinstance(a, Outcome) and isinstance(b, Outcome):
        a, b = a.value or a.failure, b.value or b.failure
    encoded = isinstance(a, bytes) and isinstance(b, bytes) and a.startswith(ENCODED) and b.startswith(ENCODED)
    return bool(a != b) and not encoded


class _Argument:
    """An argument of a step as it was when the step was issued.

    It equals the same object whatever became of that: a handler may pass steps what they change, such as a cache.
    """

    def __init__(self, value: object) -> None:
        self._value = value
        self._plain = _plain(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Argument) and (self._value is other._value or self._plain == other._plain)

    __hash__ = None  # type: ignore[assignment]


def _plain(value: object, depth: int = 0) -> object:
    """Return what of a value can be compared later, when its mutable parts may have changed.

    Of an object whose class does not say when two are equal, that is its class.
    """
    kind = cast("type[Any]", type(value))
    inner = partial(_plain, depth=depth + 1)
    if depth == _DEEPEST or callable(value):
        return kind
    match value:
        case Enum():
            return value
        case float():
            return repr(value)  # nan is equal to itself
        case list() | tuple():
            return [inner(each) for each in cast("Sequence[object]", value)]
        case dict():
            return {name: inner(each) for name, each in cast("dict[object, object]", value).items()}
        case set():
            return frozenset(cast("set[object]", value))
        case _ if is_dataclass(value):
            return kind, [inner(getattr(value, each.name)) for each in fields(value)]
        case _ if hasattr(kind, "__pydantic_fields__"):
            return kind, inner(vars(value))
        case _:
            tells = kind.__hash__ is not None and kind.__eq__ is not _SAME
            return value if tells else kind
