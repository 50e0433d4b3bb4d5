"""What the effects of a commit do to one invocation's record."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from adapter.engine import journal
from adapter.engine.awaiting import Leaf, Node
from adapter.engine.execution import AttemptFailed, Completed, Execution, Suspended
from adapter.engine.ids import child_id
from adapter.engine.records import Calling
from adapter.engine.transitions import SOON

MAX_INLINE_JOURNAL = 32 * 1024
"""The longest last segment of a journal that a completed record itself holds."""

MAX_CALLING = 256
"""The most bytes of the input of a call, and of its headers, that its caller's record holds."""

MAX_LIVE_JOURNAL = 512
"""The longest last segment of a journal that the record of a live invocation itself holds. The record is written again,
and a write unit is a kilobyte."""


@dataclass(slots=True)
class RecordDelta:
    """The effects on one invocation's record."""

    execution: Execution
    entries: list[journal.Entry] = field(default_factory=list[journal.Entry])
    times: list[int | None] = field(default_factory=list["int | None"])
    completed: Completed | None = None
    failed: AttemptFailed | None = None
    suspended: Suspended | None = None
    touched: bool = False
    granted_here: bool = False

    @property
    def changes_record(self) -> bool:
        """True if the commit writes the record itself, and not only the journal."""
        return bool(not self.execution.stored or self.touched or self.completed or self.failed or self.suspended)

    @property
    def ran(self) -> bool:
        """True if code of the invocation ran. One that waits for its key may fail without that."""
        return bool(self.entries or (self.completed and self.completed.outcome.failure is None))

    @property
    def to_be_cancelled(self) -> bool:
        """True if the record is created together with a cancellation that its handler has not seen."""
        if not self.execution.cancelled or self.execution.stored or self.completed is not None:
            return False
        return all(
            not isinstance(entry, journal.ResultDelivered) or entry.n != journal.CANCEL for entry in self.entries
        )

    @property
    def journaled(self) -> bool:
        """True if there are entries to write. If the invocation completed, its journal must have a retention."""
        spec = self.execution.spec
        if self.completed is None:
            return bool(self.entries)
        return bool(self.entries or self.execution.inline) and (not spec or bool(spec.options.journal_retention))

    def divide(self) -> tuple[str | None, list[str]]:
        """The segment that the record is to hold, and the segments to put."""
        execution = self.execution
        if not (self.journaled and self.entries):  # an operator may end an invocation whose journal cannot be read
            return execution.inline if self.journaled or self.completed is None else None, []
        texts = journal.encode(self.entries, self.times, after=execution.inline)
        rewritten = self.suspended or not execution.stored
        most = MAX_INLINE_JOURNAL if self.completed else MAX_LIVE_JOURNAL if rewritten else 0
        if len(texts) == 1 and len(texts[0]) <= most:
            return texts[0], []
        if len(texts) > 1 and execution.inline:  # a piece of a cut segment must not repeat it
            return None, [execution.inline, *journal.encode(self.entries, self.times)]
        return None, texts


def called_apart(deltas: Collection[RecordDelta], now: int) -> Execution | None:
    """Return the call whose record a commit of these effects need not put (see `adapter.engine.calls`).

    It is the only call of the one invocation whose effects these are, and that invocation waits for nothing else. If
    the commit suspends it, the sweeper checks it soon. Otherwise its attempt goes on.
    """
    if len(deltas) != 2:
        return None
    call, caller = sorted(deltas, key=lambda delta: delta.execution.spec is not None)
    called, parent = call.execution, call.execution.meta.parent
    if called.stored or called.spec is not None or called.cancelled or parent is None:
        return None
    if parent.ref != caller.execution.ref or not _waits_only_for(caller, called.meta.id, parent.command):
        return None
    suspended = caller.suspended
    if suspended is not None and (suspended.check_at is None or suspended.check_at > now + SOON):
        return None
    size = max(len(called.input), sum(len(name) + len(value) for name, value in called.meta.headers.items()))
    if size > MAX_CALLING:
        return None
    return called if len(caller.divide()[1]) <= int(suspended is None) else None


def _waits_only_for(caller: RecordDelta, id: str, command: int) -> bool:
    """Return True if an invocation that goes on waits for a command's call, whose id derives from it, and for nothing
    else."""
    execution = caller.execution
    if caller.suspended is not None:
        return caller.suspended.awaiting.root == Node(True, (Leaf("call", (command, command)),))
    if caller.completed or caller.failed or execution.attempt is None:
        return False
    derived = id == child_id(*execution.ref, command)
    return derived and [pending.n for pending in execution.attempt.waits()] == [command]


def calling_of(called: Execution) -> Calling:
    """Return a call as the record of its caller has it."""
    meta, parent = called.meta, called.meta.parent
    assert parent is not None, f"{meta.id} was not called"
    return Calling(parent.command, meta.generation, meta.target, meta.kind, meta.created, meta.headers, called.input)
