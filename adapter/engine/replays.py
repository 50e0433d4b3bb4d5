"""What a replay does differently although it issues the same commands.

The journal holds a command's kind and its name, which every replay compares. In replay mode, which tests use, the
inputs and the values are compared as well.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, Protocol

from adapter.engine import commands as c
from adapter.engine.records import Ref
from adapter.engine.types import ENCODED, Outcome

_PARTS: Final[dict[type, tuple[str, ...]]] = {
    c.Call: ("input",),
    c.Send: ("input", "delay"),
    c.Sleep: ("milliseconds",),
    c.SetState: ("value",),
    c.Complete: ("outcome",),
    c.CompletePromise: ("outcome",),
    c.SendSignal: ("outcome",),
}
"""The fields that are compared. Headers are not, because those of a trace differ in each attempt."""


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
        self._issued = defaultdict[Ref, dict[int, tuple[Journaled, c.Command]]](dict)

    def note(self, execution: Journaled, n: int, command: c.Command) -> None:
        """Keep the contents of a command that was not issued before, or whose earlier effects were undone."""
        self._issued[execution.ref][n] = execution, command

    def difference(self, ref: Ref, n: int, command: c.Command) -> str | None:
        """Return the name of a field that differs from the command that the journal holds; ``None`` if none does."""
        execution, earlier = self._issued[ref].get(n, (None, None))
        parts = _PARTS.get(type(command), ())
        if execution is None or execution.committed <= n or type(earlier) is not type(command):
            return None  # another process issued the one in the journal
        return next((part for part in parts if _differ(getattr(earlier, part), getattr(command, part))), None)


def _differ(a: Any, b: Any) -> bool:
    """Return True if two values differ, as far as can be told of values that a codec has encoded."""
    if isinstance(a, Outcome) and isinstance(b, Outcome):
        a, b = a.value or a.failure, b.value or b.failure
    encoded = isinstance(a, bytes) and isinstance(b, bytes) and a.startswith(ENCODED) and b.startswith(ENCODED)
    return bool(a != b) and not encoded
