"""Checks of the arguments that contexts and clients are given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from adapter.engine.types import LONGEST, MAX_HEADERS, MAX_KEY, Failure, Outcome
from adapter.errors import TerminalError
from adapter.serde import type_name


def check_key(key: str) -> str:
    """Return the key of an object or workflow.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is empty or longer than 512 bytes of UTF-8.
    """
    return check_text("key", key, MAX_KEY)


def milliseconds(duration: timedelta, name: str) -> int:
    """Return a duration in milliseconds, rounded up.

    Raises:
        TypeError: If it is not a timedelta.
        ValueError: If it is negative, or longer than 100 years.

    >>> milliseconds(timedelta(microseconds=1500), "delay")
    2
    """
    if not isinstance(duration, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} is a timedelta, such as timedelta(seconds=5), not {type_name(type(duration))}")
    if duration < timedelta(0):
        raise ValueError(f"{name} is negative: {duration}")
    milliseconds = -(-duration // timedelta(milliseconds=1))
    if milliseconds > LONGEST:
        raise ValueError(f"{name} is longer than 100 years: {duration}")
    return milliseconds


def check_text(name: str, text: str, limit: int) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} is a string, not {type_name(type(text))}")
    size = len(check_unicode(name, text).encode())
    if not 0 < size <= limit:
        raise ValueError(f"{name} has 1 to {limit} bytes in UTF-8, not {size}")
    return text


def check_unicode(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not Unicode: it has half of a surrogate pair") from None
    return text


def check_id(id: str) -> str:
    return check_text("id", id, MAX_KEY)


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"header {name!r} is a string, not {type_name(type(value))}")
        check_unicode(f"header {name!r}", name + value)
    size = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    if size > MAX_HEADERS:
        raise ValueError(f"headers have up to {MAX_HEADERS} bytes, not {size}: put larger values into the input")
    return {name.lower(): value for name, value in headers.items()}


def rejection(message: str, code: int, metadata: Mapping[str, str] | None) -> Outcome:
    """Return a failure to complete something with.

    Raises:
        TypeError: If the message is not a string, or the metadata has something else than strings.
        ValueError: If ``code`` is not an HTTP error status, or the metadata is too large.
    """
    return Outcome(failure=Failure.of(TerminalError(message, code=code, metadata=metadata)))
