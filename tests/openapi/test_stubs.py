"""`adapter stubs`: the module is typed, and its contracts call the services that it was made of."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn

from adapter import Client, Context, Service, handler
from adapter.cli import main
from adapter.cli.stubs import generate
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
STRICT = ("--strict", "--config-file=", "--cache-dir", str(ROOT / ".local" / "mypy"))
"""mypy's options. Tests share what it has read of the library."""

USE = """
from __future__ import annotations

from typing import assert_type

from adapter import Client, Context

from catalogue_stubs import Address, Catalogue, Delivery, Item, basket_2


async def use(client: Client | Context, address: Address) -> None:
    item: Item = {"sku": "a", "Count": 2, "x-weird": "y"}
    assert_type(await client.object_client(basket_2, "Mary").put(item), int)
    assert_type(await client.object_client(basket_2, "Mary").count(), int | None)
    page = await client.service_client(Catalogue).page()
    assert_type(page["entries"], list[Item])
    assert_type(await client.service_client(Catalogue).list_(), list[int])
    assert_type(await client.workflow_client(Delivery, "d").run(address), str)
    await client.service_client(Catalogue).page("x")  # type: ignore[arg-type]
    await client.object_client(basket_2, "Mary").put({"sku": 1})  # type: ignore[typeddict-item]
    await client.service_client(Catalogue).hidden(1)  # type: ignore[attr-defined]
"""


@pytest.fixture
def module(document: dict[str, Any], tmp_path: Path) -> Iterator[ModuleType]:
    """The generated module."""
    path = tmp_path / "catalogue_stubs.py"
    path.write_text(generate(document, "http://test"))
    spec = importlib.util.spec_from_file_location("catalogue_stubs", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["catalogue_stubs"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["catalogue_stubs"]


def checked(*command: str, cwd: Path) -> None:
    path = {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **path},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("length", [60, 88, 200])
def test_linters_find_nothing_to_mend(module: ModuleType, tmp_path: Path, length: int) -> None:
    """Imports are sorted, and each is used, whatever the length of lines in the project."""
    checked(
        "ruff", "check", "--isolated", f"--line-length={length}", "--select=F,I", "catalogue_stubs.py", cwd=tmp_path
    )


def test_it_is_typed(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    checked("mypy", *STRICT, "catalogue_stubs.py", "use.py", cwd=tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT)], "include": ["catalogue_stubs.py"]})
    )
    checked("pyright", "--pythonpath", sys.executable, cwd=tmp_path)


async def test_a_client_calls_through_it(module: ModuleType, http: httpx.AsyncClient) -> None:
    async with Client("http://test", http=http) as client:
        catalogue, basket = client.service_client(module.Catalogue), client.object_client(module.basket_2, "Mary")
        item = {"sku": "a", "Count": 2, "x-weird": "y"}
        order = {"id": UUID(int=1), "at": "2026-01-01T00:00:00Z", "items": [item], "signature": b"\xff"}
        given = await catalogue.order(order)
        assert (given["id"], given["items"][0]["x-weird"], given["total"]) == (UUID(int=1), "y", "0")
        assert given["signature"] == b"\xff"
        assert len((await catalogue.page())["entries"]) == 10
        assert await catalogue.default() == "x"
        group = {"kind": "group", "shapes": [{"kind": "circle", "radius": 1.0}, {"kind": "group", "shapes": []}]}
        assert await catalogue.draw(group) == group
        assert await catalogue.follow({"value": 1, "next": {"value": 2}}) == {"value": 2, "next": None}
        assert await catalogue.move({"street": "Main"}) == (1, "Main")
        assert await catalogue.find(None) is None
        assert await catalogue.list_() == [1, 2]
        assert await catalogue.raw(b"\xff") == b"\xff"
        assert await catalogue.dotted_name() is None
        assert await basket.count() is None
        assert await basket.put(item) == 2
        assert await client.workflow_client(module.Delivery, "d1").run({"street": "Main"}) == "Main"


async def test_a_context_calls_through_it(module: ModuleType, registry: Registry) -> None:
    class Caller(Service):
        @handler
        async def buy(self, ctx: Context, name: str) -> Any:
            return await ctx.object_client(module.basket_2, name).put({"sku": "a"})

    registry.services |= Registry(Caller).services
    async with (
        running(registry, MemoryStore()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        assert (await http.post("/Caller/buy", json="Mary")).json() == 1


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The app at a URL, in this event loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as caught:
        main(["stubs", *arguments])
    return caught.value.code


async def test_the_command(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "catalogue_stubs.py"
    async with running(registry, MemoryStore()) as app, served(app) as url:
        assert await asyncio.to_thread(run, url) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f'"""The services at {url}, for callers.')
        assert await asyncio.to_thread(run, f"{url}/", "-o", str(file)) == 0
    assert file.read_text().partition("\n")[2] == printed.partition("\n")[2]


def test_what_is_no_stack(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("http://127.0.0.1:1") == 1
    assert "cannot reach http://127.0.0.1:1 " in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"openapi": "3.1.0", "paths": {"/x": {"get": {}}}}')
    assert run(str(tmp_path / "other.json")) == 1
    assert "no OpenAPI document with services in it" in capsys.readouterr().err
    assert run(str(file)) == 0


RECURSIVE = {
    "Json": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/Json"}}]},
    "Tree": {"anyOf": [{"$ref": "#/components/schemas/Leaf"}, {"$ref": "#/components/schemas/Branch"}]},
    "Leaf": {"type": "object", "properties": {"class": {"type": "integer"}}, "required": ["class"]},
    "Branch": {
        "type": "object",
        "properties": {"sub": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
    },
    "handler": {"type": ["integer", "null"]},
    "Inline": {"type": "object", "properties": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}}},
    "Many": {"anyOf": [{"$ref": "#/components/schemas/Leaf"}, {"$ref": "#/components/schemas/Holder"}]},
    "Holder": {"type": "object", "properties": {"list": {"$ref": "#/components/schemas/ManyOf"}}, "required": ["list"]},
    "ManyOf": {"type": "array", "items": {"$ref": "#/components/schemas/Many"}},
    "Nothing": {"type": "null"},
    "Twice": {"anyOf": [{"$ref": "#/components/schemas/Nothing"}, {"type": "null"}]},
}

INVALID = {
    "Enum": {"enum": None},
    "Empty": {"enum": []},
    "Required": {"type": "object", "properties": {"x": None, "x²": True, "y": {"type": []}}, "required": None},
    "Options": {"anyOf": None, "type": "string"},
    "Items": {"type": "array", "prefixItems": None, "items": {"oneOf": []}},
    "Elsewhere": {"$ref": "https://example.com/schema"},
    "None": None,
}


def document_of(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a handler for each of these schemas, called like it."""
    calls = {
        f"/S/{name}": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
                },
                "responses": {"200": {}},
                "x-adapter": {"service": "S", "category": "service", "handler": name, "kind": "service"},
            }
        }
        for name in schemas
    }
    return {"paths": calls, "components": {"schemas": schemas}}


def test_schemas_of_other_makers(tmp_path: Path) -> None:
    text = generate(document_of(RECURSIVE | INVALID), r"C:\Users\api.json")
    (tmp_path / "catalogue_stubs.py").write_text(text)
    checked("mypy", "--strict", "--config-file=", "catalogue_stubs.py", cwd=tmp_path)
    checked("catalogue_stubs", cwd=tmp_path)
    assert "Json = str | list[Any]" in text
    assert "Tree = Leaf | Branch" in text
    assert "    sub: NotRequired[list[Tree]]" in text
    assert "handler_ = int | None" in text
    assert "ManyOf = list[Many]" in text
    assert "def Twice(self, ctx: Context, input: None) -> None" in text
    assert "Empty = Any" in text
    assert "    x: NotRequired[Any]" not in text  # not every field of it can be an attribute
    assert "Options = str" in text
    assert "Items = list[Any]" in text


@pytest.mark.parametrize("document", [[], {"paths": None}, {"paths": {"/S/run": {"post": None}}}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="no OpenAPI document with services in it"):
        generate(document, "here")


@pytest.mark.parametrize("told", [None, {}, {"service": "S", "category": "actor", "handler": "run", "kind": "service"}])
def test_a_document_of_another_version_is_refused(told: Any) -> None:
    with pytest.raises(ValueError, match="POST /S/run has an `x-adapter` that this version does not know"):
        generate({"paths": {"/S/run": {"post": {"x-adapter": told}}}}, "here")


def test_words_of_a_docstring_are_not_imported(tmp_path: Path) -> None:
    document = document_of({"At": {"type": "string", "format": "date"}})
    document["paths"]["/S/At"]["post"]["description"] = 'Cast the time of a Workflow to UUID: """Any""".\n\nSee abc.'
    (tmp_path / "stubs.py").write_text(generate(document, "here"))
    checked("ruff", "check", "--isolated", "--select=F,I", "stubs.py", cwd=tmp_path)
