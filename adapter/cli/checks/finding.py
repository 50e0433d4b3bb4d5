"""A finding of `adapter doctor`: what was checked, how it is, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How a finding weighs."""

    OK = "ok"
    NOTE = "note"
    """Works, but something should be done."""
    WRONG = "wrong"
    """Does not work, or will not."""
    UNKNOWN = "unknown"
    """Could not be checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        check: What was checked.
        level: How it weighs.
        says: How it is.
        advice: What to do; empty where nothing is to be done.
    """

    check: str
    level: Level
    says: str
    advice: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: value for name, value in asdict(self).items() if value != ""}


def ok(check: str, says: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Level.OK, says)


def note(check: str, says: str, advice: str) -> Finding:
    """Return a finding that something should be done."""
    return Finding(check, Level.NOTE, says, advice)


def wrong(check: str, says: str, advice: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(check, Level.WRONG, says, advice)


def unknown(check: str, says: str, advice: str) -> Finding:
    """Return a finding that something could not be checked."""
    return Finding(check, Level.UNKNOWN, says, advice)
