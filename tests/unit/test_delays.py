"""Delays as clients write them."""

from __future__ import annotations

import pytest

from adapter.http.delays import LONGEST, parse_delay


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0),
        ("10s", 10_000),
        ("1500ms", 1_500),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("2days 3 hours", 183_600_000),
        ("1us", 1),
        ("1w", 604_800_000),
        ("PT10S", 10_000),
        ("pt10s", 10_000),
        ("PT0.0001S", 1),
        ("PT1,5S", 1_500),
        ("P1D", 86_400_000),
        ("P1DT2H3M4S", 93_784_000),
        ("P2W", 1_209_600_000),
        (f"{LONGEST}ms", LONGEST),
        ("250", 250),
    ],
)
def test_delays(text: str, milliseconds: int) -> None:
    assert parse_delay(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "10 ",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "10x",
            "\uff11s",
            "\uff11",
            "1.5",
            f"{LONGEST + 1}ms",
            "9" * 400 + "s",
        ),
        *("P", "PT", "P1Y", "P1M", "-PT1S", "PT-1S", "PT1S "),
    ],
)
def test_what_is_no_delay(text: str) -> None:
    with pytest.raises(ValueError, match="delay is"):
        parse_delay(text)
