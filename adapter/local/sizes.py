"""What items weigh and cost in DynamoDB: records' sizes as items, and the capacity units that follow from them.

The sizes are `DynamoDB's <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>`_
for the items as `adapter.aws.tables` lays them out, within a few bytes; the contract tests compare.
"""

from __future__ import annotations

from typing import Final

from adapter.aws.attributes import write_calling
from adapter.engine.records import (
    Calling,
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Record,
    StateEntry,
    Waiter,
)
from adapter.engine.types import ObjectKey, Outcome

INDEX_ENTRY: Final = 150
"""Bytes of an entry of an index, about."""


def units(bytes: int, unit: int) -> int:
    """Return the capacity units for so many bytes, of so many each."""
    return -(-bytes // unit)


def _text(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


def _key(key: ObjectKey) -> int:
    return len(key.service) + 1 + _text(key.key)


def _outcome(outcome: Outcome) -> int:
    bytes = 10
    if outcome.value is not None:
        bytes += 6 + len(outcome.value)
    if outcome.failure is not None:
        failure = outcome.failure
        bytes += 16 + _text(failure.message)
        if failure.metadata:
            bytes += 12 + sum(_text(name) + _text(text) + 2 for name, text in failure.metadata.items())
        if failure.reason:
            bytes += 8 + len(failure.reason)
    return bytes


def _meta(meta: Meta) -> int:
    target, parent = meta.target, meta.parent
    bytes = 180 + 2 * len(target.service) + len(target.handler) + len(meta.kind) + len(meta.status)
    if target.key is not None:
        bytes += 1 + _text(target.key)
    if meta.deployment:
        bytes += 10 + len(meta.deployment)
    if parent is not None:
        bytes += 80 + len(parent.service) + len(parent.deployment)
    if meta.sender is not None:
        bytes += 59
    if meta.headers:
        bytes += 9 + sum(_text(name) + _text(value) + 6 for name, value in meta.headers.items())
    if meta.input is not None:
        bytes += 5 + len(meta.input)
    if meta.error is not None:
        bytes += 5 + _text(meta.error)
    if meta.failed is not None:
        bytes += 14
    if meta.due is not None:
        bytes += 21
    if meta.outcome is not None:
        bytes += _outcome(meta.outcome)
    if meta.ended is not None:
        bytes += 5 + len(meta.ended)
    if meta.inline_journal is not None:
        bytes += 4 + _text(meta.inline_journal)
    if meta.completed is not None:
        bytes += 17
    if meta.expires is not None:
        bytes += 24
    if meta.kept is not None:
        bytes += 12
    if meta.awaiting is not None:
        bytes += 20 + sum(14 + 4 * len(leaf.ranges) + len(leaf.id) for leaf in meta.awaiting.root.leaves)
    bytes += _calling(meta.calling)
    if meta.copied:
        bytes += 8 + sum(62 + len(str(each.before)) for each in meta.copied)
    if meta.idempotent:
        bytes += 11
    if meta.idempotency_key is not None:
        bytes += 15 + _text(meta.idempotency_key)
    if meta.journal_expires is not None:
        bytes += 15
    if meta.output_name:
        bytes += 11 + len(meta.output_name)
    if meta.ticket is not None:
        bytes += 34
    if meta.timer is not None:
        bytes += 14
    for number in (meta.input_parts, meta.failures, meta.wake_after, meta.seen, meta.dispatches, meta.output_parts):
        if number:
            bytes += 11
    return bytes


def _calling(calling: Calling | None) -> int:
    return 7 + _text(write_calling(calling)) if calling is not None else 0


def size(record: Record) -> int:
    """A record's size as an item, in bytes, within a few."""
    match record:
        case Meta():
            return _meta(record)
        case JournalSegment():
            return 112 + _text(record.data) + _calling(record.calling)
        case Notification():
            return 115 + _text(record.id) + _outcome(record.outcome) + (5 + _text(record.parts) if record.parts else 0)
        case Part():
            return 73 + _text(record.name) + len(record.data) + (9 if record.ttl is not None else 0)
        case Waiter():
            return 134 + len(record.service) + len(record.deployment)
        case Head():
            bytes = 50 + _key(record.key) + (58 if record.owner else 0) + (7 if record.queued else 0)
            if record.state_generation:
                bytes += 32
            if record.state:
                bytes += 8 + sum(1 + _text(name) + len(value) for name, value in record.state.items())
            return bytes
        case InboxEntry():
            return 94 + _key(record.key)
        case StateEntry():
            blob = 67 if record.blob is not None else 0
            return 31 + _key(record.key) + _text(record.name) + len(record.value) + blob
