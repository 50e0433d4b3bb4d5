"""`adapter stubs` of an SDK's services: the module is typed, by the JSON schemas of the endpoint's manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import restate
from pydantic import BaseModel

from adapter.cli.stubs import generate
from adapter.restate.apps import AppEndpoint
from tests.openapi.test_stubs import STRICT, checked
from tests.restate.hosting import hosted


class Order(BaseModel):
    sku: str
    count: int = 1
    notes: list[str]


class Orders(BaseModel):
    entries: list[Order]


class Receipt(BaseModel):
    total: float


shop = restate.VirtualObject("Shop")
greeter = restate.Service("Greeter")
flow = restate.Workflow("Flow")


@shop.handler()
async def place(ctx: restate.ObjectContext, order: Order) -> Receipt:
    return Receipt(total=order.count)


@shop.handler(kind="shared")
async def orders(ctx: restate.ObjectSharedContext) -> Orders:
    return Orders(entries=[])


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"Hello {name}"


@flow.main()
async def run(ctx: restate.WorkflowContext, order: Order) -> str:
    return order.sku


USE = """
from __future__ import annotations

from typing import assert_type

from adapter import Client, Context

from shop_stubs import Flow, Greeter, Order, Orders, Receipt, Shop


async def use(client: Client | Context, order: Order) -> None:
    receipt = await client.object_client(Shop, "Mary").place(order)
    assert_type(receipt, Receipt)
    assert_type(receipt["total"], float)
    assert_type(order["notes"], list[str])
    orders = await client.object_client(Shop, "Mary").orders()
    assert_type(orders, Orders)
    assert_type(orders["entries"][0]["sku"], str)
    assert_type(await client.service_client(Greeter).greet("Mary"), str)
    assert_type(await client.workflow_client(Flow, "1").run(order), str)
    await client.service_client(Greeter).greet(1)  # type: ignore[arg-type]
    await client.object_client(Shop, "Mary").place({"sku": 1})  # type: ignore[typeddict-item]
"""


@pytest.fixture
async def stubs(tmp_path: Path) -> Path:
    async with hosted(AppEndpoint(restate.app(services=[shop, greeter, flow]))) as host:
        document = (await host.http.get("/restate/openapi.json")).json()
    (tmp_path / "shop_stubs.py").write_text(generate(document, "http://test"))
    (tmp_path / "use.py").write_text(USE)
    return tmp_path


def test_stubs_of_an_sdks_services_are_typed(stubs: Path) -> None:
    checked("mypy", *STRICT, "shop_stubs.py", "use.py", cwd=stubs)
