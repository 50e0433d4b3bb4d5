"""Results of the engine's commands, as the notifications that an SDK reads."""

from __future__ import annotations

import json

from adapter.engine import commands as c
from adapter.errors import TerminalError
from adapter.restate import messages as m


def read_bytes(value: bytes | None) -> bytes:
    """Return a result that is always there."""
    return value or b""


def read_optional(value: bytes | None) -> bytes | None:
    """Return a result as it is."""
    return value


def read_names(value: bytes | None) -> list[str]:
    """Return the names of state entries."""
    return list(json.loads(value or b"[]"))


def value(result: bytes | None) -> m.Notification:
    """Return the notification of a value."""
    return m.Notification(value=m.Value(result or b""))


def value_or_void(result: bytes | None) -> m.Notification:
    """Return the notification of a value that may be absent."""
    return void(None) if result is None else value(result)


def void(_: bytes | None) -> m.Notification:
    """Return the notification that something is done."""
    return m.Notification(void=m.Void())


def state_keys(result: bytes | None) -> m.Notification:
    """Return the notification with the names of state entries."""
    return m.Notification(state_keys=m.WireKeys([name.encode() for name in read_names(result)]))


def output_or_void(result: bytes | None) -> m.Notification:
    """Return the notification of an invocation's output, which may be still to come."""
    if result is not None and result.startswith(c.READY):
        return value(result.removeprefix(c.READY))
    if result == c.NOT_FOUND:
        return m.Notification(failure=m.WireFailure(404, "no such invocation, or it has expired"))
    return void(None)


def accepted(result: bytes | None) -> m.Notification:
    """Return the notification that a promise was completed, or was before."""
    if c.accepted(result):
        return void(None)
    return m.Notification(failure=m.WireFailure(409, "the promise was completed before"))


def failure(error: TerminalError) -> m.WireFailure:
    """Return a failure as an SDK reads it."""
    return m.WireFailure(error.code, error.message, [m.FailureMetadata(*item) for item in error.metadata.items()])
