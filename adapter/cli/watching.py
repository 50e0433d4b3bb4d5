"""``--watch``: the same again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from adapter.cli.failures import Exit, Failure
from adapter.cli.options import Here
from adapter.cli.output import Format

INTERVAL: Final = 2.0
"""Seconds between looks."""


def watching(here: Here, look: Callable[[], object], watch: bool) -> None:
    """Look once, or, to watch, until interrupted, or until ``look`` returns True.

    On a terminal each look replaces the one before. With ``-o jsonl`` each one is appended.

    Raises:
        Failure: If what is printed would be no JSON document.
    """
    if not watch:
        look()
        return
    if here.out.format is Format.JSON:
        raise Failure("--watch prints many documents: use it with -o jsonl, or without -o", Exit.USAGE)
    try:
        while True:
            if here.out.is_table and here.out.console.is_terminal:
                here.out.console.clear()
            if look() is True:
                return
            sys.stdout.flush()
            time.sleep(INTERVAL)
    except KeyboardInterrupt:
        return
