"""What an attempt has to have done before it is stored that it was cancelled."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING

from adapter.engine.ids import child_id
from adapter.engine.journal import CANCEL, CommandIssued, Entry, NotificationDelivered, ResultDelivered
from adapter.engine.records import Notification, Ref

if TYPE_CHECKING:
    from tests.simulation.watch import WatchedStore

DELIVERED = re.compile(rf'\["[nd]",{CANCEL},')
"""How an entry begins that delivers a cancellation."""


def delivered(journal: str) -> bool:
    """Whether part of a journal delivers a cancellation."""
    return DELIVERED.search(journal) is not None


def check(store: WatchedStore, caller: Ref, created: Container[str]) -> None:
    """It is stored that a cancellation was delivered. The calls that it interrupts have been cancelled.

    Args:
        store: Where it is stored.
        caller: The invocation.
        created: The ids of the records that are created along with it. They are told by their own process.
    """
    for n in _interrupted(store.journal(caller)):
        call = store._record(child_id(*caller, n))
        if call is None or not call.live or call.id in created:
            continue
        notes = [note for note in store.items(call.id, Notification) if note.to == call.ref and note.id[0] == "x"]
        told_here = any(isinstance(entry, ResultDelivered) and entry.n == CANCEL for entry in store.journal(call.ref))
        if not notes and not told_here and call.outcome is None:
            store.world.violation(f"{caller.id} has seen a cancellation, and its call {call.id} is not told: {call}")


def _interrupted(journal: list[Entry]) -> list[int]:
    """The calls that were under way when the last cancellation was delivered."""
    calls: set[int] = set()
    found: list[int] = []
    for entry in journal:
        if isinstance(entry, CommandIssued) and entry.kind == "call":
            calls.add(entry.n)
        elif isinstance(entry, ResultDelivered | NotificationDelivered):
            if entry.n == CANCEL:
                found = sorted(calls)
            calls.discard(entry.n)
    return [n for n in found if n in calls]
