"""The drills of docs/guides/operating.md, in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import showing
from tests.console.commands import parse
from tests.drills import situations
from tests.drills.app import Report
from tests.drills.world import World
from tests.drills.world import world as served


@pytest.fixture
def world() -> Iterator[World]:
    with served() as world:
        yield world


@pytest.fixture
def page(browser: Browser, world: World) -> Iterator[Page]:
    with showing(browser, world.url) as page:
        yield page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def confirm(page: Page, name: str, command: str) -> None:
    """Press the dialog's button, if the dialog shows this command and the command line takes it."""
    parse(command)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("group", name="Command")).to_have_text(command)
    dialog.get_by_role("button", name=name, exact=True).click()
    expect(dialog).to_have_count(0)


def told(page: Page, text: str) -> None:
    expect(page.get_by_role("status", name="Notice")).to_contain_text(text)


def test_a_cross_deadlock_is_unblocked(page: Page, world: World) -> None:
    crossed = situations.cross_deadlock(world)
    page.goto("/console/waits")
    expect(page.get_by_label("Graph of waits").get_by_role("link")).to_have_count(4)
    card = page.get_by_role("region", name="Deadlock")
    expect(card).to_contain_text("Account/ann → Account/bob → Account/ann")
    press(page, "Break it: cancel the youngest")
    press(page.get_by_role("dialog"), "Cancel")
    expect(page.get_by_text("There is no deadlock.")).to_be_visible()
    for id in crossed:
        world.until_status(id, "completed")


def test_what_failed_since_a_deployment_is_resumed_on_the_fixed_version(page: Page, world: World) -> None:
    ids = situations.failed_since_a_deployment(world)
    situations.fix(world)
    page.goto("/console")
    page.get_by_role("link", name="3 paused").click()
    page.get_by_label("Deployment", exact=True).fill("shop:2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("no template for Ann")).to_be_visible()
    press(page, "Resume")
    expect(page.get_by_role("dialog").get_by_label("Preview")).to_contain_text("3 match")
    page.get_by_role("dialog").get_by_role("combobox").select_option("latest")
    confirm(page, "Resume", "adapter inv resume --status paused --on shop:2 --deployment latest")
    told(page, "3 resumed.")
    for id in ids:
        assert world.until_status(id, "completed")["deployment"] == "shop:3"


def test_why_a_key_is_stuck(page: Page, world: World) -> None:
    stuck = situations.stuck_key(world)
    page.goto("/console/keys")
    page.get_by_role("link", name="Account/carl").click()
    page.get_by_role("region", name="Queue").get_by_role("link").click()
    why = page.get_by_role("region", name="Why it waits")
    expect(why.get_by_role("listitem")).to_have_count(3)
    cause = why.get_by_role("listitem").last
    expect(cause).to_contain_text("the bank is down")
    cause.get_by_role("link").click()
    press(page, "Kill")
    confirm(page, "Kill", f"adapter inv kill {stuck.cause}")
    for id in (stuck.owner, stuck.waits):
        world.until_status(id, "completed")


def test_state_is_edited_and_a_conflict_shown(page: Page, world: World) -> None:
    situations.wrong_state(world)
    page.goto("/console/keys/Cart?key=mary")
    press(page, "Edit total")
    value = page.get_by_label("Value in JSON")
    expect(value).to_have_value("14")
    value.fill("5")
    world.call("Cart/mary/add", "plum")
    dialog = page.get_by_role("dialog")
    press(dialog, "Save")
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_label("Difference of the stored value")).to_have_text("\N{MINUS SIGN} 21+ 5")
    press(dialog, "Overwrite")
    told(page, "total is set.")
    state = world.http.get("/admin/services/Cart/state", params={"key": "mary", "name": "total"})
    assert state.json() == 5


def test_an_entry_of_the_state_is_added_and_cleared(page: Page, world: World) -> None:
    page.goto("/console/keys/Cart?key=mary")
    press(page, "Add an entry")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("number")
    dialog.get_by_label("Value in JSON").fill("12345678901234567890")
    press(dialog, "Save")
    told(page, "number is set.")
    state = world.http.get("/admin/services/Cart/state", params={"key": "mary", "name": "number"})
    assert state.text == "12345678901234567890"
    press(page, "Edit number")
    expect(dialog.get_by_label("Value in JSON")).to_have_value("12345678901234567890")
    dialog.get_by_label("Value in JSON").fill("{")
    press(dialog, "Save")
    expect(dialog.get_by_role("alert")).to_contain_text("not JSON")
    press(dialog, "Clear")
    told(page, "number is cleared.")
    expect(page.get_by_text("No state.")).to_be_visible()


def test_an_awakeable_is_resolved(page: Page, world: World) -> None:
    waiting = situations.waiting_awakeable(world)
    page.goto(f"/console/invocations/{waiting.id}")
    page.get_by_role("region", name="Waits for").get_by_role("button", name="Resolve or reject").click()
    page.get_by_label("Value in JSON").fill('"yes"')
    confirm(page, "Resolve", f"adapter awakeable resolve {waiting.awakeable} '\"yes\"'")
    expect(page.get_by_label("Output")).to_have_text('"120: yes"')
    assert world.shown(waiting.id)["status"] == "completed"


def test_an_awakeable_is_rejected(page: Page, world: World) -> None:
    waiting = situations.waiting_awakeable(world)
    page.goto(f"/console/invocations/{waiting.id}")
    page.get_by_role("button", name="awakeable").click()
    page.locator(".details").get_by_role("button", name="Resolve or reject").click()
    page.get_by_label("Reject with a message").check()
    page.get_by_label("Message", exact=True).fill("too much")
    confirm(page, "Reject", f"adapter awakeable reject {waiting.awakeable} 'too much'")
    expect(page.get_by_text("too much").first).to_be_visible()
    world.until_status(waiting.id, "completed")


def test_the_dead_letters_are_emptied(page: Page, world: World) -> None:
    id = situations.dead_letters(world)
    page.goto("/console/dead-letters")
    expect(page.get_by_text("throttled for six hours")).to_have_count(2)
    expect(page.get_by_role("link", name=id[:12]).first).to_be_visible()
    press(page, "Purge all")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("About 2 messages")
    confirm(page, "Purge all", "adapter dead-letters purge")
    expect(page.get_by_text("There are no dead letters.")).to_be_visible()
    assert world.shown(id)["status"] == "suspended"


def test_a_promise_is_rejected_before_its_workflow_runs(page: Page, world: World) -> None:
    page.goto("/console/keys/Approval?key=o9")
    press(page, "Complete a promise")
    page.get_by_label("Name", exact=True).fill("paid")
    page.get_by_label("Reject with a message").check()
    page.get_by_label("Message", exact=True).fill("no money")
    confirm(page, "Reject", "adapter promise reject Approval o9 paid 'no money'")
    expect(page.get_by_role("region", name="Promises")).to_contain_text("no money")


def test_a_signal_is_sent(page: Page, world: World) -> None:
    crossed = situations.cross_deadlock(world)
    page.goto(f"/console/invocations/{crossed.ann}")
    press(page, "Signal")
    page.get_by_label("Name", exact=True).fill("later")
    page.get_by_label("Value in JSON").fill('{"a": 1}')
    confirm(page, "Resolve", f"""adapter signal {crossed.ann} later '{{"a": 1}}'""")
    told(page, "Resolved.")


def test_a_restart_from_the_fifth_entry(page: Page, world: World) -> None:
    failed = situations.failed_at_the_fifth_entry(world)
    page.goto(f"/console/invocations/{failed}")
    page.get_by_role("button", name="print").click()
    press(page, "Restart from here")
    confirm(page, "Restart", f"adapter inv restart {failed} --from 4")
    expect(page.get_by_label("Output")).to_contain_text("2026: collect, sort, sum, draw")
    assert failed not in page.url
    assert set(Report.steps.values()) == {1}


def test_an_old_version_is_removed_once_nothing_runs_on_it(page: Page, world: World) -> None:
    sleeping = situations.old_version(world)
    page.goto("/console/deployments")
    row = page.get_by_role("row", name="shop:1")
    expect(row).to_contain_text("in use: 1 live")
    row.get_by_role("link", name="1").click()
    page.get_by_role("link", name="Reminder/remind").click()
    press(page, "Cancel")
    confirm(page, "Cancel", f"adapter inv cancel {sleeping}")
    page.goto("/console/deployments")
    press(page, "Remove shop:1")
    confirm(page, "Remove", "adapter deployments remove shop:1")
    expect(page.get_by_role("row", name="shop:1")).to_have_count(0)
    assert not any(
        each["deployment"] == "shop:1" for each in world.http.get("/admin/deployments").json()["deployments"]
    )
