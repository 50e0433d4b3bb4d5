"""The command line: ``adapter``, or ``python -m adapter``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

NEEDED: Final = ("httpx", "rich", "typer")
"""What the extra ``cli`` brings, and every command needs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from adapter.cli.app import run

        code = run(given)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        print(f"adapter: {error.name} is not installed: pip install 'serverless-adapter[cli]'", file=sys.stderr)
        sys.exit(1)
    sys.exit(code)
