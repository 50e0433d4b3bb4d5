"""Confirmation, before something changes that cannot be taken back, or much of it."""

from __future__ import annotations

import sys

from adapter.cli.failures import Exit, Failure
from adapter.cli.options import Here


def is_terminal() -> bool:
    """Return True if a person can be asked."""
    return sys.stdin.isatty()


def confirm(here: Here, what: str, *, yes: bool) -> None:
    """Ask whether to continue.

    Raises:
        Failure: If the answer is no, or if there is no terminal to ask at.
    """
    if yes:
        return
    if not (is_terminal() and here.out.is_table):
        raise Failure(f"{what} only with --yes: there is no terminal to ask at", Exit.USAGE)
    here.out.errors.print(f"{what}. Continue? [y/N] ", end="", markup=False, highlight=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("nothing was changed")
