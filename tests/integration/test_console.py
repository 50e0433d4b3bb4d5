"""The console shows the deployed stack, through the signing proxy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.console.browser import browsing, showing


@pytest.fixture
def console(stack: Stack) -> Iterator[str]:
    """The URL with the token that `adapter console` prints."""
    environment = {**os.environ, **LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": stack.endpoint or ""}
    environment["AWS_DEFAULT_REGION"] = stack.region
    command = [sys.executable, "-m", "adapter", "console", "--stack", stack.name, "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://\S+", said)
    assert found is not None, said + process.stdout.read()
    yield found[0]
    process.terminate()
    process.wait(60)


def test_a_stack_is_seen_and_called_through_the_proxy(console: str, stack: Stack) -> None:
    key = uuid4().hex[:10]
    origin = console.partition("/console")[0]
    assert httpx.get(f"{origin}/admin/services", timeout=60).status_code == 401
    with browsing() as browser, showing(browser, origin) as page:
        page.goto(console)
        expect(page).to_have_url(f"{origin}/console")
        expect(page.get_by_role("navigation")).to_contain_text(stack.name)
        page.goto("/console/services/Counter/add")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("spinbutton").fill("7")
        curl = page.get_by_role("group", name="curl")
        expect(curl).to_contain_text(f"{stack.url}/Counter/{key}/add")
        page.get_by_role("button", name="Call", exact=True).click()
        answer = page.get_by_role("region", name="Answer")
        expect(answer.get_by_label("Body of the answer")).to_have_text("7")
        answer.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Counter/{key}/add")
        expect(page.get_by_role("group", name="Command for its logs")).to_contain_text(f"--stack {stack.name}")
        page.get_by_role("link", name=f"Counter/{key}").click()
        page.get_by_role("button", name="Edit total").click()
        page.get_by_label("Value in JSON").fill("40")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status", name="Notice")).to_contain_text("total is set.")
