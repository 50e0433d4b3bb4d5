"""The effects of a session that are not committed yet, in order, and its keys as these effects leave them.

This is the log alone: `adapter.engine.committer` commits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from adapter.engine import commands as c
from adapter.engine import journal
from adapter.engine.attempt import Attempt
from adapter.engine.execution import (
    AttemptFailed,
    Completed,
    Created,
    Effect,
    EffectGroup,
    Execution,
    JournalAppended,
    KeyEffect,
    KeyGranted,
    KeyReleased,
    KeyRequested,
    StateWritten,
)
from adapter.engine.journal import CANCEL, CommandIssued, ResultDelivered, StateRead
from adapter.engine.keys import KeyState
from adapter.engine.known_key import Key
from adapter.engine.process import Process
from adapter.engine.records import Head, Meta, Ref
from adapter.engine.types import ObjectKey


class CommitLog:
    """The effects of one session that are not committed.

    Args:
        process: The process, for the time.
        running: The executions that run in the session, by their ids.
    """

    def __init__(self, process: Process, running: Mapping[str, Execution]) -> None:
        self.groups: list[EffectGroup] = []
        self.keys: dict[ObjectKey, Key] = {}
        self.existing: dict[str, Meta] = {}
        """The stored records that the session met when it was about to create them."""
        self.created: set[str] = set()
        """The ids of the invocations that code in this session has created, without those that a rewind has undone."""
        self.has_work_for_others = False
        """True if the log holds an effect that another process waits for."""
        self.queued: set[str] = set()
        """The ids of the invocations created here that have to wait for their keys."""
        self.committed: set[str] = set()
        """The ids among `created` that are committed."""
        self.kinds: set[type[Any]] = set()
        """The classes of the effects that were recorded since the log was empty. Most commits have one."""
        self._process = process
        self._running = running

    def record(self, group: EffectGroup) -> None:
        """Append effects that are committed together."""
        if not group:
            return
        now = self._process.now()
        timed: list[Effect] = []
        for effect in group:
            self.kinds.add(effect.__class__)
            match effect:
                case JournalAppended():
                    effect = JournalAppended(effect.execution, effect.entry, now)
                case KeyRequested() | KeyReleased() | StateWritten():
                    key = self.keys.get(effect.execution.key)
                    if key is not None and key.live is not None:
                        _apply(key, key.live, effect)
                case Created(execution):
                    self.created.add(execution.meta.id)
                    self.has_work_for_others = self.has_work_for_others or execution.spec is None
                case Completed(execution) if execution.caller is None and execution.meta.parent is not None:
                    self.has_work_for_others = True
                case _:
                    pass
            timed.append(effect)
        self.groups.append(tuple(timed))

    def grant_here(self, execution: Execution) -> None:
        """Record that an invocation of the inbox runs here, in the group that released the key to it."""
        for place, group in reversed(list(enumerate(self.groups))):
            if any(isinstance(effect, KeyReleased) and effect.execution.key == execution.key for effect in group):
                self.groups[place] = (*group, KeyGranted(execution))
                self.kinds.add(KeyGranted)
                return
        raise AssertionError(f"{execution.meta.id} was not given its key here")

    def has_outcome(self, root: Execution) -> bool:
        """Return True if the log holds a failure, or an outcome that a caller waits for: that of the root or of an
        invocation of an inbox."""
        if self.kinds.isdisjoint((AttemptFailed, Completed)):
            return False
        return any(
            isinstance(effect, AttemptFailed)
            or (
                isinstance(effect, Completed) and (effect.execution is root or effect.execution.meta.ticket is not None)
            )
            for group in self.groups
            for effect in group
        )

    def completed_from_inbox(self) -> int:
        """Return how many invocations of an inbox have completed."""
        if Completed not in self.kinds:
            return 0
        effects = chain.from_iterable(self.groups)
        return sum(isinstance(effect, Completed) and effect.execution.meta.ticket is not None for effect in effects)

    def has_results(self) -> bool:
        """Return True if the log holds the result of a step, which a crash would run again, or the outcome of a stored
        invocation, which others may ask for."""
        for effect in chain.from_iterable(self.groups):
            if isinstance(effect, JournalAppended) and isinstance(effect.entry, CommandIssued):
                continue
            match effect:
                case JournalAppended(Execution(attempt=None), ResultDelivered() | StateRead()):
                    return True
                case Completed(Execution(stored=True)):
                    return True
                case JournalAppended(Execution(attempt=Attempt() as attempt), ResultDelivered(n)) if (
                    n != CANCEL and isinstance(command := attempt.operations[n].command, c.Run) and not command.deferred
                ):
                    return True
                case _:
                    pass
        return False

    def blobs(self) -> dict[Ref, Ref]:
        """Return the invocations that write large state entries, by the records of these entries' values."""
        effects = chain.from_iterable(self.groups)
        written = (each for each in effects if isinstance(each, StateWritten))
        return {each.blob: each.execution.ref for each in written if each.blob is not None}

    def ran_from_inbox(self) -> set[ObjectKey]:
        """Return the keys of which a queued invocation ran here, on an order of entries that is not committed."""
        effects = chain.from_iterable(self.groups)
        return {effect.execution.key for effect in effects if isinstance(effect, KeyGranted)}

    def take_back(self, execution: Execution) -> None:
        """Take back all effects of an invocation of the inbox. It waits as before, and is the key's next owner."""
        steps = (tuple(effect for effect in group if effect.execution is not execution) for group in self.groups)
        self.groups = [group for group in steps if group]
        key = self.keys[execution.key]
        key.next.clear()
        key.live = None
        self.refresh_key(key)

    def rewind(self) -> None:
        """Drop what is not committed."""
        self.groups.clear()
        self.on_empty()
        self.created &= self.committed
        for key in self.keys.values():
            key.ran_uncommitted = False
            key.live = None
            key.next.clear()

    def on_empty(self) -> None:
        """Take note that no effect is left."""
        self.has_work_for_others = False
        self.kinds.clear()

    def executions(self) -> Iterable[Execution]:
        """Return the executions that run, and all that the log names, each once."""
        logged = (effect.execution for group in self.groups for effect in group)
        return dict.fromkeys(chain(self._running.values(), logged))

    def advances(self, execution: Execution) -> bool:
        """Return True if the log appends to an execution's journal."""
        return any(
            isinstance(effect, JournalAppended) and effect.execution is execution
            for group in self.groups
            for effect in group
        )

    def uncommitted(self, id: str) -> Execution | None:
        """Return the invocation with this id if it is created here and not committed."""
        created = (effect.execution for group in self.groups for effect in group if isinstance(effect, Created))
        return next((execution for execution in created if execution.meta.id == id and not execution.dropped), None)

    def key(self, key: ObjectKey) -> Key:
        """Return a key as the session knows it."""
        return self.keys.setdefault(key, Key(key))

    def refresh_key(self, key: Key) -> None:
        """Compute the state of a key after the uncommitted effects."""
        self.refresh_keys((key,))

    def refresh_keys(self, keys: Iterable[Key]) -> None:
        """Compute the states of keys after the uncommitted effects. Keys whose heads are not known stay unknown."""
        stale = {key.key: key for key in keys if key.live is None and key.head is not None}
        if not stale:
            return
        for key in stale.values():
            key.live = key.state(self._process.now())
        for effect in chain.from_iterable(self.groups):
            if isinstance(effect, KeyEffect) and not effect.execution.dropped:
                touched = stale.get(effect.execution.key)
                if touched is not None and touched.live is not None:
                    _apply(touched, touched.live, effect)

    def bring_forward(self, taken: int) -> bool:
        """Record the results of state reads ahead of later writes that would be committed without them.

        If the process crashed between the two commits, the next attempt would read what this one wrote. Return True if
        any result was moved.
        """
        if StateWritten not in self.kinds:
            return False
        first = chain.from_iterable(self.groups[:taken])
        writers = {effect.execution for effect in first if isinstance(effect, StateWritten)}
        if not writers:
            return False
        effects = [(place, effect) for place, group in enumerate(self.groups) for effect in group]
        answers = [
            (effect.execution, effect.entry)
            for place, effect in effects
            if place >= taken and effect.execution in writers
            if isinstance(effect, JournalAppended) and isinstance(effect.entry, ResultDelivered | StateRead)
        ]
        forward = False
        for execution, answer in answers:
            own = [(place, effect) for place, effect in effects if effect.execution is execution]
            logged = [(place, effect.entry) for place, effect in own if isinstance(effect, JournalAppended)]
            issued = next((place for place, entry in logged if _asks(entry, answer.n)), -1)
            if issued < 0 and not any(_asks(entry, answer.n) for entry in execution.journal):
                continue
            writes = any(issued < place < taken for place, effect in own if isinstance(effect, StateWritten))
            recorded = [entry for place, entry in logged if place < taken]
            there = any(isinstance(entry, StateRead) and entry.n == answer.n for entry in recorded)
            if writes and not there:
                place = max(issued, 0)
                read = JournalAppended(execution, StateRead(answer.n, answer.outcome))
                self.groups[place] = (*self.groups[place], read)
                forward = True
        return forward

    def here(self) -> set[Ref]:
        """Return the invocations that run in this session, or have run and not all of that is committed."""
        return {execution.ref for execution in self.executions() if execution.spec is not None}

    def reread(self, key: Key, head: Head | None = None) -> None:
        """Forget what is known of a key, except for its head if that was just read."""
        key.head = head
        key.front = None
        key.next.clear()
        key.live = None
        key.blobs.clear()
        key.overflow = None
        if head is not None:
            self.refresh_key(key)


def _apply(key: Key, state: KeyState, effect: KeyEffect) -> None:
    match effect:
        case KeyRequested():
            effect.apply(state, key.contended)
        case KeyReleased():
            state.release(effect.execution.ref)
        case StateWritten():
            effect.apply(state)


def _asks(entry: journal.Entry, n: int) -> bool:
    """Return True if the entry issues command ``n``, and that is a state read."""
    return isinstance(entry, CommandIssued) and entry.n == n and entry.kind in ("get", "state-keys")


def is_step(group: EffectGroup) -> bool:
    """Return True if the group does nothing but issue a step. That of a step that runs at most once is a record that it
    has begun, which a crash must not lose."""
    effect = group[0]
    if len(group) > 1 or not isinstance(effect, JournalAppended):
        return False
    entry, attempt = effect.entry, effect.execution.attempt
    if not isinstance(entry, CommandIssued) or entry.kind not in ("run", "exchange"):
        return False
    return attempt is None or not attempt.runs_once(entry.n)
