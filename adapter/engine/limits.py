"""Limits of the values that handlers produce."""

from __future__ import annotations

from adapter.engine import commands as c
from adapter.engine.types import MAX_PAYLOAD, Failure, Outcome


def refusal(command: c.Command) -> Failure | None:
    """Return why a command is refused: its value is too large."""
    match command:
        case c.SetState(name, data):
            return oversize(f"state entry {name!r}", data)
        case c.SendSignal(_, name, outcome):
            return oversize(f"signal {name!r}", outcome.value)
        case c.Complete(id, outcome):
            return oversize(f"the result of awakeable {id}", outcome.value)
        case c.CompletePromise(name, outcome):
            return oversize(f"the result of promise {name!r}", outcome.value)
        case _:
            return None


def oversize(what: str, data: bytes | None) -> Failure | None:
    """Return the failure of a value that is too large."""
    size = len(data or b"")
    return Failure(413, f"{what} has {size} bytes; the most is {MAX_PAYLOAD}") if size > MAX_PAYLOAD else None


def bounded(outcome: Outcome, what: str) -> Outcome:
    """Return the outcome, or a failure if its value is too large."""
    failure = oversize(what, outcome.value)
    return outcome if failure is None else Outcome(failure=failure)
