"""`adapter dev` serves the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser import showing, violations
from tests.console.commands import parse
from tests.unit.dev import Dev

MODULE = '''
from datetime import timedelta
from typing import Literal
from pydantic import BaseModel, Field
from adapter import Context, Service, handler

class Line(BaseModel):
    item: str = Field(description="What is ordered.")
    count: int = Field(1, ge=1)

class Order(BaseModel):
    lines: list[Line]
    speed: Literal["slow", "fast"] = "slow"
    note: str | None = None

class Shop(Service):
    """Sells fruit."""

    @handler
    async def order(self, ctx: Context, order: Order) -> str:
        """Take an order."""
        names = [f"{line.count} {line.item}" for line in order.lines]
        return f"{order.speed}: {', '.join(names)} ({order.note})"

    @handler
    async def wait(self, ctx: Context) -> None:
        await ctx.sleep(timedelta(hours=1))

    @handler
    async def nap(self, ctx: Context) -> None:
        await ctx.sleep(timedelta(hours=1))

    @handler
    async def ring(self, ctx: Context) -> None:
        pass

    @handler
    async def page(self, ctx: Context) -> str:
        return await ctx.run("make", lambda: "<script>document.title = 'stolen'</script>" * 200)
'''


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("shop")
    (directory / "shop.py").write_text(MODULE)
    server = Dev(directory, "shop", "--no-reload")
    url = server.url
    server.drain()
    yield url
    server.stop()


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_a_form_is_made_from_a_models_schema(browser: Browser, url: str) -> None:
    with showing(browser, url) as page:
        page.goto("/console/services")
        page.get_by_role("link", name="order").click()
        page.get_by_role("button", name="Add").click()
        page.get_by_label("Item", exact=True).fill("pears")
        page.get_by_label("Count (optional)").fill("3")
        page.get_by_label("Speed").select_option("fast")
        page.get_by_label("has a value").check()
        page.get_by_label("Note", exact=True).fill("ripe")
        command = page.get_by_role("group", name="Command", exact=True).first.inner_text()
        assert command.endswith(f" --url {url}")
        parse(command)
        page.get_by_role("button", name="Call", exact=True).click()
        expect(page.get_by_label("Body of the answer")).to_have_text('"fast: 3 pears (ripe)"')


def test_an_input_that_is_refused_is_explained(browser: Browser, url: str) -> None:
    with showing(browser, url) as page:
        page.goto("/console/services/Shop/order")
        page.get_by_label("Input as text").check()
        page.get_by_label("Input in JSON").fill('{"lines": 1}')
        page.get_by_role("button", name="Call", exact=True).click()
        answer = page.get_by_role("region", name="Answer")
        expect(answer).to_contain_text("400")
        expect(answer.get_by_label("Body of the answer")).to_contain_text("lines")


def test_many_are_cancelled_by_a_filter_after_a_preview(browser: Browser, http: httpx.Client, url: str) -> None:
    for _ in range(120):
        http.post("/Shop/wait/send")
    with showing(browser, url) as page:
        page.goto("/console/invocations?service=Shop&handler=wait&status=live")
        page.get_by_role("button", name="Count", exact=True).click()
        expect(page.get_by_label("Number of invocations")).to_have_text("120")
        page.get_by_role("button", name="Cancel", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Preview")).to_contain_text("120 match")
        dialog.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.get_by_role("status", name="Notice")).to_contain_text("120 cancelled.")
        expect(page.get_by_text("No invocation matches.")).to_be_visible()


def test_many_are_restarted_as_often_as_it_is_asked_for(browser: Browser, http: httpx.Client, url: str) -> None:
    http.post("/Shop/nap/send")
    with showing(browser, url) as page:
        page.goto("/console/invocations?handler=nap&status=live")
        links = page.get_by_role("table").get_by_role("link", name="Shop/nap")
        expect(links).to_have_count(1)
        for count in (2, 4):
            page.get_by_role("button", name="Restart", exact=True).click()
            page.get_by_role("dialog").get_by_role("button", name="Restart", exact=True).click()
            expect(links).to_have_count(count)
        links.first.click()
        expect(page.get_by_text("Restarted from")).to_be_visible()


def test_a_page_of_invocations_leads_to_older_ones_and_back(browser: Browser, http: httpx.Client, url: str) -> None:
    for _ in range(60):
        http.post("/Shop/ring")
    with showing(browser, url) as page:
        page.goto("/console/invocations?handler=ring")
        rows = page.get_by_role("table").get_by_role("link", name="Shop/ring")
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "51")
        page.get_by_role("button", name="Older").click()
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "11")
        expect(rows).to_have_count(10)
        page.get_by_role("button", name="Latest").click()
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "51")


def test_the_log_of_an_invocation(browser: Browser, http: httpx.Client, url: str) -> None:
    id = http.post("/Shop/page").headers["x-restate-id"]
    with showing(browser, url) as page:
        page.goto(f"/console/invocations/{id}")
        page.get_by_text("Lines of this process").click()
        expect(page.get_by_label("Log lines")).to_contain_text("INFO    completed after")
        assert violations(page) == []
        parse(page.get_by_role("group", name="Command for its logs").inner_text())


def test_a_value_that_is_a_page_is_text(browser: Browser, http: httpx.Client, url: str) -> None:
    id = http.post("/Shop/page").headers["x-restate-id"]
    with showing(browser, url) as page:
        page.goto(f"/console/invocations/{id}")
        whole = page.get_by_role("link", name="All of it").first.get_attribute("href")
        assert whole is not None
        answer = http.get(whole)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert len(answer.content) > 4096
