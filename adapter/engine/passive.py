"""The life of records without code: promises, the payloads of large state entries, state that is no longer used.

As in `adapter.engine.lifecycle`, each function returns the change of one transition.
"""

from __future__ import annotations

from typing import Any

from adapter.engine import transitions as t
from adapter.engine.ids import garbage_id, new_generation
from adapter.engine.lifetimes import DAY
from adapter.engine.ports import Create, Finish, Update
from adapter.engine.records import Meta, Ref, Status, ending_of
from adapter.engine.transitions import OPEN_CHECK, PROMISE_CHECK, Moved, Times
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome, Target
from adapter.frozen import replace

# --- promises --------------------------------------------------------------------------------------------------------


def opened(id: str, target: Target, now: int) -> Create:
    """Create a promise's record."""
    due = now + OPEN_CHECK
    meta = Meta(id, new_generation(), target, kind=Kind.SHARED, status=Status.SUSPENDED, created=now, due=due)
    return Create(meta, now)


def kept_promise(meta: Meta, outcome: Outcome, now: int, *, output_parts: int = 0, output_name: str = "") -> Moved:
    """Complete a promise. Its waiters are notified after that; it is due until they are."""
    values: dict[str, Any] = {"status": Status.COMPLETED, "outcome": outcome, "completed": now, "epoch": 1}
    values |= {"due": now if meta.waiters else meta.due, "ended": ending_of(outcome)}
    if output_parts:
        values |= {"output_parts": output_parts, "output_name": output_name}
    return t.KEEP_PROMISE.move(meta, values)


def ended_promise(meta: Meta, now: int) -> tuple[Meta, Update | Finish]:
    """Give up a promise whose workflow is over, and let it expire."""
    values: dict[str, Any] = {"expires": now, "due": now}
    if not meta.live:
        return replace(meta, **values), t.PURGE.finish(meta.ref, values)
    failure = Failure(410, f"{meta.target.object} is over, and its promise was not completed")
    outcome = Outcome(failure=failure)
    values |= {"status": Status.COMPLETED, "completed": now, "outcome": outcome, "ended": ending_of(outcome)}
    return t.CHECK_PROMISE.move(meta, values)


def checked_promise(meta: Meta, now: int, expires: int | None) -> Update | Finish:
    """Check a promise again later, and no later than its workflow's state expires."""
    later = now + (OPEN_CHECK * 2 ** min(meta.dispatches, 5) if meta.live else PROMISE_CHECK)
    if expires is not None:  # a day before that its workflow may turn out to start only later
        later = min(later, expires - DAY if expires - DAY > now else expires)
    values = {"dispatches": meta.dispatches + 1, "due": later}
    return t.CHECK_PROMISE.update(meta, values) if meta.live else t.KEEP.finish(meta.ref, values)


# --- large payloads, and state that is no longer used ----------------------------------------------------------------


def stored_ahead(ref: Ref, target: Target, times: Times) -> Create:
    """Create the record of a state entry's payload that is put ahead of a commit."""
    meta = Meta(*ref, target, Kind.SHARED, Status.SUSPENDED, created=times.now, due=times.lease)
    return Create(meta, times.now)


def pointed_at(ref: Ref, now: int) -> Update:
    """The commit points at a payload that was put ahead. It requires that the payload was not given up."""
    return t.POINT.unread(ref, {"status": Status.COMPLETED, "completed": now, "due": None})


def given_up(meta: Meta, now: int) -> Moved:
    """No commit pointed at a payload in time. None can from now on."""
    return t.GIVE_UP.move(meta, {"status": Status.COMPLETED, "completed": now, "expires": now})


def garbage(key: ObjectKey, state_generation: str, times: Times) -> Create:
    """Create the record that has the entries of an old generation of a key's state deleted."""
    target = Target(key.service, "state", key.key)
    meta = Meta(garbage_id(), state_generation, target, Kind.SHARED, Status.COMPLETED, created=times.now)
    return Create(replace(meta, completed=times.now, due=times.grace), times.now)


def collected(ref: Ref, now: int) -> Finish:
    """What the record of unused items named is deleted."""
    return t.KEEP.finish(ref, {"expires": now})
