"""The page of costs says what is counted."""

from __future__ import annotations

import pytest

from bench.costs import PAGE, page


@pytest.fixture
def no_looks_for_cancellations() -> None:
    """Count them too: the page is of a clock that does not depend on the machine."""


async def test_the_page_of_costs_is_as_counted() -> None:
    assert PAGE.read_text() == await page(), "run `python -m bench.costs`"
