"""The page of costs says what is counted."""

from __future__ import annotations

from bench.costs import PAGE, page


async def test_the_page_of_costs_is_as_counted() -> None:
    assert PAGE.read_text() == await page(), "run `python -m bench.costs`"
