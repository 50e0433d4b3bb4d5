"""Engines that are broken where `tests.simulation.storms` looks."""

from __future__ import annotations

from adapter.engine import lifecycle
from adapter.engine.claims import Claims
from adapter.engine.control import Control
from adapter.engine.execution import Execution
from adapter.engine.expiry import Expiry
from adapter.engine.storage import Storage
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a late copy of a move undoes a later one",
        "what is moved stays moved",
        Edit(lifecycle, "resumed", 'values | {"due": times.grace if meta.due is None else meta.due + 1}', "values"),
        focus="moves",
    ),
    mutant(
        "an attempt that begins undoes a move",
        "what is moved stays moved",
        Edit(Execution, "on_unclaimed_changed", "replace(found, deployment=self.unclaimed.deployment)", "found"),
        focus="moves",
    ),
    mutant(
        "a workflow that was purged leaves its state to the next run",
        "5",
        Edit(Control, "purge", "if meta.kind is Kind.WORKFLOW:", "if False:"),
        focus="reruns",
    ),
    mutant(
        "a dispatch that comes late begins what has begun",
        "4",
        Edit(Claims, "first", "meta.status is not Status.READY or meta.epoch or not meta.at_rest", "not meta.live"),
        focus="belated",
    ),
    mutant(
        "what a sweeper found overdue is dispatched whatever has become of it",
        "4",
        Edit(lifecycle, "redispatched", "t.REDISPATCH.update(meta, values)", "t.REDISPATCH.unread(meta.ref, values)"),
        focus="stills",
    ),
    mutant(
        "only the first page of notifications is read",
        "no notification lost",
        Edit(Storage, "_notification_items", "while cursor is not None:", "while False:"),
        focus="pages",
    ),
    mutant(
        "a purged record is deleted while requests for it are on their way",
        "1",
        Edit(Expiry, "delete", "if now < stays:", "if False:"),
        focus="tardy+purges",
    ),
)
