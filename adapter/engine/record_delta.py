"""What the effects of a commit do to one invocation's record."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapter.engine import journal
from adapter.engine.execution import AttemptFailed, Completed, Execution, Suspended

MAX_INLINE_JOURNAL = 32 * 1024
"""The longest last segment of a journal that a completed record itself holds."""

MAX_SUSPENDED_JOURNAL = 512
"""The longest last segment of a journal that the record of a suspended invocation itself holds. The record is written
again, and a write unit is a kilobyte."""


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
        most = MAX_INLINE_JOURNAL if self.completed else MAX_SUSPENDED_JOURNAL if self.suspended else 0
        if len(texts) == 1 and len(texts[0]) <= most:
            return texts[0], []
        if len(texts) > 1 and execution.inline:  # a piece of a cut segment must not repeat it
            return None, [execution.inline, *journal.encode(self.entries, self.times)]
        return None, texts
