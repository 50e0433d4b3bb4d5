"""The commands that the console shows are commands."""

from __future__ import annotations

import shlex
from typing import Any

from typer.main import get_command

from adapter.cli.app import app


def parse(line: str) -> None:
    """Parse a command line, and run nothing.

    Raises:
        typer.TyperException: If there is no such command, or it does not take these words.
    """
    name, *words = shlex.split(line)
    command: Any = get_command(app)
    context = command.make_context(name, words)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)
