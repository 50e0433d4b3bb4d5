"""Delays as clients write them: ``10s``, ``1h 30m``, ``1500ms``, or in ISO 8601, ``PT10S``.

A number alone is one of milliseconds: so Restate's Python client writes them.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

from adapter.engine.types import LONGEST

_MILLISECONDS: Final = {
    unit: Decimal(milliseconds)
    for milliseconds, units in {
        "0.000001": "ns nsec nanos",
        "0.001": "us usec micros",
        "1": "ms msec millis",
        "1000": "s sec secs second seconds",
        "60000": "m min mins minute minutes",
        "3600000": "h hr hrs hour hours",
        "86400000": "d day days",
        "604800000": "w week weeks",
    }.items()
    for unit in units.split()
}

_MILLISECONDS_ALONE: Final = re.compile(r"\d{1,18}", re.ASCII)
_SPAN: Final = re.compile(r"(\d{1,18})\s*([a-z]+)\s*", re.ASCII)
_SPANS: Final = re.compile(rf"({_SPAN.pattern})+", re.ASCII)
_NUMBER: Final = r"\d{1,18}(?:[.,]\d{1,9})?"
_ISO: Final = re.compile(
    rf"P(?=.)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.ASCII | re.IGNORECASE,
)


def parse_delay(text: str) -> int:
    """Read a delay. Years and months are refused: they are not of one length.

    Returns:
        Milliseconds, rounded up.

    Raises:
        ValueError: If it is none, negative, or longer than a hundred years.

    >>> parse_delay("10s"), parse_delay("1h 30m"), parse_delay("1500ms"), parse_delay("PT0.5S"), parse_delay("250")
    (10000, 5400000, 1500, 500, 250)
    """
    spans: list[tuple[str, str]]
    if iso := _ISO.fullmatch(text):
        spans = [(number, unit) for number, unit in zip(iso.groups(), "wdhms", strict=True) if number]
    elif _MILLISECONDS_ALONE.fullmatch(text):
        spans = [(text, "ms")]
    elif _SPANS.fullmatch(text):
        spans = _SPAN.findall(text)
    else:
        spans = []
    if not spans or any(unit not in _MILLISECONDS for _, unit in spans):
        raise ValueError(
            f"delay is a duration such as 10s, 1h 30m, 1500ms or PT10S, or milliseconds, and not negative; not {text!r}"
        )
    total = sum((Decimal(number.replace(",", ".")) * _MILLISECONDS[unit] for number, unit in spans), Decimal(0))
    if total > LONGEST:
        raise ValueError(f"delay is at most 100 years, not {text!r}")
    return int(total.to_integral_value(ROUND_CEILING))
