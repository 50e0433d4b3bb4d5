"""What a unit of work knows of each invocation in it, and what it did since the last commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapter.engine.attempt import Attempt
from adapter.engine.journal import Entry
from adapter.engine.keys import KeyState
from adapter.engine.records import Awaits, Meta, Ref
from adapter.engine.types import HandlerSpec, ObjectKey, Outcome


@dataclass(slots=True, eq=False)
class Execution:
    """An invocation in a unit of work: one that runs in it, or one that it makes for another process."""

    meta: Meta
    """As it is stored, or, before it is, as it is to be created."""
    input: bytes
    spec: HandlerSpec | None
    """``None`` where it runs elsewhere."""
    stored: bool = False
    journal: list[Entry] = field(default_factory=list[Entry])
    """What is committed of it."""
    segments: int = 0
    """In how many pieces."""
    input_marker: Ref | None = None
    """The note of the parts of its input, where those were put ahead of the commit that makes it."""
    has_out_of_line: bool = False
    """Whether parts of its input or of a result were put ahead of a commit that may not have come."""
    notifications: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """The notifications that it has seen."""
    counted: int = 0
    """How many the record counted when they were read: all of those are among them."""
    step_results: dict[int, Outcome | BaseException] = field(default_factory=dict[int, Outcome | BaseException])
    """What its steps gave or raised in this process. A replay takes it from here rather than run them again."""
    caller: Execution | None = None
    """Who waits for it in this same unit, if anybody."""
    attempt: Attempt | None = None
    progress: bool = False
    """Whether this attempt committed a piece of the journal."""
    without_key: bool = False
    """Whether it ends without its key, as it never had it."""
    cancelled: bool = False
    """Whether its caller in this unit was cancelled before it was stored: where it runs elsewhere, it is told then."""
    required_requests: int = 0
    """What it asked of others and did not wait for, but that has to be done before it ends."""
    moment: int = 0
    """When it last had another invocation come to a key, in microseconds; the next one comes later."""
    requested_keys: frozenset[str] = frozenset()
    """The keys to which earlier attempts had others come: one may wait there still, and later ones come after it."""
    version: int = 0
    """Of a shared handler: the latest version of its key that it has read of; it is shown no earlier one."""
    snapshot: KeyState | None = None
    """Of a shared handler that reads its key's state at once: what it read."""
    dropped: bool = False
    """Whether it turned out to be there already, so that it is not to be created."""

    @property
    def ref(self) -> Ref:
        return self.meta.ref

    @property
    def exclusive(self) -> bool:
        """Whether it owns its key while it runs."""
        return self.meta.kind.exclusive and not self.without_key

    @property
    def key(self) -> ObjectKey:
        return self.meta.target.object

    def stop(self) -> None:
        """Have its code stand where it is: it ended, or is to be replayed."""
        self.snapshot = None
        if self.attempt is not None:
            self.attempt.abandon()
            self.attempt = None


# --- effects: what happened, in the order in which it did ---


@dataclass(frozen=True, slots=True)
class Created:
    """An invocation was made."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class JournalAppended:
    """An entry of an invocation's journal."""

    execution: Execution
    entry: Entry


@dataclass(frozen=True, slots=True)
class Completed:
    """An invocation completed; who waits in another process is notified."""

    execution: Execution
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt failed, the last of so many; the next one is due at a time, or an operator's (``None``)."""

    execution: Execution
    error: str
    failures: int
    due: int | None
    cancelled: bool = False
    """Whether its cancellation had come in by then: otherwise that makes it go on at once."""


@dataclass(frozen=True, slots=True)
class KeyRequested:
    """An exclusive invocation came to its key: it becomes the owner, or waits.

    Attributes:
        moment: When it came, in microseconds: the order of the inbox.
        direct: Whether it may become the owner at once if nothing waits.
    """

    execution: Execution
    moment: int
    direct: bool = True

    def apply(self, state: KeyState, contended: bool) -> None:
        """Have it come to what is known of the key."""
        state.arrive(self.execution.ref, self.moment, direct=self.direct and not contended)


@dataclass(frozen=True, slots=True)
class KeyGranted:
    """An invocation that waited in its key's inbox became the owner, and runs here."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class KeyReleased:
    """An exclusive invocation is done with its key."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class StateWritten:
    """A state entry was written (``None``: removed; no name: all of them were)."""

    execution: Execution
    name: str | None
    value: bytes | None
    blob: Ref | None = None
    """The record under which a large value's parts lie."""

    def apply(self, state: KeyState) -> None:
        """Write it to what is known of the key."""
        if self.name is None:
            state.clear_all()
        elif self.value is None:
            state.clear(self.name)
        else:
            state.set(self.name, self.value, self.blob)


@dataclass(frozen=True, slots=True)
class Suspended:
    """An attempt ended, for all that its code waits for is still to come."""

    execution: Execution
    wake_count: int
    """How many further notifications wake it."""
    timer: int | None
    """When its timer wakes it."""
    awaits: Awaits | None
    check_at: int | None
    """When the sweeper looks whether a notification came in of which it was not told, or it is part of a deadlock."""


Effect = (
    Created
    | JournalAppended
    | Completed
    | AttemptFailed
    | KeyRequested
    | KeyGranted
    | KeyReleased
    | StateWritten
    | Suspended
)
