"""Limits of time that hold on a slow or a busy machine: they are compared with a known piece of work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

UNIT: Final = 0.15
"""Seconds that the known piece of work takes on the machine that the limits are meant for, when it is quiet."""

TRIES: Final = 10
"""The fastest of so many tries counts: other processes may hold one up."""

Clock = Callable[[], float]


def slowness(clock: Clock) -> float:
    """Return how many times longer than there a piece of work takes here and now; at least 1.

    The work is long enough to be interrupted by other processes as often as what is measured.
    """
    document = {str(n): [n, str(n), {"n": n / 7}] for n in range(1000)}
    began = clock()
    for _ in range(100):
        json.loads(json.dumps(document))
    return max(1.0, (clock() - began) / UNIT)


def answers_within_a_second(work: Callable[[], object], clock: Clock = time.process_time) -> None:
    """Do some work until it has taken less than a second, by the pace of this machine.

    Args:
        work: The work.
        clock: Measures it: by default the processor's time that this process takes.

    Raises:
        AssertionError: If none of several tries did.
    """
    took: list[str] = []
    for _ in range(TRIES):
        began = clock()
        work()
        seconds = clock() - began
        if seconds < 1 or seconds < (pace := slowness(clock)):
            return
        took.append(f"{seconds:.2f} s where the machine is {pace:.1f} times slower")
    raise AssertionError(f"none of {TRIES} tries took less than a second: {', '.join(took)}")
