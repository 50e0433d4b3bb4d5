"""How a client leaves an invocation that is suspended, and when it asks for the result again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RESPOND_SUSPENDED: Final = "respond-suspended"
"""The preference of a client that does not wait for an invocation that is suspended."""

FIRST_PAUSE: Final = 0.1
"""Seconds until a client first asks again, if the server does not say when to. Each pause doubles it."""

LONGEST_UNTOLD: Final = 2.0
"""The longest of these pauses, in seconds."""

LONGEST_PAUSE: Final = 30.0
"""The longest pause in seconds if the server says when to ask again. The invocation may end before that."""


def pause(asked: int, headers: Mapping[str, str]) -> float:
    """Return the seconds until a client asks for a result again.

    Args:
        asked: How often it has asked again.
        headers: The headers of the last response.

    >>> [pause(asked, {}) for asked in (0, 1, 9)], pause(0, {"retry-after": "3600"})
    ([0.1, 0.2, 2.0], 30.0)
    """
    wanted = retry_after(headers)
    untold = min(FIRST_PAUSE * 2 ** min(asked, 9), LONGEST_UNTOLD)
    return untold if wanted is None else min(wanted, LONGEST_PAUSE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds after which the server wants the request repeated, if it says so in whole seconds.

    >>> retry_after({"retry-after": "5"}), retry_after({"retry-after": "Fri, 27 Nov 2026 20:00:00 GMT"})
    (5.0, None)
    """
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None
