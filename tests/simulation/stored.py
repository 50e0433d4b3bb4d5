"""What is stored when all is over: nothing that is held or waits, nothing in clear, nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.engine.journal import CommandIssued, Entry, JournalFormatError, ResultDelivered
from adapter.engine.records import InboxEntry, JournalSegment, Meta, Notification, Part, Record, Ref, StateEntry, Waiter

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath


def leftovers(after: Aftermath) -> None:
    """Nothing is held, nobody waits."""
    for head in after.store.all_heads():
        if head.owner is not None:
            after.fail(f"{head.key} is still held: {head}")
    for record in after.store.records():
        over = isinstance(record, Waiter | InboxEntry) and not _open_promise(after, record)
        if after.world.swept and isinstance(record, Part | JournalSegment | Notification | Meta):
            partition = record.to.id if isinstance(record, Notification) else record.id
            over = partition.startswith("inv_")
        if over:
            after.fail(f"{record} is left over")
    blobs = {meta.ref for meta in after.store.metas() if meta.id.startswith("blb_")}
    entries = [record for record in after.store.records() if isinstance(record, StateEntry)]
    generations = {head.key: head.state_generation for head in after.store.all_heads()}
    for entry in entries:
        if generations.get(entry.key) != entry.generation:
            after.fail(f"{entry.key} {entry.name} of {entry.generation} is left over")
    for blob in blobs - {entry.blob for entry in entries}:
        after.fail(f"{blob} is left over: no state entry points at it")


def _open_promise(after: Aftermath, record: Record) -> bool:
    """Whether somebody waits for a promise that nobody has kept: it is told when that is given up."""
    promise = after.store._record(record.id) if isinstance(record, Waiter) else None
    return promise is not None and promise.id.startswith("prm_") and promise.live


def encoded(after: Aftermath) -> None:
    """No value of a handler is stored as it is."""
    for record in after.store.records():
        if isinstance(record, Notification) and record.outcome is not None:
            after.world.decoded(record.outcome.value or b"")
    for ref in after.ends:
        steps: set[int] = set()
        for entry in _journal(after, ref):
            if isinstance(entry, CommandIssued) and entry.kind in ("run", "call", "awakeable", "signal", "promise"):
                steps.add(entry.n)
            elif isinstance(entry, ResultDelivered) and entry.n in steps:
                after.world.decoded(entry.outcome.value or b"")


def exchanges(after: Aftermath) -> None:
    """The result of a step of the SDK's is recorded once."""
    from tests.simulation import sdk  # which needs Restate's SDK

    for ref in after.ends:
        entries = _journal(after, ref)
        asked = {entry.n for entry in entries if isinstance(entry, CommandIssued) and entry.kind == "exchange"}
        answers = [
            after.world.decoded(entry.outcome.value or b"")
            for entry in entries
            if isinstance(entry, ResultDelivered) and entry.n in asked and entry.outcome.failure is None
        ]
        if twice := sdk.recorded_twice(answers):
            after.fail(f"{ref.id} has recorded the results {twice} of its steps twice")


def _journal(after: Aftermath, ref: Ref) -> list[Entry]:
    """What is left of an invocation's journal. One that has expired may be deleted in part when the simulation ends."""
    try:
        return after.store.journal(ref)
    except JournalFormatError:
        if not after.world.forgets(ref.id):
            raise
        return []
