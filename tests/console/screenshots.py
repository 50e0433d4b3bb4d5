"""Makes the pictures of the documentation: ``make screenshots``."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, ViewportSize, expect

from adapter import Context, ObjectContext, Service, VirtualObject, gather, handler
from tests.console.browser import browsing, showing
from tests.drills import situations
from tests.drills.app import FIRST, OTHERS, MailerOne
from tests.drills.world import World, world

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SIZE: Final[ViewportSize] = {"width": 1120, "height": 760}


class Hotel(VirtualObject):
    @handler
    async def book(self, ctx: ObjectContext, nights: int) -> str:
        await ctx.run("ask the hotel", asyncio.sleep, 0.12)
        await ctx.run("reserve", asyncio.sleep, 0.05)
        return f"{nights} nights at {ctx.key}"


class Trip(Service):
    @handler
    async def plan(self, ctx: Context, town: str) -> str:
        await ctx.run("find flights", asyncio.sleep, 0.18)
        await gather(*(ctx.object_client(Hotel, name).book(nights) for name, nights in (("Ritz", 2), ("Inn", 5))))
        await ctx.sleep(timedelta(milliseconds=80))
        paid = ctx.awakeable(str)
        await ctx.run("ask for payment", asyncio.sleep, 0.04)
        return f"{town}: {await paid}"


def take(page: Page, name: str) -> None:
    """Save what the page shows."""
    page.mouse.move(0, 0)
    page.screenshot(path=IMAGES / f"console-{name}.png", animations="disabled")


def make(server: World) -> None:
    """Bring the server into trouble, and take a picture of every screen."""
    trip = server.send("Trip/plan", "Rome")
    situations.cross_deadlock(server)
    stuck = situations.stuck_key(server)
    situations.wrong_state(server)
    situations.failed_at_the_fifth_entry(server)
    situations.dead_letters(server)
    server.until_status(trip, "suspended")
    with browsing() as browser, showing(browser, server.url, color_scheme="light") as page:
        page.set_viewport_size(SIZE)

        def show(path: str, text: str) -> None:
            page.goto(f"/console{path}")
            expect(page.get_by_text(text).first).to_be_visible()
            page.wait_for_load_state("networkidle")

        show("/services", "virtual object")
        take(page, "services")
        show("/services/Hotel/book", "As code")
        page.get_by_label("Key", exact=True).fill("Ritz")
        page.get_by_role("spinbutton").fill("2")
        take(page, "playground")
        situations.failed_since_a_deployment(server)
        show("", "no template")
        take(page, "overview")
        show("/invocations?status=paused&status=suspended", "Mailer/send")
        take(page, "invocations")
        show(f"/invocations/{trip}", "find flights")
        page.get_by_role("button", name="Hotel/Ritz").click()
        page.get_by_role("heading", name="Journal").evaluate("title => title.scrollIntoView()")
        expect(page.get_by_text("ask the hotel")).to_be_visible()
        take(page, "journal")
        show(f"/invocations/{stuck.waits}", "Why it waits")
        take(page, "why")
        show("/keys/Cart?key=mary", "total")
        page.get_by_role("button", name="Edit total").click()
        value = page.get_by_label("Value in JSON")
        expect(value).to_have_value("14")
        value.fill("5")
        server.call("Cart/mary/add", "plum")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_label("Difference of the stored value")).to_be_visible()
        take(page, "state")
        show("/keys/Account?key=carl", "Queue")
        take(page, "key")
        show("/keys", "Account/carl")
        take(page, "keys")
        show("/deployments", "shop:2")
        take(page, "deployments")
        show("/waits", "Break it")
        expect(page.get_by_label("Graph of waits")).to_be_visible()
        take(page, "waits")
        show("/dead-letters", "throttled")
        take(page, "dead-letters")
        show("/invocations?status=live", "Mailer/send")
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.get_by_label("Preview")).to_contain_text("match")
        take(page, "bulk")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 400, "height": 760})
        show(f"/invocations/{stuck.waits}", "Why it waits")
        take(page, "narrow")


def main() -> None:
    logging.disable(logging.CRITICAL)  # the handlers fail on purpose
    IMAGES.mkdir(exist_ok=True)
    with world(FIRST, (MailerOne, *OTHERS, Trip, Hotel)) as server:
        make(server)


if __name__ == "__main__":
    main()
