"""The life of a record: one function for each transition, which returns the change to commit.

`adapter.engine.transitions` has the table of all transitions, with their conditions. No other module sets the status
of a record, or says when it is due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from adapter.engine import lifetimes
from adapter.engine import transitions as t
from adapter.engine.awaiting import Awaiting
from adapter.engine.ids import child_id, new_generation
from adapter.engine.ports import Create, Finish, Update
from adapter.engine.records import WAITING, Calling, Copied, Meta, Parent, Ref, Status, ending_of
from adapter.engine.transitions import (
    GRACE,
    MAX_RECHECK,
    OWNER_CHECK,
    PROMISE_CHECK,
    QUEUED_CHECK,
    RECHECK,
    Moved,
    Times,
)
from adapter.engine.types import Failure, Headers, Kind, Options, Outcome, Target
from adapter.frozen import replace

IDLE: Final[dict[str, Any]] = {
    "seen": 0,
    **dict.fromkeys(("wake_after", "timer", "ticket", "awaiting", "calling")),
}
"""The values of a record that waits for nothing."""


# --- an invocation is created ---


def accepted(
    id: str,
    target: Target,
    kind: Kind,
    *,
    now: int,
    input: bytes,
    headers: Headers,
    idempotent: bool,
    idempotency_key: str | None = None,
    deployment: str = "",
    parent: Parent | None = None,
    sender: Ref | None = None,
) -> Meta:
    """Return the record of a new invocation, which is to run at once."""
    return Meta(
        id=id,
        generation=new_generation(),
        target=target,
        kind=kind,
        status=Status.READY,
        created=now,
        headers=headers,
        input=input,
        idempotent=idempotent,
        idempotency_key=idempotency_key,
        deployment=deployment,
        parent=parent,
        sender=sender,
    )


def delayed(meta: Meta, delay: int) -> Meta:
    """Return a new record whose invocation is to start after so many milliseconds."""
    return replace(meta, status=Status.SCHEDULED, due=meta.created + delay) if delay else meta


def restarted(meta: Meta, copied: tuple[Copied, ...]) -> Meta:
    """Return the record of a new invocation that runs the request of another one again.

    If it begins with a journal, its first attempt has to load that, as if it were a further one.
    """
    return replace(meta, copied=copied, epoch=1 if copied[0].before else 0)


def created(meta: Meta, now: int) -> Create:
    """Put the record of a new invocation."""
    return Create(meta, now)


def created_once(meta: Meta) -> Create:
    """Put the record of an invocation that is never put again under its id, even when it has expired."""
    return Create(meta, 0)


def begun(meta: Meta, times: Times) -> Meta:
    """Return the record of a new invocation whose first attempt runs in this process."""
    return replace(meta, status=Status.RUNNING, epoch=1, due=times.lease)


# --- an attempt begins ---


def claim(meta: Meta, times: Times, *, deployment: str | None, segments: int | None) -> Moved:
    """Begin an attempt.

    The due time is required as well: an invocation that goes to an inbox changes it without raising the epoch.

    Args:
        meta: The record.
        times: The due times.
        deployment: The deployment to pin the invocation to; ``None``: it stays on its own.
        segments: The number of the journal's segments after the attempt's marker; ``None``: there is no marker.
    """
    values: dict[str, Any] = {"status": Status.RUNNING, "epoch": meta.epoch + 1, "due": times.lease, "dispatches": 0}
    values |= {**IDLE, "failures": meta.failures}
    if deployment is not None:
        values["deployment"] = deployment
    if segments is not None:  # the marker has the error of the attempt before; the segment of the record is put with it
        values |= {"segments": segments, "failed": None, "inline_journal": None}
    return t.CLAIM.move(meta, values)


# --- an attempt commits ---


ENDED: Final = ("failures", "error", "failed")
"""The fields that the sweeper writes when it declares an attempt dead. An attempt that ends all the same always writes
them."""


def queued(meta: Meta, ticket: str, now: int, commit_id: str) -> Meta:
    """Return the record of an invocation that waits for its key.

    Its epoch stays, so its due time has to change: that is how a change of the running invocation fails.
    """
    check = now + (QUEUED_CHECK if meta.parent is not None else OWNER_CHECK)
    due = check + 1 if check == meta.due else check  # a lease that began now may end then
    return replace(meta, status=Status.QUEUED, due=due, ticket=ticket, commit_id=commit_id)


def running(meta: Meta, times: Times, commit_id: str) -> Meta:
    """Return the record of an invocation whose attempt runs in this process, as its key's owner if it has a key."""
    epoch = max(meta.epoch, 1)
    return replace(meta, status=Status.RUNNING, due=times.lease, ticket=None, epoch=epoch, commit_id=commit_id)


def dispatched(meta: Meta, times: Times, commit_id: str) -> Meta:
    """Return the record of a new invocation for another process."""
    if meta.status is Status.SCHEDULED:
        return replace(meta, kept=lifetimes.kept_when_scheduled(meta), commit_id=commit_id)
    return replace(meta, status=Status.READY, due=times.grace, commit_id=commit_id)


def suspended(
    meta: Meta,
    *,
    awaiting: Awaiting,
    seen: int,
    check_at: int | None,
    progress: bool,
    commit_id: str,
) -> Meta:
    """Return the record of a suspended invocation. It continues when a notification or a timer may have resolved what
    it waits for."""
    timer = awaiting.timer
    return replace(
        meta,
        status=Status.SUSPENDED,
        awaiting=awaiting,
        calling=None,
        wake_after=awaiting.wake_after,
        seen=seen,
        timer=timer,
        due=min(at for at in (timer, check_at, lifetimes.renew_at(meta)) if at is not None),
        failures=0 if progress else meta.failures,
        epoch=max(meta.epoch, 1),
        ticket=None,
        commit_id=commit_id,
    )


def called(meta: Meta, calling: Calling) -> Meta:
    """Return the record of a call that an invocation waits for, and that is put after the write that issues it.

    It has no due time: the sweeper looks after its caller soon.
    """
    return Meta(
        id=child_id(*meta.ref, calling.command),
        generation=calling.generation,
        target=calling.target,
        kind=calling.kind,
        status=Status.READY,
        created=calling.created,
        headers=calling.headers,
        input=calling.input,
        parent=Parent(meta.ref, calling.command, meta.target.service, meta.deployment),
    )


def slept(meta: Meta, until: int) -> Meta:
    """Return the record as it was while the invocation slept until a time, which names the timer to delete."""
    return replace(meta, status=Status.SUSPENDED, timer=until)


def failed(meta: Meta, now: int, *, due: int | None, failures: int, error: str, commit_id: str) -> Meta:
    """Return the record of an invocation whose attempt failed. Without a due time it is paused."""
    return replace(
        meta,
        **_waits(meta, due),
        failures=failures,
        error=error,
        failed=now,
        epoch=max(meta.epoch, 1),
        ticket=None,
        commit_id=commit_id,
    )


def _waits(meta: Meta, due: int | None) -> dict[str, Any]:
    """Return the values of an invocation that waits for its next attempt, or for an operator if that has no time."""
    if due is None:
        return {"status": Status.PAUSED, "due": lifetimes.renew_at(meta), "timer": None}
    return {"status": Status.BACKING_OFF, **lifetimes.next_attempt(meta, due)}


def completed(
    meta: Meta,
    options: Options,
    *,
    now: int,
    outcome: Outcome,
    output_parts: int,
    output_name: str,
    journaled: bool,
    commit_id: str,
) -> Meta:
    """Return the record of a completed invocation.

    Args:
        meta: The record.
        options: The handler's options, for the retentions.
        now: The time.
        outcome: The outcome as the record holds it.
        output_parts: The number of parts of the outcome's value.
        output_name: Their name.
        journaled: True if there is a journal.
        commit_id: Tells the commit from others.
    """
    retention = retention_of(meta, options)
    expires = now + retention
    journal_expires = now + min(milliseconds(options.journal_retention), retention)
    forgets = journaled and journal_expires < expires
    after = replace(
        meta,
        **IDLE,
        status=Status.COMPLETED,
        outcome=outcome,
        ended=ending_of(outcome),
        output_parts=output_parts,
        output_name=output_name,
        completed=now,
        expires=expires,
        journal_expires=journal_expires if forgets else None,
        epoch=max(meta.epoch, 1),
        error=None,
        failed=None,
        dispatches=0,
        commit_id=commit_id,
    )
    return replace(after, due=now if meta.waiters else lifetimes.due_after_completion(after))


def retention_of(meta: Meta, options: Options) -> int:
    """Return how long a completed invocation's record is kept, in milliseconds."""
    return milliseconds(options.retention(meta.kind, idempotent=meta.idempotent))


def milliseconds(duration: timedelta) -> int:
    """Return a duration in milliseconds."""
    return round(duration.total_seconds() * 1000)


_COMPARED: Final = tuple(field.name for field in fields(Meta) if field.name not in ("commit_id", "notifications"))
_compared: Final[Callable[[Meta], tuple[Any, ...]]] = attrgetter(*_COMPARED)

_COMMITS: Final = {
    Status.RUNNING: t.TAKE_KEY,
    Status.QUEUED: t.QUEUE,
    Status.SUSPENDED: t.SUSPEND,
    Status.BACKING_OFF: t.FAIL,
    Status.PAUSED: t.FAIL,
    Status.COMPLETED: t.COMPLETE,
}


def committed(before: Meta, after: Meta, *, counted: int) -> Update:
    """Return the change by which an attempt's commit makes its record another.

    Args:
        before: The record as it was last committed.
        after: The record as it is to be.
        counted: The number of counted notifications that the attempt knows of.
    """
    anyway: tuple[str, ...] = ()
    if after.status is Status.COMPLETED or after.status in WAITING:
        # A notification that is counted makes a suspended invocation ready, which the attempt need not have read.
        anyway = (*ENDED, "status", "due")
    if before.status is Status.QUEUED:
        anyway = (*anyway, "deployment")
    pairs = zip(_COMPARED, _compared(before), _compared(after), strict=True)
    values = {name: new for name, old, new in pairs if old != new or name in anyway}
    match after.status:
        case Status.SUSPENDED:
            most = after.wake_after
        case Status.BACKING_OFF | Status.PAUSED:
            most = counted
        case _:
            most = None
    return _COMMITS[after.status].update(before, values, most=most)


def blocked(meta: Meta, awaiting: Awaiting) -> Moved:
    """Store what a running attempt waits for, for the search for deadlocks."""
    return t.AWAIT.move(meta, {"awaiting": awaiting})


# --- an invocation continues ---


def granted(ref: Ref, times: Times) -> Update:
    """Give an invocation of an inbox its key. The changes of the inbox entry and of the head come with it."""
    return t.GRANT.unread(ref, {"status": Status.READY, "due": times.grace, "ticket": None, "dispatches": 0})


def counted(due: int) -> dict[str, Any]:
    """Return the values that `Store.count_notifications` sets if the invocation continues."""
    return {"status": Status.READY, "due": due, "dispatches": 0}


def woken(meta: Meta, times: Times) -> Update:
    """Let a waiting invocation continue. Raising the epoch makes a late copy of the write that made it wait fail."""
    values = {"status": Status.READY, "due": times.grace, "epoch": meta.epoch + 1, "dispatches": 0}
    return t.WAKE.update(meta, values)


def lost_dispatches(meta: Meta) -> int:
    """Return how often the sweeper has dispatched an overdue invocation in vain. While it was suspended, the sweeper
    counted its checks."""
    return 0 if meta.status is Status.SUSPENDED else meta.dispatches


def redispatched(meta: Meta, now: int) -> Update:
    """Dispatch an overdue invocation once more. If an attempt was under way, that one has failed."""
    before = lost_dispatches(meta)
    values: dict[str, Any] = {
        "status": Status.READY,
        "due": now + GRACE * 2 ** min(before, 8),
        "dispatches": before + 1,
    }
    if meta.status is Status.RUNNING:
        error = "its process ended, or ran out of time, in an attempt"
        values |= {"failures": meta.failures + 1, "error": error, "failed": now}
    return t.REDISPATCH.update(meta, values)


def released(meta: Meta, times: Times) -> Update:
    """Let another attempt continue, as this one has to end without a failure."""
    return t.RELEASE.update(meta, {"status": Status.READY, "due": times.grace})


# --- it stays in its state, and is checked again ---


def reported(meta: Meta, deadlock: Failure) -> Update:
    """Note a deadlock in the record of an invocation that is left to an operator."""
    return t.REPORT.update(meta, {"error": deadlock.message})


def checked(meta: Meta, now: int) -> Update:
    """Check a waiting invocation again later."""
    if meta.status is Status.PAUSED:
        return t.WAIT.update(meta, {"due": None if lifetimes.is_lost(meta, now) else lifetimes.renew_at(meta)})
    if meta.status is Status.BACKING_OFF and meta.timer is not None:
        return t.WAIT.update(meta, lifetimes.next_attempt(meta, meta.timer))
    if meta.status is Status.QUEUED:
        due = now + (RECHECK if meta.parent is not None else OWNER_CHECK) * 2 ** min(meta.dispatches, 6)
    elif meta.rests_until is not None:  # only time wakes it
        due = meta.rests_until
    else:
        due = now + min(RECHECK * 4 ** min(meta.dispatches, 8), MAX_RECHECK)
        due = due if meta.timer is None else min(due, meta.timer)
    if lifetimes.renew_at(meta) > now:
        due = min(due, lifetimes.renew_at(meta))
    return t.CHECK.update(meta, {"due": due, "dispatches": meta.dispatches + 1})


def attached(ref: Ref) -> Update:
    """Count one more that waits for the result. Its waiter is put with this change."""
    return replace(t.ATTACH.unread(ref, {}), add={"waiters": 1})


def requeued(meta: Meta) -> Update:
    """Require that the invocation waits for its key as it did, for its inbox entry to be put again."""
    return t.REQUEUE.update(meta, {})


def in_deadlock(meta: Meta) -> Update:
    """Require that the invocation waits as it did, for a deadlock that it is part of to be broken."""
    return t.BREAK.update(meta, {}, most=meta.notifications)


def calls(meta: Meta) -> Update:
    """Require that the invocation waits for its call as it did, for the call's record to be put."""
    return t.CALL.update(meta, {})


def extended(meta: Meta, times: Times) -> Update:
    """Extend the lease of an attempt that runs in this process."""
    return t.EXTEND.update(meta, {"due": times.lease})


# --- it cannot continue by itself ---


def unreadable(meta: Meta, now: int, *, failures: int, error: str, due: int | None) -> Moved:
    """Record a failed attempt at something that cannot be read. Without a due time the invocation is paused."""
    values: dict[str, Any] = {"failures": failures, "error": error, "failed": now, "dispatches": 0, **_waits(meta, due)}
    values |= {"epoch": meta.epoch + 1} if due is None else {}
    return t.CANNOT_READ.move(meta, values)


def lost(meta: Meta) -> Update:
    """Pause an invocation that no process begins to run."""
    error = f"no attempt began after {meta.dispatches} dispatches; resume it when its function works"
    return t.LOSE.update(meta, {**_waits(meta, None), "error": error, "epoch": meta.epoch + 1})


def paused(meta: Meta, stored: int) -> Moved:
    """Keep an invocation from continuing. Its epoch is raised, so that no attempt goes on. See `_fence`."""
    starts = {"timer": meta.due} if meta.status is Status.SCHEDULED else {}
    return t.PAUSE.move(meta, _fence(meta, stored) | _waits(meta, None) | starts)


# --- operators ---


def ending(meta: Meta, failure: Failure, times: Times, stored: int) -> Moved:
    """Stop an invocation for good, in any state. The process that does this completes it; if that dies, another one.
    See `_fence`."""
    transition = t.END_QUEUED if waits_in_inbox(meta) else t.END
    values = {"status": Status.RUNNING, "due": times.lease, "outcome": Outcome(failure=failure)}
    return transition.move(meta, _fence(meta, stored) | values)


def is_ending(meta: Meta, failure: Failure) -> bool:
    """Return True if an invocation is stopped for good, and is about to be completed with this failure."""
    return meta.status is Status.RUNNING and meta.outcome == Outcome(failure=failure)


def _fence(meta: Meta, stored: int) -> dict[str, Any]:
    """Return the values that stop every attempt.

    If one has begun, a marker is put, and before it the segment that the record holds, unless a stored one repeats it.
    ``stored`` is the number of segments that are stored.
    """
    values: dict[str, Any] = {**IDLE, "epoch": meta.epoch + 1}
    if not meta.epoch:
        return values
    values |= {"segments": stored + 1, "failed": None}
    if meta.inline_journal is not None and stored == meta.stored_segments:
        values |= {"segments": stored + 2, "inline_journal": None}
    return values


def waits_in_inbox(meta: Meta) -> bool:
    """Return True if the invocation has an entry in its key's inbox."""
    return meta.status is Status.QUEUED and meta.ticket is not None


def resumed(meta: Meta, times: Times, deployment: str | None) -> Moved:
    """Continue a paused invocation, or one that waits for its next attempt, perhaps on another deployment.

    It continues now; a delayed message only when its time comes.

    Any other invocation only moves to the deployment. Its epoch stays, so its due time has to change: that is how a
    late copy of an earlier move fails. A call that its caller looks after has none, and gets one: its caller may have
    forgotten it meanwhile.
    """
    values: dict[str, Any] = {"failures": 0, "dispatches": 0}
    if deployment is not None:
        values["deployment"] = deployment
    if meta.status not in t.RESUME.sources:
        return t.MOVE.move(meta, values | {"due": times.grace if meta.due is None else meta.due + 1})
    values["epoch"] = meta.epoch + 1  # if the attempt's last write is applied once more, it fails
    if meta.status is Status.PAUSED and (meta.timer or 0) > times.now:  # a delayed message
        return t.RESUME.move(meta, values | {"status": Status.SCHEDULED, "due": meta.timer, "timer": None})
    return t.RESUME.move(meta, values | {"status": Status.READY, "due": times.grace})


# --- after completion ---


def told(meta: Meta, now: int) -> Finish:
    """All waiters of a completed invocation have its result."""
    due = lifetimes.due_after_completion(meta) if meta.expires is not None else now + PROMISE_CHECK
    return t.TELL.finish(meta.ref, {"due": due, "waiters": 0})


def renewed(meta: Meta, begin: int) -> tuple[Meta, Update | Finish]:
    """The items of an invocation have a new time to live, which begins at a time."""
    values: dict[str, Any] = {"kept": begin + lifetimes.KEPT}
    if meta.live:
        return replace(meta, **values), t.RENEW.unread(meta.ref, values)
    values["due"] = lifetimes.due_after_completion(replace(meta, **values))
    return replace(meta, **values), t.RETAIN.finish(meta.ref, values)


def kept(ref: Ref, due: int | None) -> Finish:
    """A completed record stays until a time, as items may still be put under it."""
    return t.KEEP.finish(ref, {"due": due})


def purged(ref: Ref, now: int) -> Finish:
    """From now on a completed record is treated as absent. It is due at once, to be deleted with its items."""
    return t.PURGE.finish(ref, {"expires": now, "due": now, "kept": now})
