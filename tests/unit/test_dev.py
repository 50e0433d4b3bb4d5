"""``adapter dev``: what it finds, what it says, and that it starts anew when source changes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from adapter.cli import dev as supervision
from adapter.local.discovery import DiscoveryError, discover
from adapter.local.samples import sample
from adapter.local.supervised import Server
from adapter.local.supervisor import Loaded
from tests.pace import TRIES, slowness
from tests.unit.dev import MODULE, Dev, save


def greet(url: str) -> str:
    response = httpx.post(f"{url}/Greeter/greet", json="Mary", timeout=60)
    assert response.status_code == 200, response.text
    return str(response.json())


def test_it_serves_and_starts_anew_when_source_changes(dev: Callable[..., Dev], tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(MODULE)
    process = dev("shop")
    url = process.url
    assert greet(url) == "Hello Mary"
    assert process.until("curl").string.strip() == f"curl {url}/Greeter/greet --json '\"text\"'"
    save(module, MODULE.replace("Hello", "Good day"))
    process.until("shop.py changed")
    assert greet(url) == "Good day Mary"  # no request is refused in between
    process.until("==> Greeter on")


def test_only_what_the_modules_import_starts_it_anew(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from words import GREETING\n" + MODULE.replace('GREETING = "Hello"', ""))
    (tmp_path / "words.py").write_text('GREETING = "Hello"')
    process = dev("shop")
    url = process.url
    (tmp_path / "test_shop.py").write_text("")
    save(tmp_path / "words.py", 'GREETING = "Good day"')
    assert process.until("==> .*changed").group() == "==> words.py changed"
    assert greet(url) == "Good day Mary"


def test_source_that_breaks_is_answered_for_until_it_is_repaired(dev: Callable[..., Dev], tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(MODULE)
    process = dev("shop")
    url = process.url
    save(module, "import missing\n" + MODULE)
    process.until("module shop needs missing, which is not installed")
    answer = httpx.post(f"{url}/Greeter/greet", json="Mary", timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (503, 503)
    assert "module shop needs missing" in answer.json()["message"]
    save(tmp_path / "missing.py", "")
    process.until("missing.py changed")
    assert greet(url) == "Hello Mary"
    save(module, "class Greeter(:\n")
    process.until("module shop cannot be imported")
    message = httpx.get(f"{url}/admin/invocations", timeout=60).json()["message"]
    assert f'File "{module}", line 1' in message
    assert message.endswith("SyntaxError: invalid syntax")
    assert "importlib" not in message
    save(module, MODULE)
    process.until("shop.py changed")
    assert greet(url) == "Hello Mary"


class Scripted:
    """A server that has imported another module by the second look, and ends by the third."""

    def __init__(self, late: Path) -> None:
        self.late = late
        self.looks = 0
        self.exit_code: int | None = None

    def news(self) -> Loaded | None:
        self.looks += 1
        if self.looks == 1:
            return Loaded(frozenset({str(self.late)}))
        if self.looks == 2:
            self.exit_code = -9
        else:
            raise AssertionError("it has ended")
        return None


class Answering:
    """A server that answers for broken source, while somebody adds a file. What it imports is not asked for."""

    def __init__(self, late: Path) -> None:
        self.late = late

    @property
    def exit_code(self) -> None:
        self.late.write_text("")


def test_a_file_that_is_added_repairs_source_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "TICK", 50)
    monkeypatch.chdir(tmp_path)
    server = cast(Server, Answering(tmp_path / "late.py"))
    found, changed = supervision._until_change(server, Loaded(frozenset(), broken=True), {})
    assert (found.broken, changed) == (True, str(tmp_path / "late.py"))


def test_what_a_handler_imports_counts_and_a_server_that_ends_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "TICK", 50)
    late = tmp_path / "late.py"
    late.write_text("")
    server = Scripted(late)

    def said(text: str, **_: object) -> None:
        os.utime(late, ns=(0, 0))
        print_out(text)

    print_out = print
    monkeypatch.setattr(supervision, "print", said, raising=False)
    found, changed = supervision._until_change(cast(Server, server), Loaded(frozenset()), {})
    assert (found.files, changed) == ({str(late)}, str(late))
    assert capsys.readouterr().out == "==> the server ended (-9); waiting for a change of source\n"


def test_pages_of_a_named_origin_may_call(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    url = dev("shop", "--cors", "https://a.example", "--cors", "https://b.example").url
    for origin, allowed in (("https://a.example", True), ("https://b.example", True), ("https://c.example", False)):
        response = httpx.post(f"{url}/Greeter/greet", json="Mary", headers={"origin": origin}, timeout=60)
        assert (response.headers.get("access-control-allow-origin") == origin) is allowed


def test_it_starts_quickly(dev: Callable[..., Dev], tmp_path: Path) -> None:
    """Most of its time goes into imports, which measure how fast the machine is at the moment."""
    (tmp_path / "shop.py").write_text(MODULE)
    imports = [sys.executable, "-c", "import asyncio, httpx, pydantic, starlette.applications, typer, uvicorn"]
    shares: list[float] = []
    for _ in range(TRIES):  # other processes may hold one up
        process = dev("shop", "--no-reload")
        greet(process.url)
        took = time.monotonic() - process.began
        began = time.monotonic()
        subprocess.run(imports, check=True)
        shares.append(took / (time.monotonic() - began))
        if shares[-1] < 4:
            return
    raise AssertionError(f"it took longer than four times its imports, {TRIES} times: {shares}")


@pytest.mark.parametrize("reload", [[], ["--no-reload"]], ids=["reload", "no-reload"])
def test_answers_are_not_delayed(dev: Callable[..., Dev], tmp_path: Path, reload: list[str]) -> None:
    """A connection without TCP_NODELAY takes 40 ms for each answer."""
    (tmp_path / "shop.py").write_text(MODULE)
    with httpx.Client(base_url=dev("shop", *reload).url, timeout=60) as http:
        times: list[float] = []
        for _ in range(30):
            began = time.monotonic()
            http.post("/Greeter/greet", json="Mary")
            times.append(time.monotonic() - began)
    assert min(times[5:]) < 0.03 * slowness(time.monotonic)


def test_it_ends_when_it_is_told_to(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    for arguments in ((), ("--no-reload",)):
        process = dev("shop", *arguments)
        url = process.url
        process.process.terminate()
        assert process.process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, timeout=60)


def test_the_server_ends_if_its_supervisor_is_killed(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    process = dev("shop")
    url = process.url
    process.process.kill()
    process.output.read()  # to its end: nobody has it open any more
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shops"], "there is no module shops in /"),
        (["shop.py"], "give it as in an import: package.module"),
        (["empty"], "module empty has no definitions: neither a call of lambda_handler nor a class"),
        (["bare"], "Bare has no handlers: decorate its async methods with @handler"),
        (["shop:Grocer"], "module shop has no Grocer"),
        (["shop:GREETING"], "shop:GREETING is neither a definition nor what lambda_handler returned"),
        (["needy"], "module needy needs no_such_package, which is not installed"),
        (["broken"], "module broken cannot be imported"),
        (["wrong"], "is a workflow and has no handler called run"),
        (["untold"], "the input of S.x: Own cannot be turned into JSON: use a builtin, a dataclass"),
        (["shop", "other"], "other has a service called Greeter, and so has another module"),
        (["unbound"], "unbound cannot be served"),
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
        "bare": "from adapter import *\nclass Bare(Service):\n    async def x(self, ctx: Context) -> None: ...",
        "needy": "import no_such_package",
        "broken": "1 / 0",
        "unbound": MODULE.replace("    @handler", "    def __init__(self): raise OSError\n    @handler"),
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
    assert process.process.wait(60) != 0


def test_it_ends_if_a_change_of_source_cannot_help(dev: Callable[..., Dev], tmp_path: Path) -> None:
    process = dev("--endpoint", "http://localhost:1", "--identity-key", "none.pem")
    process.until("adapter dev: --identity-key .*none.pem cannot be read: No such file")
    assert process.process.wait(60) == 1
    assert "waiting" not in process.output.read()


def test_a_port_in_use(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = dev("shop", "--port", str(port))
        process.until(rf"cannot listen on 127.0.0.1:{port}: Address already in use")
        assert process.process.wait(60) == 1


def test_an_address_of_another_machine(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    process = dev("shop", "--host", "192.0.2.1")
    process.until(r"cannot listen on 192.0.2.1:0: .*. Try another --host")
    assert process.process.wait(60) == 1


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


PLAIN = """
from pydantic_core import core_schema
from adapter import Context, Service, handler

class Celsius(int):
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return core_schema.no_info_plain_validator_function(cls)

class Thermometer(Service):
    @handler
    async def read(self, ctx: Context, degrees: Celsius) -> Celsius:
        return degrees
"""


def test_a_type_without_a_json_schema_is_served(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    process = dev("plain", "--no-reload")
    url = process.url
    assert process.until("curl").string.strip() == f"curl {url}/Thermometer/read --json @FILE"
    assert httpx.post(f"{url}/Thermometer/read", json=3, timeout=60).json() == 3
    assert httpx.get(f"{url}/restate/openapi.json", timeout=60).status_code == 200


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
    assert sample(schema["properties"]["loop"], schema) == {"next": None}  # type: ignore[index]


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        # as Restate's Go SDK makes it of a struct that contains itself
        (
            {
                "$defs": {"node": {"$ref": "#"}},
                "type": "object",
                "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}, "any": True},
                "required": ["name", "next", "any"],
            },
            {"name": "text", "next": None, "any": None},
        ),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, {"next": None}),
        ({"definitions": {"a/b": {"type": "integer"}}, "$ref": "#/definitions/a~1b"}, 1),
        ({"$ref": "#/$defs/missing"}, None),
        ({"$ref": "https://example.org/schema"}, None),
        ({"$ref": 1, "anyOf": [], "enum": {}, "examples": 7, "type": ["integer", "null"]}, 1),
        ({"type": "object", "properties": [], "required": ["a", 1]}, {"a": None}),
        ({"type": "object", "required": 7}, {}),
        (True, None),
    ],
)
def test_samples_of_any_schema(schema: Any, fits: Any) -> None:
    assert sample(schema, schema) == fits


def test_samples_of_types_that_refer_to_each_other_are_short() -> None:
    names = [f"T{each}" for each in range(12)]
    struct = {"type": "object", "properties": {each: {"$ref": f"#/$defs/{each}"} for each in names}, "required": names}
    schema = {"$defs": dict.fromkeys(names, struct), **struct}
    assert len(json.dumps(sample(schema, schema))) < 20_000
