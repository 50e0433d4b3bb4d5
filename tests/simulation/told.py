"""Whoever is cancelled tells those whom it called: they know it in the end, and in time if nothing goes wrong."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from adapter.engine.ids import child_id
from adapter.engine.journal import CANCEL, AttemptStarted, CommandIssued, NotificationDelivered, ResultDelivered
from adapter.engine.records import Notification, Ref
from tests.simulation.clock import SKEW
from tests.simulation.watch import Ended

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath

SOON = 20_000
"""Milliseconds after which a cancellation has come down to what its receiver called."""


def calls(after: Aftermath) -> None:
    """Who saw that it is cancelled has told its calls when it completes, whatever went wrong."""
    notified = {note.to for note in after.store.records() if isinstance(note, Notification) and note.id == "x"}
    for end in after.ends.values():
        if end.output == "killed" or end.output.startswith("gave up after"):
            continue
        if end.meta.id in after.world.operators.acted.get("purge", ()):
            continue  # part of its journal may be deleted, or put again by a late write
        under_way: set[int] = set()
        for entry in after.store.journal(end.meta.ref):
            if isinstance(entry, CommandIssued) and entry.kind == "call":
                under_way.add(entry.n)
            elif isinstance(entry, ResultDelivered | NotificationDelivered) and entry.n == CANCEL:
                break
            elif isinstance(entry, ResultDelivered | NotificationDelivered):
                under_way.discard(entry.n)
        else:
            continue  # it did not see any
        for n in under_way:
            for call in after.by_id[child_id(end.meta.id, end.meta.generation, n)]:
                later = (call.meta.completed or 0) > (end.meta.completed or 0) + SKEW
                gone = call.output in ("cancelled", "killed") or after.world.forgets(call.meta.id)
                if later and not gone and call.meta.ref not in notified and not after.cancelled(call.meta.ref):
                    after.fail(f"{call.meta.id} was not told that {end.meta.id}, which called it, was cancelled")


def in_time(after: Aftermath) -> None:
    """Where nothing goes wrong, whoever is cancelled tells the calls that it made before in time."""
    calls: dict[Ref, list[Ended]] = defaultdict(list)
    for end in after.ends.values():
        if end.meta.parent is not None:
            calls[end.meta.parent.ref].append(end)
    notes = [note for note in after.store.records() if isinstance(note, Notification) and note.id == "x"]
    passed_on = {note.to for note in notes}
    for note in notes:
        for end in calls[note.to]:
            meta = end.meta
            late = (meta.completed or 0) > note.created + SOON and meta.created < note.created - SKEW
            there = after.store._record(meta.id) is not None  # else the end of its journal may have gone with it
            journal = after.store.journal(meta.ref)
            told = after.cancelled(meta.ref) or end.output in ("cancelled", "killed")
            if journal and isinstance(journal[-1], AttemptStarted):  # its last attempt has waited for nothing
                told = told or meta.ref in passed_on
            if late and there and journal and not told:
                after.fail(f"{meta.id} was not told that {note.to.id}, which called it, was cancelled")
