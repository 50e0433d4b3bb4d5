"""How long DynamoDB keeps the items that belong to an invocation: journal segments, notifications, parts of payloads.

Each of these items has a time to live, after which DynamoDB deletes it for nothing, days late and in no order. The
attribute is set when the item is put, before anyone knows how long the invocation will live. The record therefore knows
until when all of its items are kept, and while the invocation lives, or its result is retained, it is due for a renewal
before that. Reads go by the record alone: an item of an expired record is absent, whether it is still stored or not.

Waiters have no time to live, because the fan-out deletes them, nor have the parts of promises and of large state
entries, which live as long as a key does.
"""

from __future__ import annotations

from adapter.engine.records import Meta
from adapter.engine.types import Kind

DAY = 24 * 3600 * 1000

KEPT = 30 * DAY
"""How long an item is kept after it was put or renewed, in milliseconds."""

RENEWAL = 15 * DAY
"""How long before the end of that its record is due for a renewal. A sweeper may stand still for so long."""

CLOCKS = 60
"""Seconds that are added to a time to live, because clocks differ."""

RECORD_KEPT = 7 * DAY
"""How long a record is kept after it has expired, in milliseconds. A reader still finds that it has expired."""


def time_to_live(now: int) -> int:
    """Return the time to live of an item that is put now, in seconds since the epoch."""
    return (now + KEPT) // 1000 + CLOCKS


def record_time_to_live(expires: int) -> int:
    """Return the time to live of a completed invocation's record, in seconds since the epoch."""
    return (expires + RECORD_KEPT) // 1000


def kept_until(meta: Meta) -> int:
    """Return the time in milliseconds until which all items of an invocation are kept."""
    return meta.created + KEPT if meta.kept is None else meta.kept


def renew_at(meta: Meta) -> int:
    """Return the time in milliseconds at which a live invocation is due for a renewal."""
    return kept_until(meta) - RENEWAL


def is_lost(meta: Meta, now: int) -> bool:
    """Return True if DynamoDB may have deleted a part of a journal, because nothing renewed it in time."""
    return meta.epoch > 0 and kept_until(meta) <= now


def is_kept(meta: Meta) -> bool:
    """Return True if the items of a completed invocation are kept until it expires. Their time to live deletes them."""
    return meta.id.startswith("inv_") and meta.expires is not None and kept_until(meta) > meta.expires


def due_after_completion(meta: Meta) -> int | None:
    """Return when the sweeper acts on a completed invocation: to renew its items, or to clear a workflow's state."""
    if meta.expires is None or (is_kept(meta) and meta.kind is not Kind.WORKFLOW):
        return None
    return meta.expires if is_kept(meta) else min(meta.expires, renew_at(meta))


def kept_when_scheduled(meta: Meta) -> int | None:
    """Return the record's field ``kept`` for an invocation that starts at its due time, which may be far away."""
    return None if meta.due is None or meta.due <= renew_at(meta) else meta.due + KEPT


def next_attempt(meta: Meta, at: int) -> dict[str, int | None]:
    """Return the fields of an invocation that waits for its next attempt, perhaps for so long that it is renewed
    before."""
    renewal = renew_at(meta)
    return {"due": at, "timer": None} if at <= renewal else {"due": renewal, "timer": at}
