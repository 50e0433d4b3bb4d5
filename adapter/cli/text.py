"""Times, durations and values, as people write and read them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from adapter.cli.failures import Exit, Failure

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

SHORT: Final = 60
"""The most characters of a value in a table."""

STYLES: Final = {
    "running": "blue",
    "ready": "blue",
    "suspended": "cyan",
    "queued": "yellow",
    "scheduled": "cyan",
    "backing-off": "red",
    "paused": "red",
    "failed": "red",
    "killed": "red",
    "cancelled": "yellow",
    "completed": "green",
}


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit.

    >>> duration(0.012), duration(4), duration(240), duration(10800), duration(259200)
    ('12 ms', '4 s', '4 min', '3 h', '3 d')
    """
    seconds = max(seconds, 0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def instant(text: str) -> datetime:
    """Return the time that an answer of the server states."""
    return datetime.fromisoformat(text)


def age(text: str | None) -> str:
    """Return how long ago a time was; an empty text if it is not known."""
    return duration((datetime.now(UTC) - instant(text)).total_seconds()) if text else ""


def until(text: str | None) -> str:
    """Return how far ahead a time is; an empty text if it is not known."""
    return duration((instant(text) - datetime.now(UTC)).total_seconds()) if text else ""


def moment(text: str) -> str:
    """Return the time in ISO 8601 that a user means: a time, or a length of time before now.

    >>> moment("2026-01-31T12:00:00+00:00")
    '2026-01-31T12:00:00.000+00:00'

    Raises:
        Failure: If it is neither.
    """
    if (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip())) and found[2] in UNITS:
        at = datetime.now(UTC) - timedelta(seconds=float(found[1]) * UNITS[found[2]])
        return at.isoformat(timespec="milliseconds")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f"{text!r} is not a time: write a length of time, such as 30m, 2h or 1d, or an ISO 8601 time", Exit.USAGE
        ) from None
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(value: Any) -> Any:
    """Return a JSON value whose texts have no control characters: a terminal would obey them.

    >>> visible({"key": "\\x1b[2J"})
    {'key': '\\\\x1b[2J'}
    """
    match value:
        case str():
            return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
        case dict():
            return {visible(name): visible(each) for name, each in cast("dict[str, Any]", value).items()}
        case list():
            return [visible(each) for each in cast("list[Any]", value)]  # type: ignore[redundant-cast]
        case _:
            return value


def one_line(text: str) -> str:
    """Return a text for a place that is one line, such as the row of a table.

    >>> one_line("a\\nb\\tc")
    'a\\\\nb\\\\tc'
    """
    return text.replace("\n", r"\n").replace("\t", r"\t")


def plural(count: int, name: str) -> str:
    """Return a number of things.

    >>> plural(1, "invocation"), plural(3, "invocation")
    ('1 invocation', '3 invocations')
    """
    return f"{count} {name}{'' if count == 1 else 's'}"


def status(item: Any) -> str:
    """Return an invocation's status for a table: its outcome if it has one, in its color."""
    shown = item.get("outcome") or item["status"]
    return f"[{STYLES.get(shown, 'default')}]{shown}[/]"


def value(given: Any, limit: int = SHORT) -> str:
    """Return a bounded value of the admin, in one line.

    >>> value({"json": {"a": 1}}), value({"hidden": True, "size": 7}), value({"text": "abc"})
    ('{"a": 1}', '(hidden, 7 bytes)', "'abc'")
    """
    if given is None:
        return ""
    if given.get("size") == 0:
        return "nothing"
    if given.get("hidden"):
        return f"(hidden, {given.get('size', '?')} bytes)"
    if "json" in given:
        text = json.dumps(given["json"], ensure_ascii=False)
    elif "text" in given:
        text = repr(given["text"])
    elif "base64" in given:
        text = f"base64 {given['base64']}"
    else:
        return ""
    cut = limit and len(text) > limit
    return text[: limit - 1] + "…" if cut else text + (" …" if given.get("truncated") else "")


def json_or_file(text: str) -> bytes:
    """Return the bytes that an argument means: JSON, ``@FILE``, or ``-`` for standard input.

    Raises:
        Failure: If it is none of these.
    """
    import sys
    from pathlib import Path

    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise Failure(f"{text[1:]} cannot be read: {error.strerror}", Exit.USAGE) from None
    try:
        json.loads(text)
    except ValueError:
        quoted = json.dumps(text, ensure_ascii=False)
        raise Failure(
            f"the value is not JSON. For this text write '{quoted}'; @FILE reads a file, - standard input", Exit.USAGE
        ) from None
    return text.encode()


def is_json(data: bytes) -> bool:
    """Return True if the bytes are a JSON document."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
