"""The life of an invocation: what its record may become after what it was."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, cast

from adapter.engine import lifecycle
from adapter.engine.journal import NotificationDelivered
from adapter.engine.records import Calling, JournalSegment, Meta, Notification, Parent, Ref, Status
from adapter.engine.types import Kind, Outcome
from adapter.local.changes import address
from tests.simulation import further, rings, sessions, storms
from tests.simulation.clock import SKEW

if TYPE_CHECKING:
    from tests.simulation.watch import WatchedStore
    from tests.simulation.world import World

WITHOUT_DUE = (Status.PAUSED, Status.COMPLETED)
"""What may have no due time."""

AFTER_ATTEMPTS = (Status.SUSPENDED, Status.COMPLETED)
"""The states in which nothing looks at the journal of an invocation for its calls."""


def is_deadlock(error: str | None) -> bool:
    """Whether a record says that it is part of a deadlock."""
    return (error or "").startswith("deadlock: ")


class Lives:
    """The lives of a simulation's invocations."""

    def __init__(self, world: World, store: WatchedStore) -> None:
        self._world = world
        self._store = store
        self._claimed: dict[Ref, float] = {}
        """When the latest attempt at each invocation began."""
        self._cancelled: dict[tuple[Ref, str], float] = {}
        """When each cancellation was stored."""
        self._unpaused: dict[Ref, int] = {}
        """The epochs at which invocations were resumed that had been paused."""

    def _fail(self, what: str) -> None:
        self._world.violation(what)

    def cancels(self, note: Notification) -> None:
        """A cancellation is stored."""
        self._cancelled[note.to, note.id] = self._world.loop.time()

    def change(self, old: Meta | None, new: Meta | None) -> None:
        """A record is written, or deleted."""
        now = self._store.now()
        if old is not None and (new is None or new.generation != old.generation) and not old.expired(now + SKEW):
            self._fail(f"{old} is gone before it has expired")
        if new is None:
            return
        if old is None or (old.status, old.epoch) != (new.status, new.epoch):
            writer = self._world.network.writer
            self._world.clients.changed[new.id] = self._world.loop.time(), writer.name if writer is not None else ""
        if old is not None and old.generation == new.generation:
            self._check_change(old, new, now)
            self._check_paused(old, new)
        if is_deadlock(new.error) and (old is None or old.error != new.error):
            rings.check(self._store, new, cast("str", new.error))
            self._world.operators.on_deadlock(new.id)
        if old is None and new.live and new.parent is not None and self._is_told(new.parent):
            self._fail(f"{new.id} is put, and its caller has its result")
        if new.due is None and new.status not in WITHOUT_DUE and not self._is_looked_after(new):
            self._fail(f"{new.id} is {new.status} without a due time")
        if new.status is Status.QUEUED and new.outcome is not None:
            self._fail(f"{new.id} is to be ended, and waits for its key")
        if not new.live and new.completed is None:
            self._fail(f"{new.id} has no time of completion")
        if new.status is Status.PAUSED and (old is None or old.status is not Status.PAUSED):
            self._world.operators.on_paused(new.id)
        limit = self._world.plan.limits.get(new.target.service)
        exhausted = limit is not None and new.failures >= limit.attempts
        given_up = exhausted and limit is not None and limit.exhausted == "pause"
        if new.status is Status.PAUSED and new.id not in self._world.operators.acted.get("pause", ()) and not given_up:
            self._fail(f"{new.id} is paused after {new.failures} failures: {new.error}")
        cancelled = self._store.is_cancelled(new.ref)
        if new.status is Status.BACKING_OFF and exhausted and not cancelled:
            self._fail(f"{new.id} is tried again after {new.failures} failures: {new.error}")
        if new.status is Status.BACKING_OFF and (new.error or "").endswith(": the registry"):
            self._world.waits.works(new.ref, max(0, (new.due or 0) - now) / 1000)
        if new.status is Status.BACKING_OFF and not cancelled and (asked := further.asked_to_wait(new.error or "")):
            waits = (new.due or 0) - self._world.runs.failed_at.get((new.ref, new.epoch), 0)
            fails = old is None or old.failed != new.failed
            if fails and waits < asked - 1 and not (self._world.faulty or self._world.lambdas):
                self._fail(f"{new.id} is due {waits} ms after it failed, by {new.error}")

    def _check_change(self, old: Meta, new: Meta, now: int) -> None:
        """Nothing that is over begins again, and nothing happens before its time."""
        if old.calling is not None and new.calling != old.calling:
            self._check_forgotten(old, old.calling)
        if old.status not in AFTER_ATTEMPTS and new.status in AFTER_ATTEMPTS:
            for calling in self._journaled(old):
                self._check_forgotten(old, calling)
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
        sessions.check_deployment(self._world, old, new)
        storms.check_move(self._world, old, new)
        early = old.status is Status.BACKING_OFF and new.status is Status.RUNNING and (old.due or 0) > now + SKEW
        if (
            early
            and new.outcome is None
            and not self._world.operators.acted
            and not any(note.to == new.ref for note in self._store.items(new.id, Notification))
        ):
            self._fail(f"{old.id} is tried again {(old.due or 0) - now} ms before its time")
        taken = (old.status, new.status, new.epoch) == (Status.RUNNING, Status.RUNNING, old.epoch + 1)
        if taken and not self._world.operators.acted and old.due is not None and old.due > now + SKEW and old.epoch > 0:
            self._fail(f"{old.id} is taken over {(old.due or 0) - now} ms before its lease ends")
        if old.status is Status.PAUSED and new.status is not Status.PAUSED and new.outcome is None:
            resumed = any(old.id in self._world.operators.acted.get(what, ()) for what in ("resume", "move"))
            if not resumed and not any(
                note.id.split(":")[0] == "x" for note in self._store.items(old.id, Notification, None)
            ):
                self._fail(f"{old.id} was paused, and is {new.status}")
        failure = new.outcome.failure if new.outcome is not None else None
        if old.status is Status.QUEUED and failure is not None and failure.message.startswith("deadlock: "):
            rings.check(self._store, old, failure.message)
        # A call without a due time is made sure of by its caller's next attempt, too.
        swept = new.dispatches > old.dispatches and old.status in (Status.RUNNING, Status.READY) and old.due is not None
        smooth = not self._world.faulty and not self._world.lambdas and not self._world.operators.acted
        smooth = smooth and not self._world.plan.outlasts_leases()
        if swept and smooth and not self._world.always_replay:  # a replay gives up errands that are under way
            self._fail(f"{old.id} is {old.status} and swept up, nothing having gone wrong")

    def _check_paused(self, old: Meta, new: Meta) -> None:
        """No attempt pauses what was cancelled since it began, unless it has seen that, or what was resumed since.

        An attempt that was cancelled before it began may fail before it awaits anything.
        """
        if new.epoch > old.epoch:
            self._claimed[new.ref] = self._world.loop.time()
        if old.status is Status.PAUSED and new.status is Status.READY:
            self._unpaused[new.ref] = new.epoch
        by_attempt = new.status is Status.PAUSED and old.status is not Status.PAUSED and new.epoch == old.epoch
        if not by_attempt:
            return
        if self._unpaused.get(new.ref) == new.epoch:
            self._fail(f"{new.id} was resumed, and an attempt from before that has paused it")
        notes = [note for note in self._store.items(new.id, Notification) if note.to == new.ref]
        since = self._claimed.get(new.ref, inf)
        cancellations = {note.id for note in notes if self._cancelled.get((note.to, note.id), -1.0) > since}
        if (
            cancellations and len(notes) <= new.notifications and new.ref not in self._store.recounted
        ):  # all were counted
            journal = self._store.journal(new.ref)
            if not cancellations.issubset(each.id for each in journal if isinstance(each, NotificationDelivered)):
                self._fail(f"{new.id} is paused by an attempt, and has not seen {cancellations}")

    def _journaled(self, caller: Meta) -> list[Calling]:
        """The calls that an invocation's journal describes."""
        segments = self._store.items(caller.id, JournalSegment)
        return [each.calling for each in segments if each.calling and each.generation == caller.generation]

    def _check_forgotten(self, caller: Meta, calling: Calling) -> None:
        """A caller forgets its call only when that has begun, or has a due time."""
        called = lifecycle.called(caller, calling)
        found, parent = self._store._record(called.id), called.parent
        assert parent is not None
        if found is None:
            if not self._is_told(parent):
                self._fail(f"{caller.id} forgets its call {called.id}, which is not there")
        elif found.status is Status.READY and found.due is None:
            self._fail(f"{caller.id} forgets its call {called.id}, which has not begun")

    def killed(self, ref: Ref) -> None:
        """What it called was killed before; but for what others may ask for too."""
        for meta in self._store.metas():
            own = meta.parent is not None and meta.parent.ref == ref
            if own and meta.live and not meta.idempotent and meta.kind is not Kind.WORKFLOW:
                self._fail(f"{meta.id} goes on, and {ref.id}, which called it, was killed")

    def _is_looked_after(self, meta: Meta) -> bool:
        """Whether a call that has not begun has a caller that knows of it."""
        if meta.parent is None or meta.epoch or meta.status is not Status.READY:
            return False
        caller = self._store._record(meta.parent.ref.id)
        if caller is None or caller.ref != meta.parent.ref or not caller.live:
            return False
        known = [*self._journaled(caller), *([caller.calling] if caller.calling else [])]
        return any((each.command, each.generation) == (meta.parent.command, meta.generation) for each in known)

    def _is_told(self, caller: Parent) -> bool:
        """Whether a caller has the result of its call."""
        return self._store._lookup(address(Notification(caller.ref, f"c{caller.command}", Outcome(), 0))) is not None
