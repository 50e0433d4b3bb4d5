"""What the console shows of a handler of an SDK: what its code did, and no exchanges with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import showing
from tests.console.commands import parse
from tests.drills.orders import Placed, placed, serving


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def order(url: str) -> Placed:
    return placed(url)


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with showing(browser, url) as page:
        yield page


def test_the_journal_has_what_the_code_did(page: Page, order: Placed) -> None:
    page.goto(f"/console/invocations/{order.id}")
    journal = page.get_by_role("region", name="Journal")
    for words in ("get count", "run quote", "set count", "call Stock/reserve", "sleep", "awakeable"):
        expect(journal.get_by_role("button", name=words)).to_have_count(1)
    expect(journal.get_by_role("button", name="run quote").locator("..")).to_contain_text('"7 EUR"')
    expect(page.locator("body")).not_to_contain_text("exchange", ignore_case=True)


def test_a_call_leads_to_the_invocation_that_it_made(page: Page, order: Placed) -> None:
    page.goto(f"/console/invocations/{order.id}")
    page.get_by_role("button", name="call Stock/reserve").click()
    page.locator(".details").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Stock/reserve")).to_be_visible()
    expect(page.get_by_label("Output")).to_have_text('"reserved pear"')


def test_the_state_and_the_owner_of_its_key(page: Page, order: Placed) -> None:
    page.goto(f"/console/keys/Orders?key={order.key}")
    state = page.get_by_role("region", name="State").get_by_role("listitem")
    expect(state).to_have_count(1)
    expect(state).to_contain_text("count1")
    expect(page.get_by_role("link", name="place")).to_have_attribute("href", f"/console/invocations/{order.id}")


def test_an_order_is_approved(page: Page, url: str, order: Placed) -> None:
    page.goto(f"/console/invocations/{order.id}")
    page.get_by_role("region", name="Waits for").get_by_role("button", name="Resolve or reject").click()
    page.get_by_label("Value in JSON").fill('"yes"')
    command = f"adapter awakeable resolve {order.awakeable} '\"yes\"' --url {url}"
    parse(command)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("group", name="Command")).to_have_text(command)
    dialog.get_by_role("button", name="Resolve", exact=True).click()
    expect(page.get_by_label("Output")).to_contain_text("yes")
