"""The console's pages are served with a strict policy, and their absence is explained."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from adapter import Context, Service, handler
from adapter.console.pages import Pages
from adapter.definitions import DefinitionError
from adapter.local.guard import Guard
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry


def client(app: Pages | Guard, url: str = "http://localhost:8080") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<h1>Console</h1>")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-1.js").write_text("start()")
    (tmp_path.parent / "secret.txt").write_text("secret")
    return tmp_path


@pytest.fixture
def pages(built: Path) -> Pages:
    return Pages(lambda _: "", built=built)


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/invocations/inv_1", "/console/a.b"])
async def test_every_screen_is_the_same_page(pages: Pages, path: str) -> None:
    async with client(pages) as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.text) == (200, "<h1>Console</h1>")
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_an_asset_is_kept_by_the_browser(pages: Pages) -> None:
    async with client(pages) as http:
        answer = await http.get("/console/assets/index-1.js")
    assert answer.text == "start()"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["none.js", "", "../index.html", "..%2Findex.html", "%2E%2E/%2E%2E/secret.txt", "/etc/passwd"]
)
async def test_no_other_file_is_served(pages: Pages, name: str) -> None:
    async with client(pages) as http:
        answer = await http.get(f"http://localhost:8080/console/assets/{name}")
    assert "secret" not in answer.text
    assert answer.status_code == 404 or answer.text == "<h1>Console</h1>"


async def test_pages_are_not_posted_to(pages: Pages) -> None:
    async with client(pages) as http:
        assert (await http.post("/console")).status_code == 405


async def test_an_installation_without_pages_says_how_to_get_them(tmp_path: Path) -> None:
    async with client(Pages(lambda _: "", built=tmp_path / "none")) as http:
        answer = await http.get("/console")
    assert answer.status_code == 503
    assert "make console" in answer.text


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"Hello {name}"


@pytest.mark.parametrize(
    ("url", "options"),
    [("http://localhost:8080", ""), ("http://127.0.0.1:9000", "--url http://127.0.0.1:9000")],
)
async def test_the_development_server_has_the_console(url: str, options: str) -> None:
    async with running(Registry(Greeter), MemoryStore()) as app, client(Guard(app), url) as http:
        assert (await http.get("/console/config.json")).json() == {"options": options, "stack": None, "url": url}
        foreign = await http.get("/console", headers={"host": "evil.example"})
        assert foreign.status_code == 403


def test_no_service_is_called_console() -> None:
    with pytest.raises(DefinitionError, match="cannot be called console"):
        type("Console", (Service,), {}, name="console")
