"""The page of costs says what is counted. Ours meet their prices, and cost less than a durable function's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest

from bench.costs import PAGE, WORK, Bill, Work, bills, durable, page
from bench.prices import MILLION
from bench.targets import PRICES

DEARER: Final = {
    "sleep of 5 s with a client that waits",
    "sleep of 5 s, with a client that prefers to wait for 1 s",
}
"""Cases in which a process waits with its client, which a durable function needs no process for."""


@pytest.fixture
def no_looks_for_cancellations() -> None:
    """Count them too: the page is of a clock that does not depend on the machine."""


@pytest.fixture(scope="module")
def counted() -> Mapping[Work, Bill]:
    return asyncio.run(bills())


def test_the_page_of_costs_is_as_counted(counted: Mapping[Work, Bill]) -> None:
    assert PAGE.read_text() == page(counted), "run `python -m bench.costs`"


@pytest.mark.parametrize("case", PRICES)
def test_a_price_meets_its_target(counted: Mapping[Work, Bill], case: str) -> None:
    (price,) = (bill.million for work, bill in counted.items() if work.case == case)
    assert price <= PRICES[case]


@pytest.mark.parametrize("work", [work for work in WORK if work.operations is not None], ids=lambda work: work.case)
def test_a_durable_function_costs_more(counted: Mapping[Work, Bill], work: Work) -> None:
    theirs = durable(work)
    assert theirs is not None
    assert (counted[work].million < theirs * MILLION) == (work.case not in DEARER)
