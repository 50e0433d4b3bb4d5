"""Every screen on a store of 100,000 invocations."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import showing
from tests.drills.test_many import crowded
from tests.drills.world import World
from tests.pace import answers_within_a_second

SCREENS = {
    "": "Oldest paused",
    "/invocations": "(Counter|Mailer|Shop)/",
    "/keys": "inv_",
    "/keys/Counter?key=busy": "Queue",
    "/services": "Counter",
    "/deployments": "shop:",
    "/waits": "Waits",
    "/dead-letters": "Dead letters",
}
"""Each screen, with a pattern of a text on it that comes from the server."""


@pytest.fixture(scope="module")
def many() -> Iterator[World]:
    with crowded() as world:
        yield world


def show(page: Page, path: str, text: str) -> None:
    page.goto(f"/console{path}")
    expect(page.get_by_text(re.compile(text)).first).to_be_visible()


@pytest.mark.parametrize("path", SCREENS)
def test_each_screen_is_there_within_a_second(many: World, browser: Browser, path: str) -> None:
    with showing(browser, many.url) as page:
        answers_within_a_second(lambda: show(page, path, SCREENS[path]), time.perf_counter)  # the browser's time, too


def test_keys_have_pages(many: World, browser: Browser) -> None:
    with showing(browser, many.url) as page:
        page.goto("/console/keys")
        rows = page.get_by_role("region", name="Keys").get_by_role("row")
        first = rows.nth(1).get_by_role("link").first
        key = first.inner_text()
        page.get_by_role("button", name="More").click()
        expect(first).not_to_have_text(key)
        page.get_by_role("button", name="First").click()
        expect(first).to_have_text(key)
        page.get_by_label("only with a queue").check()
        expect(rows).to_have_count(1 + 1)  # the heading and one key
        expect(first).to_have_text("Counter/busy")
