"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLD: Final = 5_000
"""The number of new objects that starts a collection. Python's own number is 700, or 2,000."""


def settle() -> None:
    """Set up the collector of a process after its imports.

    The existing objects live as long as the process, so they are excluded from collections. New objects are collected
    less often. A collector that is switched off stays switched off, and a higher threshold is not changed.
    """
    gc.freeze()
    threshold, *further = gc.get_threshold()
    if 0 < threshold < THRESHOLD:  # 0 switches it off
        gc.set_threshold(THRESHOLD, *further)
