"""Searches for deadlocks that are broken."""

from __future__ import annotations

from adapter.engine import deadlocks, suspensions
from adapter.engine.claims import Claims
from adapter.engine.control import Control
from adapter.engine.deadlocks import Deadlocks
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a deadlock is found although one of its invocations may continue",
        "deadlocks",
        Edit(Deadlocks, "_cycle_through", "if found is None and not node.all:", "if False:"),
        Edit(Deadlocks, "_cycle_through_leaf", "if found is None and not all:", "if False:"),
        focus="rings",
    ),
    mutant(
        "no process looks for deadlocks across processes",
        "deadlocks",
        Edit(Deadlocks, "find", "cycle = await self._cycle(start.id, [], {})", "cycle = None"),
        focus="rings",
    ),
    mutant(
        "a message that is the youngest of a deadlock is not failed by its own function",
        "deadlocks",
        Edit(
            Claims,
            "_load_and_claim",
            "if meta.status is Status.QUEUED:",
            "if meta.status is Status.QUEUED and meta.parent is not None:",
        ),
        focus="rings",
    ),
    mutant(
        "a deadlock behind many calls is not found",
        "deadlocks",
        Edit(deadlocks, "awaited_ids", "for n in part.commands]", "for n in part.ranges[:1]]"),
        focus="rings",
    ),
    mutant(
        "code that awaits one of two operations counts as awaiting both",
        "deadlocks",
        Edit(suspensions, "tree", "return Node(False, ", "return Node(True, "),
        focus="rings",
    ),
    mutant(
        "a deadlock that is to be reported is not",
        "deadlocks",
        Edit(Control, "check_deadlock", "if youngest.error != failure.message:", "if False:"),
        focus="rings+reported",
    ),
    mutant(
        "a deadlock that is to be reported is ended",
        "deadlocks",
        Edit(Control, "check_deadlock", 'spec.options.deadlocks != "report"', "True"),
        focus="rings+reported",
    ),
)
