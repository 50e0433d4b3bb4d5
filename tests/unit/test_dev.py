"""``adapter dev``: what it finds, what it says, and that it starts anew when source changes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest

from adapter.local.discovery import DiscoveryError, discover
from adapter.local.samples import sample

ROOT = Path(__file__).resolve().parents[2]

MODULE = """
from adapter import Context, Service, handler

class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"{GREETING} {name}"

GREETING = "Hello"
"""


class Dev:
    """A running ``adapter dev``, with what it has said so far."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "adapter", "dev", "--port", "0", *arguments],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.said: list[str] = []

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until it says something."""
        for line in self.output:
            self.said.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it ended without {pattern!r}:\n{''.join(self.said)}")

    @property
    def url(self) -> str:
        return self.until(r"on (http://\S+)").group(1)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    running: list[Dev] = []

    def start(*arguments: str) -> Dev:
        running.append(Dev(tmp_path, *arguments))
        return running[-1]

    yield start
    for each in running:
        each.process.terminate()
        each.process.wait(15)
        each.output.close()


def greet(url: str) -> str:
    response = httpx.post(f"{url}/Greeter/greet", json="Mary", timeout=15)
    assert response.status_code == 200, response.text
    return str(response.json())


def test_it_serves_and_starts_anew_when_source_changes(dev: Callable[..., Dev], tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(MODULE)
    process = dev("shop")
    url = process.url
    assert greet(url) == "Hello Mary"
    assert process.until("curl").string.strip() == f"curl {url}/Greeter/greet --json '\"text\"'"
    module.write_text(MODULE.replace("Hello", "Good day"))
    process.until("shop.py changed")
    assert greet(url) == "Good day Mary"  # no request is refused in between
    process.until("==> Greeter on")
    module.write_text("nonsense")
    process.until("module shop cannot be imported")
    process.until("waiting for a change")
    module.write_text(MODULE)
    process.until("shop.py changed")
    assert greet(url) == "Hello Mary"


def test_it_starts_quickly(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    times: list[float] = []
    for _ in range(3):
        process = dev("shop", "--no-reload")
        greet(process.url)
        times.append(time.monotonic() - process.began)
    assert min(times) < 2


@pytest.mark.parametrize("reload", [[], ["--no-reload"]], ids=["reload", "no-reload"])
def test_answers_are_not_delayed(dev: Callable[..., Dev], tmp_path: Path, reload: list[str]) -> None:
    """A connection without TCP_NODELAY takes 40 ms for each answer."""
    (tmp_path / "shop.py").write_text(MODULE)
    with httpx.Client(base_url=dev("shop", *reload).url) as http:
        times: list[float] = []
        for _ in range(30):
            began = time.monotonic()
            http.post("/Greeter/greet", json="Mary")
            times.append(time.monotonic() - began)
    assert min(times[5:]) < 0.03


def test_it_ends_when_it_is_told_to(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    for arguments in ((), ("--no-reload",)):
        process = dev("shop", *arguments)
        url = process.url
        process.process.terminate()
        assert process.process.wait(10) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shops"], "there is no module shops in /"),
        (["shop.py"], "give it as in an import: package.module"),
        (["empty"], "module empty has no definitions: neither a call of lambda_handler nor a class"),
        (["shop:Grocer"], "module shop has no Grocer"),
        (["shop:GREETING"], "shop:GREETING is neither a definition nor what lambda_handler returned"),
        (["needy"], "module needy needs no_such_package, which is not installed"),
        (["broken"], "module broken cannot be imported"),
        (["wrong"], "is a workflow and has no handler called run"),
        (["untold"], "the input of S.x: Own cannot be turned into JSON: use a builtin, a dataclass"),
        (["shop", "other"], "other has a service called Greeter, and so has another module"),
    ],
)
def test_what_it_cannot_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules = {
        "shop": MODULE,
        "other": MODULE,
        "empty": "x = 1",
        "needy": "import no_such_package",
        "broken": "1 / 0",
        "untold": "from adapter import *\nclass Own: ...\nclass S(Service):\n    @handler\n"
        "    async def x(self, ctx: Context, own: Own): ...",
        "wrong": "from adapter import *\nclass W(Workflow):\n    @handler\n    async def x(self, ctx: Context): ...",
    }
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DiscoveryError, match=re.escape(message)):
        discover(arguments)


@pytest.mark.parametrize("reload", [[], ["--no-reload"]], ids=["reload", "no-reload"])
def test_it_ends_if_there_is_nothing_to_serve(dev: Callable[..., Dev], tmp_path: Path, reload: list[str]) -> None:
    process = dev("nothing", *reload)
    process.until(f"adapter dev: there is no module nothing in {tmp_path}")
    assert process.process.wait(15) != 0


def test_a_port_in_use(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = dev("shop", "--port", str(port))
        process.until(rf"cannot listen on 127.0.0.1:{port}: Address already in use")
        assert process.process.wait(10) == 1


def test_what_counts_in_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "contract_of_x.py").write_text(
        "from abc import abstractmethod\nfrom adapter import Context, Service, handler\n"
        "class Contract(Service):\n    @handler\n    @abstractmethod\n    async def x(self, ctx: Context): ...\n"
    )
    (tmp_path / "plain_x.py").write_text(
        "from contract_of_x import Contract\nfrom adapter import *\n"
        "class Own(Service):\n    @handler\n    async def x(self, ctx: Context) -> None: ...\n"
    )
    (tmp_path / "entry_x.py").write_text("from plain_x import *\nentry = lambda_handler(Own)\nclass Unused(Own): ...\n")
    assert list(discover(["plain_x"]).services) == ["Own"]
    assert list(discover(["entry_x"]).services) == ["Own"]
    assert list(discover(["plain_x:Own"]).services) == ["Own"]
    with pytest.raises(DiscoveryError, match="contract_of_x has no definitions"):
        discover(["contract_of_x"])


def test_samples() -> None:
    schema = {
        "$defs": {
            "Line": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}, "note": {"type": "string"}},
                "required": ["sku", "n"],
            },
            "Loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Loop"}}, "required": ["next"]},
        },
        "type": "object",
        "properties": {
            "line": {"$ref": "#/$defs/Line"},
            "kind": {"enum": ["a", "b"]},
            "lines": {"type": "array"},
            "rush": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "loop": {"$ref": "#/$defs/Loop"},
        },
        "required": ["line", "kind", "lines", "rush"],
    }
    assert sample(schema, schema) == {"line": {"sku": "text", "n": 1}, "kind": "a", "lines": [], "rush": True}
    assert sample(schema["properties"]["loop"], schema)["next"] is not None  # type: ignore[index]
