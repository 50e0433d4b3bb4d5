"""What a command ends with when it does not succeed."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    CONFLICT = 4


class Failure(Exception):
    """Ends the command with one line on standard error, or with a JSON object where JSON is asked for.

    Args:
        message: What went wrong, and what to do.
        code: The exit code.
        details: More for scripts: members of the JSON object.
    """

    def __init__(self, message: str, code: Exit = Exit.FAILED, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = {name: value for name, value in details.items() if value is not None}
