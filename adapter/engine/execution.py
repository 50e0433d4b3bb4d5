"""The executions of a session, and the effects that their handlers have had since the last commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, get_args

from adapter.engine.attempt import Attempt
from adapter.engine.awaiting import Awaiting
from adapter.engine.deployment import HandlerSpec
from adapter.engine.journal import CommandIssued, Entry
from adapter.engine.keys import KeyState
from adapter.engine.records import Calling, Meta, Ref
from adapter.engine.types import ObjectKey, Outcome
from adapter.frozen import frozen, replace


@dataclass(slots=True, eq=False)
class Execution:
    """An invocation of a session: it runs in this process, or the session creates it for another process."""

    meta: Meta
    """The stored record. Before the first commit: the record that is to be created."""
    input: bytes
    spec: HandlerSpec | None
    """The handler. ``None`` if the invocation runs in another process."""
    stored: bool = False
    journal: list[Entry] = field(default_factory=list[Entry])
    """The committed entries of the journal. Before the first commit: the entries to begin with."""
    segments: int = 0
    """The number of stored segments of the journal."""
    inline: str | None = None
    """The last segment of the journal, if the record holds it. The next one repeats it."""
    input_is_put: bool = False
    """True if the input's parts were put ahead of the commit that creates the invocation."""
    notifications: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """The notifications that this execution has read, by their ids."""
    counted: int = 0
    """The record's count of notifications when they were read. At least so many are in `notifications`."""
    step_results: dict[int, Outcome | BaseException] = field(default_factory=dict[int, Outcome | BaseException])
    """The results of steps that ran in this process, or what they raised. A replay takes them instead of running the
    steps again."""
    issued_here: set[int] = field(default_factory=set[int])
    """The steps that were issued or begun in this process. Others that have no result may have run elsewhere."""
    _counted_commands: tuple[int, int] = (0, 0)
    deferred: set[int] = field(default_factory=set[int])
    """The steps that began here before their command was committed."""
    caller: Execution | None = None
    """The execution in the same session that called this one and waits for it."""
    attempt: Attempt | None = None
    progress: bool = False
    """True if this attempt has committed entries of the journal."""
    unclaimed: Meta | None = None
    """The stored record, while the store does not know that this attempt has begun. Then the first commit ends the
    attempt, or the attempt is claimed before it."""
    without_key: bool = False
    """True if the invocation ends without owning its key, because it never owned it."""
    cancelled: bool = False
    """True if its caller in this session was cancelled before this invocation was stored. If it runs in another
    process, the commit that creates it stores the cancellation as well."""
    calling: Calling | None = None
    """The call that its last commit has issued, if that was put after it, and has no result or due time yet that is
    known here."""
    required_requests: int = 0
    """The number of outbound requests that have to complete before the invocation does, although the code need not
    await them."""
    moment: int = 0
    """The time of its last request for a key on behalf of another invocation, in microseconds. The next request gets a
    later time."""
    requested_keys: frozenset[str] = frozenset()
    """The keys that earlier attempts requested for other invocations. One of those may still wait there, so a later
    request for the same key goes to the inbox."""
    version: int = 0
    """For a shared handler: the latest version of its key that it has read. It is never shown an earlier one."""
    snapshot: KeyState | None = None
    """For a shared handler that reads all of its key's state at once: that state."""
    dropped: bool = False
    """True if the store already holds an invocation under this id, so that this one is not created."""
    _key: ObjectKey | None = None

    @property
    def ref(self) -> Ref:
        return self.meta.ref

    @property
    def exclusive(self) -> bool:
        """True if the invocation owns its key while it runs."""
        return self.meta.kind.exclusive and not self.without_key

    @property
    def record(self) -> Meta:
        """The record as it is stored, if it is."""
        return self.unclaimed or self.meta

    def on_unclaimed_changed(self, found: Meta) -> None:
        """Take note of the record, which has changed before the store knows of this attempt.

        If an operator has moved the invocation, this attempt goes on, and its commits leave it moved.
        """
        assert self.unclaimed is not None
        self.unclaimed = replace(found, deployment=self.unclaimed.deployment)

    @property
    def key(self) -> ObjectKey:
        if self._key is None:  # asked for with each effect of the log
            self._key = self.meta.target.object
        return self._key

    @property
    def committed(self) -> int:
        """The number of commands that the committed journal holds."""
        entries, commands = self._counted_commands
        commands += sum(isinstance(entry, CommandIssued) for entry in self.journal[entries:])
        self._counted_commands = len(self.journal), commands
        return commands

    def forget_deferred(self) -> list[int]:
        """Forget the deferred steps whose command is not committed, and return their numbers.

        The code may go another way when it is replayed, so the numbers may then stand for other commands.
        """
        forgotten = [n for n in self.deferred if n >= self.committed]
        self.deferred.difference_update(forgotten)
        self.issued_here.difference_update(forgotten)
        for n in forgotten:
            self.step_results.pop(n, None)
        return forgotten

    def stop(self) -> None:
        """Stop the handler code. The attempt has ended, or the code is to be replayed."""
        self.snapshot = None
        if self.attempt is not None:
            self.attempt.abandon()
            self.attempt = None


# --- effects: what happened in a session, in order ---


@frozen
class Created:
    """An invocation was created."""

    execution: Execution


@frozen
class JournalAppended:
    """An entry was appended to an invocation's journal."""

    execution: Execution
    entry: Entry
    at: int | None = None
    """When, in milliseconds. The commit log fills it in."""


@frozen
class Completed:
    """An invocation completed. If its caller runs in another process, the commit notifies it."""

    execution: Execution
    outcome: Outcome


@frozen
class AttemptFailed:
    """An attempt failed, and it was the last of so many. The next attempt is due at a time; ``None``: when an operator
    resumes it."""

    execution: Execution
    error: str
    failures: int
    due: int | None
    cancellations: int = 0
    """The number of cancellations that the attempt knew of. A further one makes the next attempt due at once."""


@frozen
class KeyRequested:
    """An exclusive invocation requested its key. It becomes the owner, or waits in the inbox.

    Attributes:
        moment: The time of the request, in microseconds. It orders the inbox.
        direct: True if the invocation may become the owner at once when nothing waits.
    """

    execution: Execution
    moment: int
    direct: bool = True

    def apply(self, state: KeyState, contended: bool) -> None:
        """Apply the request to the known state of the key."""
        state.request(self.execution.ref, self.moment, direct=self.direct and not contended)


@frozen
class KeyGranted:
    """An invocation from its key's inbox became the owner, and runs in this session."""

    execution: Execution


@frozen
class KeyReleased:
    """An exclusive invocation released its key."""

    execution: Execution


@frozen
class StateWritten:
    """A state entry was written. A value of ``None`` removes it; a name of ``None`` removes all entries."""

    execution: Execution
    name: str | None
    value: bytes | None
    blob: Ref | None = None
    """The record under which the parts of a large value lie."""

    def apply(self, state: KeyState) -> None:
        """Apply the write to the known state of the key."""
        if self.name is None:
            state.clear_all()
        elif self.value is None:
            state.clear(self.name)
        else:
            state.set(self.name, self.value, self.blob)


@frozen
class Suspended:
    """An attempt ended because everything that its code awaits is still to come."""

    execution: Execution
    awaiting: Awaiting
    check_at: int | None
    """The time at which the sweeper checks whether a notification arrived uncounted, or the invocation is part of a
    deadlock."""


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

KeyEffect = KeyRequested | KeyReleased | StateWritten
"""The effects that change a key's state."""

KEY_EFFECTS: Final[frozenset[Any]] = frozenset(get_args(KeyEffect))
"""Their classes."""

EffectGroup = tuple[Effect, ...]
"""Effects that are committed together or not at all."""
