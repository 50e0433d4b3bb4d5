"""A store that looks at every write: what must hold at any time is checked at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from adapter.aws.tables import HEAD_SK, META_SK, object_pk
from adapter.engine import lifecycle
from adapter.engine.journal import LAST, WHOLE, AttemptStarted, Entry, NotificationDelivered, ResultDelivered, read
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Parent,
    Part,
    Ref,
    StateEntry,
    Status,
    Waiter,
)
from adapter.engine.types import KILLED, Kind, ObjectKey, Outcome
from adapter.local.changes import Write, address, head_address
from adapter.local.conflicts import Conflicts
from adapter.local.memory import MemoryStore
from tests.simulation import cancellations, further, sessions

if TYPE_CHECKING:
    from tests.simulation.plan import Op
    from tests.simulation.world import World

EPOCH = 1_700_000_000_000
"""Milliseconds: when every simulation begins."""

SKEW = 2_000
"""Milliseconds that two clocks differ by at most."""

WITHOUT_DUE = (Status.PAUSED, Status.COMPLETED)
"""What may have no due time."""


BOTH = 0.25
"""How often two transactions that meet are both cancelled."""

BEGAN = re.compile(r'\d\.\[(\d+,)?\["b",')
"""How a segment begins that only says that an attempt does."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An invocation as it completed."""

    meta: Meta
    input: bytes
    output: str


def is_deadlock(error: str | None) -> bool:
    """Whether a record says that it is part of a deadlock."""
    return (error or "").startswith("deadlock: ")


def _is_renewal(old: JournalSegment | Notification, new: JournalSegment | Notification) -> bool:
    """Whether nothing but an item's time to live has changed, and that has not become shorter."""
    return replace(old, ttl=new.ttl) == new and (old.ttl or 0) <= (new.ttl or 0)


class WatchedStore(MemoryStore):
    """The store in memory, with the invariants that every write has to leave intact."""

    def __init__(self, world: World) -> None:
        both = partial(world.chance, BOTH)
        super().__init__(conflicts=Conflicts(self._span, both) if world.conflict else None)
        self.world = world
        self.archive: dict[Ref, Ended] = {}
        """Everything that has ever completed."""
        self.attached: set[tuple[Ref, int]] = set()
        """The commands that were stored as waiting for another invocation."""
        self._claimed: dict[Ref, float] = {}
        """When the latest attempt at each invocation began."""
        self._cancelled: dict[tuple[Ref, str], float] = {}
        """When each cancellation was stored."""
        self.recounted: set[Ref] = set()
        """The invocations of which a count of notifications may have been applied twice."""
        self._unpaused: dict[Ref, int] = {}
        """The epochs at which invocations were resumed that had been paused."""
        self._made: set[Ref] = set()
        """Everything that ever had a record."""

    def metas(self) -> Iterator[Meta]:
        """All invocations' records."""
        return (
            cast("Meta", items.by_key[META_SK]) for items in list(self._partitions.values()) if META_SK in items.by_key
        )

    def heads_(self) -> Iterator[Head]:
        """All keys' heads."""
        return (
            cast("Head", items.by_key[HEAD_SK]) for items in list(self._partitions.values()) if HEAD_SK in items.by_key
        )

    def items(self, partition: str | ObjectKey, kind: type[Any], generation: str | None = None) -> list[Any]:
        """All items of a kind in a partition, in order."""
        items = self._partitions.get(partition if isinstance(partition, str) else object_pk(partition))
        found = [items.by_key[key] for key in items.in_order] if items is not None else []
        return [
            item
            for item in found
            if isinstance(item, kind) and (generation is None or getattr(item, "generation", None) == generation)
        ]

    def journal(self, ref: Ref) -> list[Entry]:
        """What is committed of an invocation's journal."""
        meta = self._record(ref.id)
        inline = meta.inline_journal if meta is not None and meta.generation == ref.generation else None
        return read(ref.id, self.items(ref.id, JournalSegment, ref.generation), inline)

    async def _span(self) -> None:
        """Let a transaction take its time, in which other processes write."""
        writer = self.world.network.writer
        await self.world.loop.pause(self.world.random.uniform(0, self.world.conflict))
        self.world.network.writer = writer

    def _charge(self, sizes: Iterable[int]) -> None:
        if self.world.plan.alone:  # else nobody asks what it costs
            super()._charge(sizes)

    # --- at each write ---

    def _apply(self, writes: Sequence[Any]) -> None:
        super()._apply(writes)
        if "edits" in self.world.reach:
            self.world.edits.on_write(self, writes)
        keys: dict[ObjectKey, None] = {}
        journals: list[tuple[Ref, str]] = []
        for (_, sk), old, new, _ in writes:
            if sk == META_SK:
                self._check_meta(old, new)
                if new is not None:
                    self._made.add(new.ref)
                    if old is None or old.generation != new.generation:
                        delay = max(0, (new.due or 0) - self._now()) if new.status is Status.SCHEDULED else 0
                        self.world.waits.makes(new.ref, delay / 1000)
                if new is not None and new.inline_journal and (old is None or old.inline_journal != new.inline_journal):
                    journals.append((new.ref, new.inline_journal))
                meta = cast("Meta", new or old)
                if new is not None and not new.live and new.outcome is not None and new.ref not in self.archive:
                    self.archive[new.ref] = self._ended(new)
                    self.world.waits.ends(new.ref)
                    if new.outcome.failure == KILLED:
                        self._check_killed(new.ref)
                if meta.kind.exclusive and new is not None:
                    keys[meta.target.object] = None
            elif isinstance(new or old, Head | InboxEntry):
                keys[cast("Head | InboxEntry", new or old).key] = None
                if isinstance(new, Head):
                    self.world.waits.owns(new.key, new.owner)
                elif isinstance(new, InboxEntry):
                    self.world.waits.tickets[new.ref] = new.ticket
            elif isinstance(new, Waiter):
                self.attached.add((new.waiter, new.command))
            elif isinstance(new, Part):
                if new.name != "input" and Ref(new.id, new.generation) not in self._made:
                    self._fail(f"{new.name} of {new.id} is there before its record")
            elif isinstance(new, JournalSegment):
                if Ref(new.id, new.generation) not in self._made:
                    self._fail(f"segment {new.index} of the journal of {new.id} is there before its record")
                if old is not None and _is_renewal(old, new):
                    continue
                if old is not None:
                    self._fail(f"{new} replaces {old}")
                journals.append((Ref(new.id, new.generation), new.data))
                found = self._record(new.id)
                own = found if found is not None and found.generation == new.generation else None
                counts = new.data.startswith((WHOLE, LAST)) and not BEGAN.match(new.data)
                copies = own is not None and own.copied and own.copied[0].before and own.epoch == 1
                if counts and not copies and self.world.network.writer is not None:
                    self.world.runs.authors[Ref(new.id, new.generation)] = self.world.network.writer.deployment
                read = own is not None and not own.expired(self._now() + SKEW)  # not one that comes after a purge
                if new.index and read and self._lookup(address(replace(new, index=new.index - 1))) is None:
                    self._fail(f"{new} leaves a gap")
            elif isinstance(new, Notification) and old is None and new.id.startswith("x"):
                self._cancelled[new.to, new.id] = self.world.loop.time()
            elif isinstance(new, Notification) and old is not None and not _is_renewal(old, new):
                self._fail(f"{new} replaces {old}")
        for name in keys:
            self._check_key(name)
        for ref, journal in journals:
            if cancellations.delivered(journal):
                created = {new.id for (_, sk), old, new, _ in writes if sk == META_SK and old is None}
                cancellations.check(self, ref, created)

    def _ended(self, meta: Meta) -> Ended:
        input = self.world.decoded(meta.input if meta.input is not None else self._payload(meta, "input"))
        assert meta.outcome is not None
        if meta.outcome.failure is not None:
            return Ended(meta, input, meta.outcome.failure.message)
        output = self._payload(meta, meta.output_name) if meta.output_parts else meta.outcome.value or b""
        return Ended(meta, input, self.world.decoded(output).decode())

    def _payload(self, meta: Meta, name: str) -> bytes:
        return b"".join(part.data for part in self.items(meta.id, Part, meta.generation) if part.name == name)

    def value(self, entry: StateEntry) -> bytes:
        """A state entry's value, wherever it lies, as it is stored."""
        if entry.blob is None:
            return entry.value
        return b"".join(part.data for part in self.items(entry.blob.id, Part, entry.blob.generation))

    def remove(self, meta: Meta) -> None:
        """Delete a record that has expired, as DynamoDB does when it comes to it."""
        if not self._busy(address(meta)):
            self._apply([Write(address(meta), meta, None)])

    def _fail(self, what: str) -> None:
        self.world.violation(what)

    def _now(self) -> int:
        return EPOCH + int(self.world.loop.time() * 1000)

    def _check_meta(self, old: Meta | None, new: Meta | None) -> None:
        now = self._now()
        if old is not None and (new is None or new.generation != old.generation) and not old.expired(now + SKEW):
            self._fail(f"{old} is gone before it has expired")
        if new is None:
            return
        if old is not None and old.generation == new.generation:
            self._check_change(old, new, now)
        if old is not None and old.generation == new.generation:
            self._check_paused(old, new)
        if is_deadlock(new.error) and (old is None or old.error != new.error):
            self._check_deadlock(new, cast("str", new.error))
            self.world.operators.on_deadlock(new.id)
        if old is None and new.live and new.parent is not None and self._is_told(new.parent):
            self._fail(f"{new.id} is put, and its caller has its result")
        if new.due is None and new.status not in WITHOUT_DUE and not self._is_looked_after(new):
            self._fail(f"{new.id} is {new.status} without a due time")
        if new.status is Status.QUEUED and new.outcome is not None:
            self._fail(f"{new.id} is to be ended, and waits for its key")
        if not new.live and new.completed is None:
            self._fail(f"{new.id} has no time of completion")
        if new.status is Status.PAUSED and (old is None or old.status is not Status.PAUSED):
            self.world.operators.on_paused(new.id)
        limit = self.world.plan.limits.get(new.target.service)
        exhausted = limit is not None and new.failures >= limit.attempts
        given_up = exhausted and limit is not None and limit.exhausted == "pause"
        if new.status is Status.PAUSED and new.id not in self.world.operators.acted.get("pause", ()) and not given_up:
            self._fail(f"{new.id} is paused after {new.failures} failures: {new.error}")
        cancelled = self.is_cancelled(new.ref)
        if new.status is Status.BACKING_OFF and exhausted and not cancelled:
            self._fail(f"{new.id} is tried again after {new.failures} failures: {new.error}")
        if new.status is Status.BACKING_OFF and (new.error or "").endswith(": the registry"):
            self.world.waits.works(new.ref, max(0, (new.due or 0) - now) / 1000)
        if new.status is Status.BACKING_OFF and not cancelled and (asked := further.asked_to_wait(new.error or "")):
            waits = (new.due or 0) - self.world.runs.failed_at.get((new.ref, new.epoch), 0)
            fails = old is None or old.failed != new.failed
            if fails and waits < asked - 1 and not (self.world.faulty or self.world.lambdas):
                self._fail(f"{new.id} is due {waits} ms after it failed, by {new.error}")

    def _is_looked_after(self, meta: Meta) -> bool:
        """Whether a call that has not begun has a caller that knows of it."""
        if meta.parent is None or meta.epoch or meta.status is not Status.READY:
            return False
        caller = self._record(meta.parent.ref.id)
        known = caller.calling if caller is not None and caller.ref == meta.parent.ref and caller.live else None
        return known is not None and (known.command, known.generation) == (meta.parent.command, meta.generation)

    def _check_forgotten(self, old: Meta, new: Meta) -> None:
        """A caller forgets its call only when that has begun, or has a due time."""
        called = lifecycle.called(old)
        found, parent = self._record(called.id), called.parent
        assert parent is not None
        if found is None:
            if not self._is_told(parent):
                self._fail(f"{new.id} forgets its call {called.id}, which is not there")
        elif found.status is Status.READY and found.due is None:
            self._fail(f"{new.id} forgets its call {called.id}, which has not begun")

    def _is_told(self, caller: Parent) -> bool:
        """Whether a caller has the result of its call."""
        return self._lookup(address(Notification(caller.ref, f"c{caller.command}", Outcome(), 0))) is not None

    def _check_paused(self, old: Meta, new: Meta) -> None:
        """No attempt pauses what was cancelled since it began, unless it has seen that, or what was resumed since.

        An attempt that was cancelled before it began may fail before it awaits anything.
        """
        if new.epoch > old.epoch:
            self._claimed[new.ref] = self.world.loop.time()
        if old.status is Status.PAUSED and new.status is Status.READY:
            self._unpaused[new.ref] = new.epoch
        by_attempt = new.status is Status.PAUSED and old.status is not Status.PAUSED and new.epoch == old.epoch
        if not by_attempt:
            return
        if self._unpaused.get(new.ref) == new.epoch:
            self._fail(f"{new.id} was resumed, and an attempt from before that has paused it")
        notes = [note for note in self.items(new.id, Notification) if note.to == new.ref]
        since = self._claimed.get(new.ref, inf)
        cancellations = {note.id for note in notes if self._cancelled.get((note.to, note.id), -1.0) > since}
        if cancellations and len(notes) <= new.notifications and new.ref not in self.recounted:  # all were counted
            journal = self.journal(new.ref)
            if not cancellations.issubset(each.id for each in journal if isinstance(each, NotificationDelivered)):
                self._fail(f"{new.id} is paused by an attempt, and has not seen {cancellations}")

    def is_cancelled(self, ref: Ref) -> bool:
        """Whether an invocation is cancelled, though it may not know yet. It goes on at once."""
        return any(note.id.startswith("x") and note.to == ref for note in self.items(ref.id, Notification))

    def _check_change(self, old: Meta, new: Meta, now: int) -> None:
        if old.calling is not None and new.calling != old.calling:
            self._check_forgotten(old, new)
        if not old.live and old.outcome != new.outcome:
            self._fail(f"{old.id} changes its outcome to {new.outcome}")
        if not old.live and new.live:
            self._fail(f"{old.id} lives again")
        being_ended = old.status is Status.RUNNING and old.outcome is not None and (old.due or 0) > now + SKEW
        if being_ended and new.epoch > old.epoch and (new.status, new.outcome) == (old.status, old.outcome):
            self._fail(f"{old.id} is stopped again, and was stopped to be ended")
        if new.epoch < old.epoch:
            self._fail(f"{old.id}: epoch {old.epoch} falls to {new.epoch}")
        if new.notifications < old.notifications:
            self._fail(f"{old.id} forgets notifications")
        if (new.target, new.created) != (old.target, old.created):
            self._fail(f"{old.id} changes")
        sessions.check_deployment(self.world, old, new)
        early = old.status is Status.BACKING_OFF and new.status is Status.RUNNING and (old.due or 0) > now + SKEW
        if (
            early
            and new.outcome is None
            and not self.world.operators.acted
            and not any(note.to == new.ref for note in self.items(new.id, Notification))
        ):
            self._fail(f"{old.id} is tried again {(old.due or 0) - now} ms before its time")
        taken = (old.status, new.status, new.epoch) == (Status.RUNNING, Status.RUNNING, old.epoch + 1)
        if taken and not self.world.operators.acted and old.due is not None and old.due > now + SKEW and old.epoch > 0:
            self._fail(f"{old.id} is taken over {(old.due or 0) - now} ms before its lease ends")
        if old.status is Status.PAUSED and new.status is not Status.PAUSED and new.outcome is None:
            resumed = any(old.id in self.world.operators.acted.get(what, ()) for what in ("resume", "move"))
            if not resumed and not any(note.id.split(":")[0] == "x" for note in self.items(old.id, Notification, None)):
                self._fail(f"{old.id} was paused, and is {new.status}")
        failure = new.outcome.failure if new.outcome is not None else None
        if old.status is Status.QUEUED and failure is not None and failure.message.startswith("deadlock: "):
            self._check_deadlock(old, failure.message)
        # A call without a due time is made sure of by its caller's next attempt, too.
        swept = new.dispatches > old.dispatches and old.status in (Status.RUNNING, Status.READY) and old.due is not None
        smooth = not self.world.faulty and not self.world.lambdas and not self.world.operators.acted
        smooth = smooth and not self.world.plan.outlasts_leases()
        if swept and smooth and not self.world.always_replay:  # a replay gives up errands that are under way
            self._fail(f"{old.id} is {old.status} and swept up, nothing having gone wrong")

    def _check_killed(self, ref: Ref) -> None:
        """What it called was killed before; but for what others may ask for too."""
        for meta in self.metas():
            own = meta.parent is not None and meta.parent.ref == ref
            if own and meta.live and not meta.idempotent and meta.kind is not Kind.WORKFLOW:
                self._fail(f"{meta.id} goes on, and {ref.id}, which called it, was killed")

    def _check_deadlock(self, queued: Meta, ring: str) -> None:
        """Whoever is failed for a ring would have waited for ever: its key's owner cannot go on without it."""
        live = {meta.ref: meta for meta in self.metas() if meta.live and meta.ref != queued.ref} | {queued.ref: queued}
        needs: dict[Ref, list[list[Ref]]] = {ref: [] for ref in live}
        """What each waits for: of several in one list, one is enough to go on."""
        selects: dict[tuple[Ref, Op], list[Ref]] = {}
        calls = self.world.plan.calls()
        for meta in live.values():
            if meta.status is Status.QUEUED:
                head = cast("Head | None", self._lookup(head_address(meta.target.object)))
                needs[meta.ref] += [[head.owner]] if head is not None and head.owner is not None else []
            if meta.parent is not None and meta.parent.ref in needs:
                _, op, outer = calls[self.world.node(meta)]
                if outer.kind == "select" and outer.how != "await":
                    selects.setdefault((meta.parent.ref, outer), []).append(meta.ref)
                elif op.how != "forget" and (outer.kind != "timeout" or outer.how == "await"):
                    needs[meta.parent.ref].append([meta.ref])
        for (ref, op), children in selects.items():
            needs[ref] += [children] if len(children) == len(op.branches) else []
        for record in self.records():
            if isinstance(record, Waiter) and record.waiter in needs:
                needs[record.waiter].append([Ref(record.id, record.generation)])
        stuck = set(live)
        while free := {ref for ref in stuck if not any(stuck.issuperset(others) for others in needs[ref])}:
            stuck -= free
        if queued.ref not in stuck:
            self._fail(f"{queued.id} is failed for a {ring}, which is none")

    def _check_key(self, name: ObjectKey) -> None:
        head = cast("Head | None", self._lookup(head_address(name))) or Head(name)
        inbox: list[InboxEntry] = self.items(name, InboxEntry)
        if head.owner is not None:
            meta = self._record(head.owner.id)
            if meta is None or meta.generation != head.owner.generation or not meta.live:
                self._fail(f"{name} is owned by {head.owner}, which is {meta}")
            elif meta.target.object != name:
                self._fail(f"{name} is owned by {meta.target}")
            elif meta.status in (Status.QUEUED, Status.SCHEDULED):
                self._fail(f"{name}'s owner {meta.id} is {meta.status}")
        for entry in inbox:
            meta = self._record(entry.ref.id)
            if (
                meta is None
                or meta.generation != entry.ref.generation
                or meta.status is not Status.QUEUED
                or meta.ticket != entry.ticket
            ):
                self._fail(f"{entry} waits, it is {meta}")

    # --- at each step ---

    def _check_copied(self, meta: Meta, n: int) -> None:
        """A step begins. The invocation whose results were copied has no result of it."""
        origin = meta.issuer(n)
        if origin == meta.ref or self.world.waits.ended.get(origin, inf) >= self.world.operators.copied.get(
            origin.id, 0.0
        ):
            return  # what runs may get results after they are copied
        if any(isinstance(entry, ResultDelivered) and entry.n == n for entry in self.journal(origin)):
            self._fail(f"step {n} of {meta.id} begins, and has a result in {origin.id}")

    def check_cut(self, meta: Meta, n: int) -> None:
        """A step of an attempt is cut short, and its process goes on."""
        now = self._record(meta.id)
        if now is not None and now.live and now.ref == meta.ref and now.epoch == max(meta.epoch, 1):
            self._fail(f"step {n} of {meta.id} is cut short, and no other attempt has taken over")

    def check_step(self, meta: Meta, n: int) -> None:
        """A step begins in an attempt."""
        now = self._record(meta.id)
        if now is None or now.generation != meta.generation:
            if meta.ref not in self.archive:
                self._fail(f"a step of {meta.id} begins, and it is not stored")
            return
        self._check_copied(meta, n)
        for entry in self.journal(meta.ref):
            if isinstance(entry, AttemptStarted) and entry.epoch > max(meta.epoch, 1):
                return
            if isinstance(entry, ResultDelivered) and entry.n == n:
                self._fail(f"step {n} of {meta.id} begins again, and has a result")
