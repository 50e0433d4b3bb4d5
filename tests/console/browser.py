"""A headless Chromium that shows the console, driven by Playwright."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools" / "browser"
AXE: Final = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
BUILT: Final = ROOT / "adapter" / "console" / "built" / "index.html"

PATIENCE: Final = 60_000
"""Milliseconds until a test gives up waiting for what has to be shown."""

expect.set_options(timeout=PATIENCE)

GRAVE: Final = ("serious", "critical")

OPTIONS: Final = (
    "--no-sandbox",  # tests may run as root, and show pages of this repository only
    "--no-zygote",
    "--disable-gpu",
)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser. Skip the test where none is installed; fail there if ``CI`` is set.

    Playwright's synchronous API leaves the thread with a running event loop, which asynchronous tests cannot use. So
    a browser is closed before the next module begins.
    """
    own = os.environ.get("CHROMIUM")  # the one of the tools runs on Linux with x86-64 only
    missing = [str(path) for path in (Path(own) if own else TOOLS / "chromium", AXE, BUILT) if not path.exists()]
    if missing:
        message = (
            f"there is no {' and no '.join(missing)}: run `make .tools/browser/.ready console`, and where its Chromium "
            "does not run, give the path of another one as CHROMIUM"
        )
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    libraries = ":".join(filter(None, [str(TOOLS / "lib"), os.environ.get("LD_LIBRARY_PATH")]))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=own or TOOLS / "chromium", args=OPTIONS, env={**os.environ, "LD_LIBRARY_PATH": libraries}
        )
        yield browser
        browser.close()


@contextmanager
def showing(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Show the console of a server. At the end the page must have raised no error, and asked no other server."""
    context: BrowserContext = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda asked: None if asked.url.startswith(url) else problems.append(f"asked {asked.url}"))
    yield page
    context.close()
    assert not problems


@cache
def _axe() -> str:
    return AXE.read_text()


def violations(page: Page) -> list[str]:
    """Return what axe finds serious or critical on a page."""
    page.evaluate(_axe())
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
