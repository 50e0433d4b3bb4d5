"""How the simulator breaks engines and stores on purpose: by other texts in the place of some of their source."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from adapter.engine.ports import Change, Put, WriteHead
from adapter.engine.records import InboxEntry, Status
from adapter.engine.transitions import PAUSE


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text in the place of one in a function's source."""

    owner: Any
    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break it."""

    name: str
    invariant: str
    edits: tuple[Edit, ...]
    focus: str = ""
    """What a program has to do much of to meet it soon."""


def mutant(name: str, invariant: str, *edits: Edit, focus: str = "") -> Mutant:
    return Mutant(name, invariant, edits, focus)


def _apart(changes: Sequence[Change]) -> list[list[Change]]:
    heads: list[Change] = [change for change in changes if isinstance(change, WriteHead)]
    rest: list[Change] = [change for change in changes if not isinstance(change, WriteHead)]
    return [part for part in (rest, heads) if part]


def _swapped(entries: Sequence[InboxEntry]) -> list[Put]:
    tickets = [entry.ticket for entry in entries]
    return [Put(replace(entry, ticket=ticket)) for entry, ticket in zip(entries, reversed(tickets), strict=True)]


_NAMES: dict[str, Any] = {"_apart": _apart, "_swapped": _swapped, "PAUSE": PAUSE, "Status": Status}
"""What the texts may name beside what their module has."""


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """Break it, for a while.

    Raises:
        LookupError: If what is to be replaced is not there: the source has changed, and so must the mutant.
    """
    functions: dict[tuple[Any, str], list[Edit]] = {}
    for edit in mutant.edits:
        functions.setdefault((edit.owner, edit.function), []).append(edit)
    with ExitStack() as undo:
        for (owner, function), edits in functions.items():
            undo.callback(_apply(owner, function, edits))
        yield


def _apply(owner: Any, function: str, edits: Sequence[Edit]) -> Callable[[], None]:
    original = getattr(owner, function)
    source = textwrap.dedent(inspect.getsource(original))
    for edit in edits:
        lines = "\n".join(line.strip() for line in edit.old.splitlines())
        place = _find(source, lines)
        if place is None:
            raise LookupError(f"{function} has no {edit.old!r}")
        source = source[: place[0]] + edit.new + source[place[1] :]
    module = sys.modules[original.__module__]
    vars(module).update(_NAMES)
    names: dict[str, Any] = {}
    exec(compile(source, f"<{function} broken>", "exec"), vars(module), names)
    setattr(owner, function, names[function])
    return lambda: setattr(owner, function, original)


def _find(source: str, text: str) -> tuple[int, int] | None:
    """Where a text lies in a source, whatever its lines' indentation."""
    pattern = r"\n\s*".join(re.escape(line) for line in text.split("\n"))
    match = re.search(pattern, source)
    return match.span() if match else None
