"""From what happened to what is written: effects merged into one change for each item."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from adapter.engine import blobs, journal
from adapter.engine.ids import garbage_id
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.member import Arrived, Born, Effect, Ended, Entered, Failed, Left, Log, Member, Wait, Wrote
from adapter.engine.ports import Change, Create, Delete, Put, TakeKey, Update, WriteHead
from adapter.engine.records import (
    INLINE,
    PART,
    Head,
    InboxEntry,
    Meta,
    Notification,
    Part,
    Piece,
    Ref,
    StateEntry,
    Status,
    cut,
)
from adapter.engine.types import CANCELLED, Kind, ObjectKey, Options, Outcome, Target

MAX_ITEMS = 100
"""What one transaction may touch:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

MAX_BYTES = 2_000_000
"""What one commit carries at most, well under the 4 MB of a transaction, whose limit counts the encoded request."""

CHECK = 1_000
"""Milliseconds after which the sweeper looks whether a call that waits for a key is part of a deadlock."""

GRACE = 10_000
"""Milliseconds after which the sweeper takes a dispatch for lost."""

MARGIN = 2_000
"""Milliseconds that clocks may differ by."""

OWNER_CHECK = 60_000
"""Milliseconds after which the sweeper looks, at first, whether the key that something else waits for has an owner."""

APART = 1_000_000
"""The most that goes into a commit of the parts of large payloads, in bytes; what is more is put before it."""

NOTE = 256 * 1024
"""The largest value that a notification itself holds, in bytes."""

TAIL = 32 * 1024
"""The longest end of a journal that the completed record itself holds."""

SWEPT = ("failures", "error")
"""What the sweeper writes where it takes an attempt for dead: one that ends after all writes it anew."""

Step = tuple[Effect, ...]
"""Effects that are committed together or not at all."""


@dataclass(slots=True)
class Key:
    """A key as the unit of work knows it: what is stored, and what its uncommitted effects make of that."""

    key: ObjectKey
    head: Head | None = None
    """``None`` until it was read."""
    front: list[InboxEntry] | None = None
    """The stored inbox from its first entry; ``None`` until it was read."""
    more: bool = False
    """Whether the stored inbox may go on behind that."""
    dead: set[str] = field(default_factory=set[str])
    """Tickets of invocations that are no more."""
    next: dict[Ref, Member] = field(default_factory=dict[Ref, Member])
    """The first of the inbox that can run in this session, as they were read."""
    live: KeyState | None = None
    ran: bool = False
    """Whether code ran on a grant that is not committed, so that another's write invalidates it."""
    lost: int = 0
    """How often in a row another process took or wrote the key first."""
    contended: bool = False
    """Whether invocations come to the key by its inbox, as other processes use it."""
    blobs: dict[str, Ref | None] = field(default_factory=dict[str, Ref | None])
    """Where stored entries lie that are to be replaced and may be large."""
    beside: Mapping[str, StateEntry] | None = None
    """The state entries beside the head, with their values, where they were read."""

    def state(self, now: int) -> KeyState:
        """The key as it is stored, to take up effects."""
        assert self.head is not None, f"the head of {self.key} was not read"
        more = self.head.queued if self.front is None else self.more
        return KeyState(self.head, now, self.front or (), more, self.dead, self.beside)


@dataclass(frozen=True, slots=True)
class Times:
    """When the draft is made, and the due times that follow from it."""

    now: int
    lease: int
    grace: int


@dataclass(slots=True)
class _Sheet:
    """What happened to one invocation."""

    member: Member
    entries: list[journal.Entry] = field(default_factory=list[journal.Entry])
    ended: Ended | None = None
    failed: Failed | None = None
    wait: Wait | None = None
    touched: bool = False
    entered: bool = False

    @property
    def untold(self) -> bool:
        """Whether it is to be stored with a cancellation that its handler was not told of."""
        if not self.member.cancelled or self.member.stored or self.ended is not None:
            return False
        return all(not isinstance(entry, journal.Done) or entry.n != journal.CANCEL for entry in self.entries)

    @property
    def journaled(self) -> bool:
        """Whether there is something to write to the journal: of one that has ended, only if its journal is kept."""
        spec = self.member.spec
        return bool(self.entries) and (self.ended is None or not spec or bool(spec.options.journal_retention))


class Draft:
    """A commit in the making.

    Args:
        keys: The unit's keys; every one that the steps touch has its head.
        times: The due times to write.
    """

    def __init__(self, keys: dict[ObjectKey, Key], times: Times) -> None:
        self._keys = keys
        self._times = times
        self.sheets: dict[str, _Sheet] = {}
        self.states: dict[ObjectKey, KeyState] = {}
        self.metas: dict[str, Meta] = {}
        """The records as they will be, once `changes` was asked."""
        self.items = 0
        """How many items the commit touches."""
        self.bytes = 0
        self._counts: dict[str | ObjectKey, int] = {}
        self._dirty: set[str | ObjectKey] = set()
        self.pieces: dict[str, int] = {}
        """How many pieces of a journal it puts."""
        self.notes: list[tuple[Notification, Member]] = []
        """What parents elsewhere are told, and of whom."""
        self.granted: list[tuple[ObjectKey, Ref]] = []
        """Who is given a key from its stored inbox."""
        self.heads: dict[ObjectKey, Head] = {}
        """The heads as they will be, but for their versions."""
        self.unsettled: list[ObjectKey] = []
        """The keys whose owners may not know that an invocation waits, or that have no owner."""

    def add(self, step: Iterable[Effect]) -> None:
        """Take in one step."""
        self._dirty.clear()
        for effect in step:
            member = effect.member
            if member.dropped:
                continue
            match effect:
                case Born():
                    self._sheet(member)
                    self.bytes += len(member.input) + 300
                case Log(_, entry):
                    self._sheet(member).entries.append(entry)
                    outcome = getattr(entry, "outcome", None) or getattr(entry, "value", None)
                    self.bytes += 40 + (len(outcome.value or b"") if outcome else 0)
                case Ended():
                    self._sheet(member).ended = effect
                    self.bytes += len(effect.outcome.value or b"")
                case Failed():
                    self._sheet(member).failed = effect
                case Wait():
                    self._sheet(member).wait = effect
                case Arrived():
                    effect.apply(self._state(member.key), self._keys[member.key].contended)
                    self._sheet(member).touched = True
                case Entered():
                    self._sheet(member).touched = self._sheet(member).entered = True
                case Left():
                    state = self._state(member.key)
                    state.leave(member.ref)
                    if member.meta.kind is Kind.WORKFLOW and member.spec is not None:
                        state.expires = self._times.now + _ms(member.spec.options.workflow_retention)
                case Wrote(_, _, value, blob):
                    effect.apply(self._state(member.key))
                    self.bytes += len(value) if value is not None and blob is None else 0
        for place in self._dirty:
            count = self.states[place].items() if isinstance(place, ObjectKey) else self._items(self.sheets[place])
            self.items += count - self._counts.get(place, 0)
            self._counts[place] = count

    def makes(self, id: str) -> bool:
        """Whether the invocation is made by it."""
        sheet = self.sheets.get(id)
        return sheet is not None and not sheet.member.stored

    def ran_in_line(self) -> bool:
        """Whether an invocation that is to wait for its key has run."""
        waiting = (self.sheets[entry.ref.id] for state in self.states.values() for entry in state.arrived)
        return any(sheet.entries or sheet.ended or sheet.failed or sheet.wait for sheet in waiting)

    def changes(self, nonce: str, following: Collection[ObjectKey] = ()) -> tuple[list[Change], list[Part | Piece]]:
        """The changes to commit, and what may be put before as it counts only with them: parts of large payloads.

        Args:
            nonce: What tells this commit from others.
            following: The keys to which the next commits have invocations come.
        """
        changes: list[Change] = []
        parts: list[Part | Piece] = []
        tickets = {entry.ref: entry.ticket for state in self.states.values() for entry in state.arrived}
        self.metas = {id: self._meta(sheet, tickets.get(sheet.member.ref), nonce) for id, sheet in self.sheets.items()}
        for id, sheet in self.sheets.items():
            self._write_member(sheet, self.metas[id], changes, parts, nonce)
        for key, state in self.states.items():
            self._write_key(self._keys[key], state, changes, nonce, key in following)
        return changes, parts

    # --- inside ---

    def _sheet(self, member: Member) -> _Sheet:
        self._dirty.add(member.meta.id)
        sheet = self.sheets.get(member.meta.id)
        if sheet is None:
            sheet = self.sheets[member.meta.id] = _Sheet(member)
        return sheet

    def _state(self, key: ObjectKey) -> KeyState:
        self._dirty.add(key)
        state = self.states.get(key)
        if state is None:
            state = self.states[key] = self._keys[key].state(self._times.now)
        return state

    @staticmethod
    def _items(sheet: _Sheet) -> int:
        member = sheet.member
        piece = int(sheet.journaled and sheet.ended is None)
        record = int(not member.stored or any((sheet.ended, sheet.failed, sheet.wait, sheet.touched)))
        notified = int(sheet.ended is not None and _notifies(member))
        return piece + record + notified + int(sheet.untold)

    def _meta(self, sheet: _Sheet, ticket: str | None, nonce: str) -> Meta:
        """The record as it will be."""
        member, now = sheet.member, self._times.now
        meta = member.meta
        if sheet.ended is not None:
            outcome = sheet.ended.outcome
            large = outcome.value is not None and len(outcome.value) > INLINE
            options = member.spec.options if member.spec else Options()
            retention = retention_of(meta, options)
            forgets = now + min(_ms(options.journal_retention), retention)
            tail = journal.encode(sheet.entries) if sheet.journaled else []
            inline = len(tail) == 1 and len(tail[0]) <= TAIL
            dependents = any(
                (
                    meta.kind is Kind.WORKFLOW,
                    journal.unanswered([*member.journal, *sheet.entries]),
                    member.pieces,
                    member.apart,
                    member.notes,
                    meta.notifications,
                    meta.waiters,
                    large,
                    len(member.input) > INLINE,
                    meta.input_parts,
                    tail and not inline,
                )
            )
            expires = now + retention
            journaled = forgets < expires and bool(tail or member.pieces)
            return replace(
                meta,
                status=Status.COMPLETED,
                outcome=Outcome(None) if large else outcome,
                output_parts=-(-len(outcome.value or b"") // PART) if large else 0,
                output_name=f"output-{nonce}" if large else "",
                tail=tail[0] if inline else None,
                completed=now,
                expires=expires,
                forgets=forgets if journaled else None,
                due=now if meta.waiters else forgets if journaled else expires if dependents else None,
                epoch=max(meta.epoch, 1),
                wake_after=None,
                seen=0,
                timer=None,
                awaits=None,
                error=None,
                ticket=None,
                dispatches=0,
                nonce=nonce,
            )
        if sheet.failed is not None:
            failed = sheet.failed
            due = now if "x" in member.notes and not failed.cancelled else failed.due
            return replace(
                meta,
                status=Status.PAUSED if due is None else Status.BACKING_OFF,
                due=due,
                failures=failed.failures,
                error=failed.error,
                epoch=max(meta.epoch, 1),
                ticket=None,
                nonce=nonce,
            )
        if sheet.wait is not None:
            wait = sheet.wait
            return replace(
                meta,
                status=Status.SUSPENDED,
                wake_after=member.counted + wait.missing - 1,
                seen=len(member.notes),
                timer=wait.due,
                awaits=wait.awaits,
                due=min((at for at in (wait.due, wait.look) if at is not None), default=None),
                failures=0 if member.progress or sheet.entries else meta.failures,
                epoch=max(meta.epoch, 1),
                ticket=None,
                nonce=nonce,
            )
        if member.stored and not sheet.touched:
            return meta
        if ticket is not None:
            check = self._times.now + (CHECK if meta.parent is not None else OWNER_CHECK)
            return replace(meta, status=Status.QUEUED, due=check, ticket=ticket, nonce=nonce)
        if member.spec is not None:
            return replace(
                meta, status=Status.RUNNING, due=self._times.lease, ticket=None, epoch=max(meta.epoch, 1), nonce=nonce
            )
        if meta.status is Status.SCHEDULED:
            return replace(meta, nonce=nonce)
        return replace(meta, status=Status.READY, due=self._times.grace, nonce=nonce)

    def _write_member(
        self, sheet: _Sheet, meta: Meta, changes: list[Change], parts: list[Part | Piece], nonce: str
    ) -> None:
        member = sheet.member
        caller = self.sheets.get(meta.parent.ref.id) if meta.parent is not None else None
        if meta.parent is not None and (not member.stored or (sheet.wait is not None and caller is not None)):
            alone = caller is not None and caller.wait is not None and caller.wait.missing <= 1
            meta = self.metas[meta.id] = replace(meta, parent=replace(meta.parent, alone=alone))
        cuts = journal.encode(sheet.entries) if sheet.journaled and meta.tail is None else []
        if not member.stored or sheet.ended or sheet.failed or sheet.wait or sheet.touched:
            meta = self.metas[meta.id] = replace(meta, pieces=member.pieces + len(cuts))
        if not member.stored:
            if len(member.input) > INLINE:
                apart = cut(meta.ref, "input", member.input)
                parts += apart
                meta = replace(meta, input=None, input_parts=len(apart))
            meta = self.metas[meta.id] = replace(meta, notifications=int(sheet.untold))
            changes.append(Create(meta, self._times.now))
            if sheet.untold:
                changes.append(Put(Notification(meta.ref, "x", Outcome(failure=CANCELLED), self._times.now, nonce)))
        elif sheet.ended or sheet.failed or sheet.wait or sheet.touched:
            anyway = SWEPT if sheet.ended or sheet.failed or sheet.wait else ()
            if sheet.entered:
                anyway = (*anyway, "deployment")
            changes.append(
                Update(
                    member.ref,
                    set=_difference(member.meta, meta, anyway),
                    epoch=member.meta.epoch,
                    status=Status.QUEUED if member.meta.status is Status.QUEUED else None,
                    # One that comes in just before the end is to be deleted with the rest.
                    notifications=_most_counted(sheet, meta),
                    waiters=member.meta.waiters if sheet.ended else None,
                )
            )
        if cuts:
            self.pieces[meta.id] = len(cuts)
            pieces = [
                Piece(meta.id, meta.generation, member.pieces + offset, data, nonce) for offset, data in enumerate(cuts)
            ]
            parts += pieces[:-1]
            changes.append(Put(pieces[-1]))
        if sheet.ended is None:
            return
        if meta.output_parts:
            parts += cut(meta.ref, meta.output_name, sheet.ended.outcome.value or b"")
        parent = meta.parent
        receiver = self.sheets.get(parent.ref.id) if parent is not None else None
        if parent is not None and _notifies(member) and not (receiver and receiver.ended):
            note, apart = notification(parent.ref, f"c{parent.command}", sheet.ended.outcome, self._times.now, nonce)
            parts += apart
            changes.append(Put(note))
            self.notes.append((replace(note, outcome=sheet.ended.outcome), member))

    def _write_key(self, key: Key, state: KeyState, changes: list[Change], nonce: str, more: bool) -> None:
        assert state.owner != UNKNOWN, f"the inbox of {key.key} was not read"
        head, base = state.head(nonce), state.base
        if more and state.owner is not None:  # the owner is told at once that others will wait
            head = replace(head, queued=True)
        self.heads[key.key] = head
        if base.owner is not None:
            if state.owner != base.owner or state.written:
                # An invocation that waits and that this process does not know of may come before the next owner.
                empty = state.owner != base.owner and not base.queued
                changes.append(WriteHead(head, owner=base.owner, empty=empty))
                if state.owner is None and head.queued:
                    self.unsettled.append(key.key)
            elif state.arrived:
                self.unsettled.append(key.key)
        elif key.ran:
            changes.append(WriteHead(head, version=base.version))
            if state.owner is None and state.arrived:
                self.unsettled.append(key.key)
        elif state.owner is not None:
            sheet = self.sheets.get(state.owner.id)
            elsewhere = sheet is not None and sheet.member.spec is None
            if elsewhere and base.state_generation and base.expires is None:
                changes.append(TakeKey(key.key, state.owner, head.queued, empty=True))
            else:
                changes.append(WriteHead(head, version=base.version))
        elif state.arrived:
            self.unsettled.append(key.key)
        changes += [Put(entry) for entry in state.arrived]
        changes += [Delete(entry) for entry in state.popped]
        if state.granted is not None and state.granted == state.owner and state.granted.id not in self.sheets:
            given = {"status": Status.READY, "due": self._times.grace, "ticket": None, "dispatches": 0}
            changes.append(Update(state.granted, set=given, status=Status.QUEUED))
            self.granted.append((key.key, state.granted))
        changes += garbage(state, self._times)
        changes += blobs.changes(state, key.blobs, self._times.now)


def garbage(state: KeyState, times: Times) -> list[Create]:
    """The note that goes with a head whose state is over: the entries that lay beside it are to be deleted."""
    if not state.garbage:
        return []
    key = state.base.key
    note = Meta(
        id=garbage_id(),
        generation=state.base.state_generation,
        target=Target(key.service, "state", key.key),
        kind=Kind.SHARED,
        status=Status.COMPLETED,
        created=times.now,
        completed=times.now,
        due=times.grace,
    )
    return [Create(note, times.now)]


def _most_counted(sheet: _Sheet, meta: Meta) -> int | None:
    """The most notifications that may have been counted when an attempt ends."""
    if sheet.wait is not None:
        return meta.wake_after
    if sheet.failed is not None:
        return sheet.member.counted
    return 0 if sheet.ended is not None and meta.due is None else None


def _notifies(member: Member) -> bool:
    return member.meta.parent is not None and member.caller is None


_COMPARED: Final = tuple(field.name for field in fields(Meta) if field.name not in ("nonce", "notifications"))
_compared: Final[Callable[[Meta], tuple[Any, ...]]] = attrgetter(*_COMPARED)


def _difference(old: Meta, new: Meta, anyway: Collection[str]) -> dict[str, Any]:
    pairs = zip(_COMPARED, _compared(old), _compared(new), strict=True)
    return {name: after for name, before, after in pairs if before != after or name in anyway}


def notification(to: Ref, id: str, outcome: Outcome, now: int, sender: str) -> tuple[Notification, list[Part]]:
    """A notification, and the parts that hold its value where that is too large for it."""
    if len(outcome.value or b"") <= NOTE:
        return Notification(to, id, outcome, now), []
    name = f"{id}-{sender}"
    return Notification(to, id, Outcome(), now, parts=name), cut(to, name, outcome.value or b"")


def retention_of(meta: Meta, options: Options) -> int:
    """How long a completed invocation's record is kept, in milliseconds."""
    if meta.kind is Kind.WORKFLOW:
        return _ms(options.workflow_retention)
    return _ms(options.idempotency_retention if meta.idempotent else options.journal_retention)


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def fits(draft: Draft) -> bool:
    """Whether the draft can be one transaction."""
    return draft.items <= MAX_ITEMS and draft.bytes <= MAX_BYTES


def plan(keys: dict[ObjectKey, Key], times: Times, log: Sequence[Step]) -> tuple[Draft, int]:
    """The longest stretch from the log's beginning that one transaction can take, but one step at the least.

    A step may make the whole smaller again (a call that is made and completed counts less than one under way), so a
    few steps beyond the limit are looked at.
    """
    draft = Draft(keys, times)
    best = 0
    for place, step in enumerate(log, 1):
        draft.add(step)
        if place == 1 or fits(draft):
            best = place
        if place > best + 20 or draft.bytes > 2 * MAX_BYTES:
            break
    if best == len(log):
        return draft, best
    draft = Draft(keys, times)
    for step in log[:best]:
        draft.add(step)
    return draft, best
