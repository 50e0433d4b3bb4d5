"""Merge effects into the changes of one commit: one change for each item."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from adapter.engine import blobs, lifecycle, passive
from adapter.engine.execution import (
    AttemptFailed,
    Completed,
    Created,
    Effect,
    EffectGroup,
    Execution,
    JournalAppended,
    KeyGranted,
    KeyReleased,
    KeyRequested,
    StateWritten,
    Suspended,
)
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.known_key import Key
from adapter.engine.lifetimes import KEPT, time_to_live
from adapter.engine.ports import Change, Create, Delete, Put, TakeKey, WriteHead
from adapter.engine.record_delta import RecordDelta, called_apart, calling_of
from adapter.engine.records import (
    INLINE,
    PART,
    Calling,
    Head,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Ref,
    cancellations,
    cut,
)
from adapter.engine.transitions import Times
from adapter.engine.types import CANCELLED, Kind, ObjectKey, Options, Outcome
from adapter.frozen import replace

MAX_ITEMS = 100
"""The most items that one transaction may touch:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

MAX_BYTES = 2_000_000
"""The most bytes of one commit. A transaction takes 4 MB, but that limit counts the encoded request."""

MAX_INLINE_PARTS = 1_000_000
"""The most bytes of out-of-line parts that go into a commit. If there are more, all are put before it."""

LOOKAHEAD = 20
"""How many groups are looked at beyond a full transaction. One of them may make it smaller."""

MAX_NOTIFICATION = 256 * 1024
"""The largest value that a notification itself holds, in bytes."""


class Transaction:
    """A commit in the making.

    Args:
        keys: The session's keys. Every key that the effects touch has its head.
        times: The due times to write.
    """

    def __init__(self, keys: dict[ObjectKey, Key], times: Times) -> None:
        self._keys = keys
        self._times = times
        self.deltas: dict[str, RecordDelta] = {}
        self.states: dict[ObjectKey, KeyState] = {}
        self.metas: dict[str, Meta] = {}
        """The records as they will be, after `changes` was called."""
        self.bytes = 0
        self._items = 0
        self._counts: dict[str | ObjectKey, int] = {}
        self._dirty: set[str | ObjectKey] = set()
        self.segments: dict[str, int] = {}
        """The number of journal segments that the commit puts, by invocation id."""
        self.inlines: dict[str, str | None] = {}
        """The journal segments that records hold after the commit and no stored segment repeats, by invocation id."""
        self.calling: str | None = None
        """The invocation whose record is put after the commit (see `adapter.engine.calls`)."""
        self.described: Calling | None = None
        """That invocation, as its caller's record or journal describes it."""
        self.notifications: list[tuple[Notification, Execution]] = []
        """The notifications to parents in other processes, with the executions that completed."""
        self.granted: list[tuple[ObjectKey, Ref]] = []
        """The keys that the commit gives to an invocation of the stored inbox."""
        self.heads: dict[ObjectKey, Head] = {}
        """The heads as they will be, except for their versions."""
        self._released_by_others = False
        """True if an invocation released a key that it does not own by the order of the effects."""
        self.unsettled: list[ObjectKey] = []
        """The keys whose owners may not know that an invocation waits, and those without an owner."""

    def add(self, group: Iterable[Effect]) -> None:
        """Add one group of effects."""
        for effect in group:
            execution = effect.execution
            if execution.dropped:
                continue
            match effect:
                case JournalAppended():  # first, as it is the commonest
                    entry, delta = effect.entry, self._delta(execution)
                    delta.entries.append(entry)
                    delta.times.append(effect.at)
                    outcome = getattr(entry, "outcome", None) or getattr(entry, "value", None)
                    self.bytes += 40 + (len(outcome.value or b"") if outcome else 0)
                case Created():
                    self._delta(execution)
                    self.bytes += len(execution.input) + 300
                case Completed():
                    self._delta(execution).completed = effect
                    self.bytes += len(effect.outcome.value or b"")
                case AttemptFailed():
                    self._delta(execution).failed = effect
                case Suspended():
                    self._delta(execution).suspended = effect
                case KeyRequested():
                    effect.apply(self._state(execution.key), self._keys[execution.key].contended)
                    self._delta(execution).touched = True
                case KeyGranted():
                    self._delta(execution).touched = self._delta(execution).granted_here = True
                case KeyReleased():
                    state, own = self._state(execution.key), self.deltas.get(execution.meta.id)
                    ran = own is not None and own.ran and state.owner != execution.ref
                    self._released_by_others = not state.release(execution.ref) or ran or self._released_by_others
                    if execution.meta.kind is Kind.WORKFLOW and execution.spec is not None:
                        retention = lifecycle.retention_of(execution.meta, execution.spec.options)
                        state.expires = self._times.now + retention
                case StateWritten(_, _, value, blob):
                    effect.apply(self._state(execution.key))
                    self.bytes += len(value) if value is not None and blob is None else 0

    @property
    def items(self) -> int:
        """The number of items that the commit touches."""
        for place in self._dirty:
            count = self.states[place].items() if isinstance(place, ObjectKey) else _items(self.deltas[place])
            self._items += count - self._counts.get(place, 0)
            self._counts[place] = count
        self._dirty.clear()
        return self._items

    def makes(self, id: str) -> bool:
        """Return True if the commit creates the invocation."""
        delta = self.deltas.get(id)
        return delta is not None and not delta.execution.stored

    def ends(self, execution: Execution) -> bool:
        """Return True if the commit completes or suspends the invocation."""
        delta = self.deltas[execution.meta.id]
        return delta.completed is not None or delta.suspended is not None

    def ran_without_key(self) -> bool:
        """Return True if an invocation ran that does not own its key."""
        if self._released_by_others:
            return True
        if not self.states:
            return False
        waiting = (self.deltas[entry.ref.id] for state in self.states.values() for entry in state.new_entries)
        waiting = (delta for delta in waiting if delta.execution.spec is not None)
        return any(delta.entries or delta.completed or delta.failed or delta.suspended for delta in waiting)

    def changes(
        self, commit_id: str, following: Collection[ObjectKey] = ()
    ) -> tuple[list[Change], list[Part | JournalSegment]]:
        """Return the changes to commit, and the out-of-line parts, which may be put before the commit.

        The parts count only once the commit applies.

        Args:
            commit_id: Tells this commit from others.
            following: The keys that invocations of the next commits request.
        """
        changes: list[Change] = []
        parts: list[Part | JournalSegment] = []
        called = None if self.states else called_apart(self.deltas.values(), self._times.now)
        self.calling = called.meta.id if called is not None else None
        self.described = calling_of(called) if called is not None else None
        tickets = {entry.ref: entry.ticket for state in self.states.values() for entry in state.new_entries}
        self.metas = {
            id: self._meta(delta, tickets.get(delta.execution.ref), commit_id) for id, delta in self.deltas.items()
        }
        for id, delta in self.deltas.items():
            self._write_record(delta, self.metas[id], changes, parts, commit_id)
        for key, state in self.states.items():
            self._write_key(self._keys[key], state, changes, commit_id, key in following)
        return changes, parts

    # --- inside ---

    def _delta(self, execution: Execution) -> RecordDelta:
        id = execution.meta.id
        self._dirty.add(id)
        delta = self.deltas.get(id)
        if delta is None:
            delta = self.deltas[id] = RecordDelta(execution)
        return delta

    def _state(self, key: ObjectKey) -> KeyState:
        self._dirty.add(key)
        state = self.states.get(key)
        if state is None:
            state = self.states[key] = self._keys[key].state(self._times.now)
        return state

    def _meta(self, delta: RecordDelta, ticket: str | None, commit_id: str) -> Meta:
        """Return the record as it will be."""
        execution, now = delta.execution, self._times.now
        meta = execution.meta
        if delta.completed is not None:
            outcome = delta.completed.outcome
            large = outcome.value is not None and len(outcome.value) > INLINE
            options = execution.spec.options if execution.spec else Options()
            return lifecycle.completed(
                meta,
                options,
                now=now,
                outcome=Outcome(None) if large else outcome,
                output_parts=-(-len(outcome.value or b"") // PART) if large else 0,
                output_name=f"output-{commit_id}" if large else "",
                journaled=bool(delta.journaled or execution.segments),
                commit_id=commit_id,
            )
        if delta.failed is not None:
            failed = delta.failed
            return lifecycle.failed(
                meta,
                now,
                due=now if cancellations(execution.notifications) > failed.cancellations else failed.due,
                failures=failed.failures,
                error=failed.error,
                commit_id=commit_id,
            )
        if delta.suspended is not None:
            if self.calling is not None and execution.stored:
                # What acts on the record as it was before would forget the call.
                meta = replace(meta, epoch=execution.record.epoch + 1)
            return lifecycle.suspended(
                meta,
                awaiting=delta.suspended.awaiting,
                seen=len(execution.notifications),
                check_at=delta.suspended.check_at,
                progress=execution.progress or bool(delta.entries),
                commit_id=commit_id,
            )
        if execution.stored and not delta.touched:
            return meta
        if ticket is not None:
            return lifecycle.queued(meta, ticket, now, commit_id)
        if execution.spec is not None:
            return lifecycle.running(meta, self._times, commit_id)
        return lifecycle.dispatched(meta, self._times, commit_id)

    def _write_record(
        self, delta: RecordDelta, meta: Meta, changes: list[Change], parts: list[Part | JournalSegment], commit_id: str
    ) -> None:
        execution = delta.execution
        if meta.id == self.calling:
            self.inlines[meta.id] = None
            self.metas[meta.id] = replace(meta, due=None)
            return
        inline, cuts = delta.divide()
        self.inlines[meta.id] = inline
        if delta.changes_record:
            count = execution.segments + len(cuts) + int(inline is not None and meta.live)
            written: dict[str, Any] = {"segments": count, "inline_journal": inline}
            if self.calling is not None and not cuts:
                written["calling"] = self.described
            if not execution.stored:
                if len(execution.input) > INLINE:
                    out_of_line = cut(meta.ref, "input", execution.input, time_to_live(meta.due or meta.created))
                    parts += out_of_line
                    written |= {"input": None, "input_parts": len(out_of_line)}
                written["notifications"] = int(delta.to_be_cancelled)
            if any(getattr(meta, name) != value for name, value in written.items()):
                meta = self.metas[meta.id] = replace(meta, **written)
            if execution.stored:
                changes.append(lifecycle.committed(execution.record, meta, counted=execution.counted))
            else:
                changes.append(lifecycle.created(meta, self._times.now))
        if delta.to_be_cancelled:
            cancellation = Outcome(failure=CANCELLED)
            changes.append(
                Put(Notification(meta.ref, "x", cancellation, self._times.now, commit_id, ttl=self._times.ttl))
            )
        if cuts:
            self.segments[meta.id] = len(cuts)
            segments = [
                JournalSegment(meta.id, meta.generation, execution.segments + offset, data, commit_id, self._times.ttl)
                for offset, data in enumerate(cuts)
            ]
            parts += segments[:-1]
            changes.append(Put(replace(segments[-1], calling=self.described) if self.calling else segments[-1]))
        if delta.completed is None:
            return
        if meta.output_parts:
            parts += cut(meta.ref, meta.output_name, delta.completed.outcome.value or b"", self._times.ttl)
        parent = meta.parent
        receiver = self.deltas.get(parent.ref.id) if parent is not None else None
        if parent is not None and _notifies(execution) and not (receiver and receiver.completed):
            notification, out_of_line = make_notification(
                parent.ref, f"c{parent.command}", delta.completed.outcome, self._times.now, commit_id
            )
            parts += out_of_line
            changes.append(Put(notification))
            self.notifications.append((replace(notification, outcome=delta.completed.outcome), execution))

    def _write_key(self, key: Key, state: KeyState, changes: list[Change], commit_id: str, more: bool) -> None:
        assert state.owner != UNKNOWN, f"the inbox of {key.key} was not read"
        head, base = state.head(commit_id), state.base
        if more and state.owner is not None:  # tell the owner at once that others will wait
            head = replace(head, queued=True)
        self.heads[key.key] = head
        if base.owner is not None:
            if state.owner != base.owner or state.written:
                # Another process may have put an inbox entry that comes before the next owner known here.
                empty = state.owner != base.owner and not base.queued
                changes.append(WriteHead(head, owner=base.owner, empty=empty))
                if state.owner is None and head.queued:
                    self.unsettled.append(key.key)
            elif state.new_entries:
                self.unsettled.append(key.key)
        elif key.ran_uncommitted:
            changes.append(WriteHead(head, version=base.version))
            if state.owner is None and state.new_entries:
                self.unsettled.append(key.key)
        elif state.owner is not None:
            delta = self.deltas.get(state.owner.id)
            elsewhere = delta is not None and delta.execution.spec is None
            if elsewhere and base.state_generation and base.expires is None:
                changes.append(TakeKey(key.key, state.owner, head.queued, empty=True))
            else:
                changes.append(WriteHead(head, version=base.version))
        elif state.new_entries:
            self.unsettled.append(key.key)
        changes += [Put(entry) for entry in state.new_entries]
        changes += [Delete(entry) for entry in state.taken_entries]
        if state.granted is not None and state.granted == state.owner and state.granted.id not in self.deltas:
            changes.append(lifecycle.granted(state.granted, self._times))
            self.granted.append((key.key, state.granted))
        changes += garbage(state, self._times)
        changes += blobs.changes(state, key.blobs, self._times.now)


def garbage(state: KeyState, times: Times) -> list[Create]:
    """Return the change that marks the overflow entries of an old state generation for deletion, if there are any."""
    if not state.garbage:
        return []
    return [passive.garbage(state.base.key, state.base.state_generation, times)]


def _items(delta: RecordDelta) -> int:
    notified = delta.completed is not None and _notifies(delta.execution)
    segment = delta.journaled and delta.completed is None
    return segment + delta.changes_record + notified + delta.to_be_cancelled


def _notifies(execution: Execution) -> bool:
    return execution.meta.parent is not None and execution.caller is None


def make_notification(
    to: Ref, id: str, outcome: Outcome, now: int, sender: str, *, kept: int = 0
) -> tuple[Notification, list[Part]]:
    """Return a notification, and the parts that hold its value if that is too large for the notification itself.

    ``kept`` is the time until which the receiver's items are kept at least: that of a delayed message is far away.
    """
    ttl = max(time_to_live(now), time_to_live(kept - KEPT))
    if len(outcome.value or b"") <= MAX_NOTIFICATION:
        return Notification(to, id, outcome, now, ttl=ttl), []
    name = f"{id}-{sender}"
    return Notification(to, id, Outcome(), now, parts=name, ttl=ttl), cut(to, name, outcome.value or b"", ttl)


def fits(transaction: Transaction) -> bool:
    """Return True if one request can commit the transaction."""
    return transaction.items <= MAX_ITEMS and transaction.bytes <= MAX_BYTES


def within_reach(groups: Sequence[EffectGroup]) -> Sequence[EffectGroup]:
    """Return the first groups, as many as `plan` looks at: a transaction creates at most `MAX_ITEMS` records."""
    if len(groups) <= MAX_ITEMS:
        return groups
    created = 0
    for place, group in enumerate(groups, 1):
        created += isinstance(group[0], Created)
        if created > MAX_ITEMS:
            return groups[: place + LOOKAHEAD]
    return groups


def plan(keys: dict[ObjectKey, Key], times: Times, groups: Sequence[EffectGroup]) -> tuple[Transaction, int]:
    """Return the longest prefix of the log that one transaction takes, at least one group, and its number of groups.

    A further group may make the transaction smaller: a call that is created and completed touches fewer items than one
    under way. So the search continues for a few groups beyond the limit.
    """
    transaction = Transaction(keys, times)
    if len(groups) <= LOOKAHEAD + 1:  # the search would see all of them
        for group in groups:
            transaction.add(group)
        if fits(transaction) or len(groups) == 1:
            return transaction, len(groups)
        transaction = Transaction(keys, times)
    best = 0
    for place, group in enumerate(groups, 1):
        transaction.add(group)
        if place == 1 or fits(transaction):
            best = place
        if place > best + LOOKAHEAD or transaction.bytes > 2 * MAX_BYTES:
            break
    if best == len(groups):
        return transaction, best
    transaction = Transaction(keys, times)
    for group in groups[:best]:
        transaction.add(group)
    return transaction, best
