"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLD: Final = 5_000
"""How many new objects there are before the collector looks at them. Python's own number is 700, or 2,000."""


def settle() -> None:
    """Set up the collector of a process that has imported what it serves with.

    What is there by now stays for as long as the process, so the collector never looks at it again. New objects are
    looked at less often. A collector that is switched off stays so, and a higher threshold stays as it is.
    """
    gc.freeze()
    threshold, *further = gc.get_threshold()
    if 0 < threshold < THRESHOLD:  # 0 switches it off
        gc.set_threshold(THRESHOLD, *further)
