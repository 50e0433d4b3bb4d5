"""The code of the pages works: their Python blocks, of which the tests run here, and their requests."""

from __future__ import annotations

import inspect
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?:# (?P<file>\w+)\.py\n)?(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
CURL = re.compile(r"^    (curl localhost:8080.*)\n    (.*)\n", re.MULTILINE)

Test = Callable[..., Any]


def _name(page: Path) -> str:
    return "-".join(page.relative_to(ROOT).with_suffix("").parts[-2:])


def _load(page: Path) -> Iterator[tuple[str, Test]]:
    """Run a page's blocks, in one module or in those that they name, and find the tests in them."""
    text = page.read_text()
    modules: dict[str, ModuleType] = {}
    for block in BLOCK.finditer(text):
        if block["file"] == "client":
            continue  # needs a server: it has a test of its own
        name = block["file"] or f"page_{page.stem}"
        module = modules.setdefault(name, sys.modules.setdefault(name, ModuleType(name)))
        lines = text.count("\n", 0, block.start("code"))
        exec(compile("\n" * lines + block["code"], page, "exec", dont_inherit=True), vars(module))
    for module in modules.values():
        yield from ((name, test) for name, test in vars(module).items() if name.startswith("test_"))


TESTS = [pytest.param(test, id=f"{_name(page)}-{name}") for page in PAGES for name, test in _load(page)]


@pytest.mark.parametrize("test", TESTS)
async def test_code(test: Test, request: pytest.FixtureRequest) -> None:
    wanted = set(inspect.signature(test).parameters)
    for replay in (False, True) if "replay" in wanted else (None,):
        fixtures = {name: request.getfixturevalue(name) for name in wanted - {"replay"}}
        await test(**fixtures, **({} if replay is None else {"replay": replay}))


def test_every_page_with_code_has_tests() -> None:
    tested = {str(each.id).rpartition("-")[0] for each in TESTS}
    assert {_name(page) for page in PAGES if BLOCK.search(page.read_text())} - tested == {_name(ROOT / "README.md")}


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """What a page has saved in files, served by `adapter dev`."""
    page, module = request.param
    for block in BLOCK.finditer(page.read_text()):
        (tmp_path / f"{block['file'] or module}.py").write_text(block["code"])
    command = [sys.executable, "-m", "adapter", "dev", module, "--port", "0", "--no-reload"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        started = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert started is not None
        yield started[0]
        server.terminate()


SERVED = [
    (ROOT / "README.md", "hello"),
    (ROOT / "docs" / "start.md", "shop"),
    (ROOT / "docs" / "guides" / "dev.md", "orders"),
]


@pytest.mark.parametrize(("url", "page"), [(each, each[0]) for each in SERVED], ids=str, indirect=["url"])
def test_requests(url: str, page: Path) -> None:
    lines = CURL.findall(page.read_text())
    assert lines
    for command, answer in lines:
        assert _curl(command.replace("localhost:8080", url)) == answer


def _curl(command: str) -> str:
    """What curl would print."""
    _, url, *options = shlex.split(command)
    given = dict(zip(options[::2], options[1::2], strict=True))
    method = "POST" if "--json" in given else given.get("-X", "GET")
    header = given.get("-H", "x-none: none").split(": ")
    return httpx.request(method, url, content=given.get("--json"), headers=[(header[0], header[1])], timeout=60).text


@pytest.mark.parametrize("url", [SERVED[1]], ids=str, indirect=True)
def test_client(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    client = tmp_path / "client.py"
    client.write_text(client.read_text().replace("http://localhost:8080", url))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(client))
    assert re.fullmatch(r"1\n[0-9a-f-]{36}\n409 the basket is empty\n", capsys.readouterr().out)


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "handlers").rglob("*.md"))], ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
    assert {page for page in pages if not page.startswith("decisions/")} - {"README.md"} <= set(
        re.findall(r"\]\(([^)]+)\)", index)
    )


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [page.name[:4] for page in sorted((ROOT / "docs" / "decisions").iterdir())]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
