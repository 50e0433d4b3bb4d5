"""`adapter stubs` of a TypeScript endpoint with zod schemas: typed, and used by a Python definition."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.openapi.test_stubs import STRICT, checked
from tests.restate import node
from tests.restate.hosting import CallError, Hosted, new_key
from tests.unit.dev import ROOT, Dev

CALLER = """
from __future__ import annotations

from typing import assert_type

from adapter import Context, Service, handler

from shop_stubs import Flow, Greeter, Shop, ShopPlaceInput, ShopPlaceOutput, SortInput


class Caller(Service):
    @handler
    async def buy(self, ctx: Context, name: str) -> list[str]:
        order: ShopPlaceInput = {"sku": "tea", "count": 2, "size": "small", "gift": {"to": name, "card": None}}
        receipt = await ctx.object_client(Shop, name).place(order)
        assert_type(receipt, ShopPlaceOutput)
        assert_type(receipt["lines"][0]["sku"], str)
        ctx.object_send_client(Shop, name).place({"sku": "cup", "count": 1, "size": "large"})
        greeting = await ctx.service_client(Greeter).greet(name)
        assert_type(greeting, str)
        drinks: SortInput = {"name": "drinks", "parts": [{"name": "tea", "parts": []}]}
        sorted = await ctx.service_client(Greeter).sort(drinks)
        assert_type(sorted["parts"][0]["name"], str)
        ran = await ctx.workflow_client(Flow, name).run(order)
        orders = await ctx.object_client(Shop, name).orders()
        assert_type(orders, list[str])
        return [greeting, ran, str(receipt["total"]), orders[0]]

    @handler
    async def wrong(self, ctx: Context, name: str) -> None:
        await ctx.service_client(Greeter).greet(1)  # type: ignore[arg-type]
        await ctx.object_client(Shop, name).place({"sku": "tea", "count": 1})  # type: ignore[typeddict-item]
        await ctx.object_client(Shop, name).refund()  # type: ignore[attr-defined]
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with node.served("shop.ts") as served:
        yield served.url


@pytest.fixture
def caller(shop: str, tmp_path: Path) -> Path:
    """A folder with the stubs that the command line prints, and a module that uses them."""
    dev = Dev(tmp_path, "--no-reload", "--endpoint", shop)
    try:
        command = [sys.executable, "-m", "adapter", "stubs", dev.url]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        dev.stop()
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "shop_stubs.py").write_text(printed.stdout)
    (tmp_path / "caller.py").write_text(CALLER)
    return tmp_path


async def test_a_python_definition_calls_typescript_through_stubs(caller: Path, shop: str) -> None:
    checked("mypy", *STRICT, "shop_stubs.py", "caller.py", cwd=caller)
    dev = Dev(caller, "--no-reload", "--endpoint", shop, "caller")
    try:
        async with httpx.AsyncClient(base_url=dev.url, timeout=120) as http:
            host, name = Hosted(http), new_key()
            assert await host.call("Caller/buy", name) == [f"Hello {name}", "tea small", "5.0", "tea"]
            with pytest.raises(CallError, match="at /size") as raised:
                await host.call(f"Shop/{name}/place", {"sku": "tea", "count": 1, "size": "huge"})
            assert raised.value.status == 400
    finally:
        dev.stop()
