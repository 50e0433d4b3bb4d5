"""Records as the admin shows them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from adapter.engine.awaiting import INVOCATIONS, TIMER, Leaf, Node
from adapter.engine.records import Meta, Status
from adapter.engine.types import Failure, RetryPolicy, span
from adapter.http.admin import models as m
from adapter.http.messages import show_failure

T = TypeVar("T", bound=Mapping[str, Any])

MOST_SHOWN: Final = 4096
"""The most bytes of a value that an answer holds. A larger one is cut, with a link to the whole."""


def time(milliseconds: int) -> str:
    """Return a time in milliseconds as ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def optional_time(milliseconds: int | None) -> str | None:
    """Return a time as ISO 8601, if there is one."""
    return None if milliseconds is None else time(milliseconds)


def without_none(**values: Any) -> dict[str, Any]:
    """Return the values that are not ``None``."""
    return {name: value for name, value in values.items() if value is not None}


def value(data: bytes, href: str | None = None) -> m.Value:
    """Return bytes for people to look at, cut if they are many.

    >>> value(b'{"a": 1}'), value(b"plain"), value(bytes([255]))
    ({'json': {'a': 1}, 'size': 8}, {'text': 'plain', 'size': 5}, {'base64': '/w==', 'size': 1})
    """
    shown: m.Value
    if len(data) <= MOST_SHOWN:
        shown = cast("m.Value", _whole(data))
    else:
        cut = data[:MOST_SHOWN]
        text = cut.decode(errors="ignore")
        binary = len(cut) - len(text.encode()) > 3  # else a character was cut at most
        shown = {"base64": base64.b64encode(cut).decode()} if binary else {"text": text}
    shown["size"] = len(data)
    if len(data) > MOST_SHOWN:
        shown["truncated"] = True
        if href is not None:
            shown["href"] = href
    return shown


def plain(data: bytes) -> Any:
    """Return bytes as the JSON that they are, or as ``{"text": …}`` or ``{"base64": …}``."""
    whole = _whole(data)
    return whole.get("json", whole)


def _whole(data: bytes) -> dict[str, Any]:
    try:
        return {"json": json.loads(data, parse_constant=_refuse)} if data else {"text": ""}
    except (ValueError, RecursionError):
        pass
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def failure(failed: Failure) -> m.Failure:
    """Return a failure."""
    return cast("m.Failure", show_failure(failed))


def summary(meta: Meta, now: int) -> m.Summary:
    """Return an invocation as lists have it."""
    target = meta.target
    shown = without_none(
        id=meta.id,
        target=str(target),
        service=target.service,
        key=target.key,
        handler=target.handler,
        kind=str(meta.kind),
        status=str(meta.status),
        outcome=str(meta.ended) if meta.ended is not None else None,
        created=time(meta.created),
        completed=optional_time(meta.completed),
        due=optional_time(meta.due if meta.live else None),
        deployment=meta.deployment or None,
        attempts=meta.epoch,
        failures=meta.failures,
        error=meta.error if meta.live else None,
        waits_for=waits_for(meta, now),
        parent=meta.parent.ref.id if meta.parent else None,
        sender=meta.sender.id if meta.sender else None,
        restarted_from=meta.copied[-1].ref.id if meta.copied else None,
    )
    return cast("m.Summary", shown)


def waits_for(meta: Meta, now: int) -> str | None:
    """Return in a few words what an invocation waits for, as far as its record tells."""
    match meta.status:
        case Status.SCHEDULED:
            return f"its time{_until(meta.due, now)}"
        case Status.QUEUED:
            return f"the key {meta.target.object}"
        case Status.READY:
            return "an attempt to begin"
        case Status.SUSPENDED:
            return _suspended(meta, now) or None
        case Status.BACKING_OFF:
            return f"the next attempt{_until(meta.due, now)}"
        case Status.PAUSED:
            return "an operator"
        case Status.RUNNING | Status.COMPLETED:
            return None


OR_BEFORE: Final = " or before that "
"""What stands between a timer and its alternatives."""


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _suspended(meta: Meta, now: int) -> str:
    if meta.awaits is not None:
        return _awaited(meta.awaits, now)
    # The first code of this layout stored only the number of results and the time.
    lacks = max(0, meta.wake_after + 1 - meta.notifications) if meta.wake_after is not None else 0
    parts = [f"a timer{_until(meta.timer, now)}"] if meta.timer is not None else []
    return OR_BEFORE.join(parts + ([_plural(lacks, "result")] if lacks else []))


def _awaited(node: Node, now: int) -> str:
    """Return a tree in words.

    >>> calls, signal = Leaf("call", (0, 2)), Leaf("signal", (3, 3))
    >>> _awaited(Node(False, (Leaf("sleep", (4, 4), until=5000), Node(True, (calls, signal)))), 0)
    'a timer in 5.0 s or before that (3 invocations and 1 signal)'
    """
    counts: dict[str, int] = {}
    nested: list[str] = []
    for part in node.parts:
        if isinstance(part, Node):
            nested.append(f"({_awaited(part, now)})")
        elif part.kind != TIMER:
            name = "invocation" if part.kind in INVOCATIONS else part.kind
            counts[name] = counts.get(name, 0) + part.size
    timers = [
        f"a timer{_until(part.until, now)}" for part in node.parts if isinstance(part, Leaf) and part.kind == TIMER
    ]
    parts = timers + [_plural(count, name) for name, count in counts.items()] + nested
    return (" and " if node.all else OR_BEFORE if timers else " or ").join(parts)


def _until(at: int | None, now: int) -> str:
    return "" if at is None else f" in {span(at - now)}" if at > now else ", which has come"


def retry(policy: RetryPolicy) -> m.Retry:
    """Return a retry policy."""
    shown = without_none(
        max_attempts=policy.attempts,
        initial_ms=round(policy.initial.total_seconds() * 1000),
        factor=policy.factor,
        max_ms=round(policy.maximum.total_seconds() * 1000),
        exhausted=policy.exhausted,
    )
    return cast("m.Retry", shown)
