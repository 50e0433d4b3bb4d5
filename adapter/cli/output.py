"""What commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from adapter.cli import text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDE: Final = 1000
"""The width of lines that go to a file or another program: nothing is broken there."""

Item = Mapping[str, Any]


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Output:
    """Prints to standard output. Remarks for people go to standard error, and only without JSON."""

    def __init__(self, format: Format = Format.TABLE) -> None:
        self.format = format

    @property
    def is_table(self) -> bool:
        """True if people read it."""
        return self.format is Format.TABLE

    @cached_property
    def console(self) -> Console:
        """The console of standard output."""
        return _console(stderr=False)

    @cached_property
    def errors(self) -> Console:
        """The console of standard error."""
        return _console(stderr=True)

    def item(self, item: Any, render: Callable[[], RenderableType]) -> None:
        """Print one thing."""
        if self.is_table:
            self.console.print(render())
        else:
            self.write(item)

    def items(self, items: Iterable[Item], render: Callable[[Sequence[Item]], RenderableType], none: str) -> None:
        """Print a list.

        Args:
            items: They are printed as they come where each has a line of JSON.
            render: Makes a table of them.
            none: Said to people if the list is empty.
        """
        match self.format:
            case Format.JSONL:
                for item in items:
                    self.write(item)
            case Format.JSON:
                self.write(list(items))
            case Format.TABLE:
                listed = list(items)
                if listed:
                    self.console.print(render(listed))
                else:
                    self.note(none)

    def done(self, text: str, item: Any) -> None:
        """Say what was done."""
        if self.is_table:
            self.console.print(text, markup=False, highlight=False)
        else:
            self.write(item)

    def note(self, text: str) -> None:
        """Tell people something beside the result."""
        if self.is_table:
            self.errors.print(text, markup=False, highlight=False)

    @contextmanager
    def progress(self, what: str, total: int | None) -> Generator[Callable[[int], None]]:
        """Show a progress bar on standard error, if that is a terminal. Yield what advances it."""
        from rich.progress import Progress

        with Progress(console=self.errors, transient=True, disable=not self.errors.is_terminal) as bar:
            task = bar.add_task(what, total=total)
            yield lambda steps: bar.advance(task, steps)

    def write(self, item: Any) -> None:
        """Write JSON: in one line, or, with ``-o json``, in a readable form."""
        indent = 2 if self.format is Format.JSON else None
        sys.stdout.write(json.dumps(item, indent=indent, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, soft_wrap=False)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDE)


def table(
    *columns: str | tuple[str, Mapping[str, Any]], rows: Iterable[Sequence[RenderableType | None]]
) -> RenderableType:
    """Return a table without lines. Keys and errors may contain line breaks, which are escaped in its cells.

    Args:
        columns: Their headings, each perhaps with options of rich's columns.
        rows: The cells of each row.
    """
    from rich.table import Table
    from rich.text import Text

    def one_line(cell: RenderableType | None) -> RenderableType | None:
        if isinstance(cell, str):
            return text.one_line(cell)
        if isinstance(cell, Text):
            cell.plain = text.one_line(cell.plain)
        return cell

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        heading, given = column if isinstance(column, tuple) else (column, dict[str, Any]())
        options: dict[str, Any] = {"overflow": "fold", **given}
        made.add_column(heading, **options)
    for row in rows:
        made.add_row(*map(one_line, row))
    return made
