from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter import Invocation, TerminalError
from adapter.testing import Environment
from handlers.checkout.app import Checkout, Order, Receipt
from handlers.contracts import Item
from handlers.greeter.app import Mailer
from handlers.warehouse.app import Inventory, Payment, Shipping

ORDER = Order(customer="Mary", items=[Item(sku="book", quantity=2), Item(sku="pen", quantity=5)], cents=30_000)
LARGE = ORDER.model_copy(update={"cents": 60_000})


@pytest.fixture
async def checkout(env: Environment) -> Checkout:
    for sku in ("book", "pen"):
        await env.object_client(Inventory, sku).restock(10)
    return env.workflow_client(Checkout, "order-1")


async def books(env: Environment) -> tuple[int, int, int]:
    """What there is: books, pens, Mary's cents."""
    book, pen = env.object_client(Inventory, "book"), env.object_client(Inventory, "pen")
    return await book.stock(), await pen.stock(), await env.service_client(Payment).balance("Mary")


async def test_sells(env: Environment, checkout: Checkout) -> None:
    receipt = await checkout.run(ORDER)
    assert receipt.balance == 70_000
    assert [packed.item for packed in receipt.parcel] == ORDER.items
    assert await env.object_client(Shipping, "order-1").track() == receipt.parcel
    assert await books(env) == (8, 5, 70_000)
    assert await env.object_client(Mailer, "Mary").sent() == []


async def test_carries_an_order_out_once(env: Environment, checkout: Checkout) -> None:
    await checkout.run(ORDER)
    with pytest.raises(TerminalError) as refused:
        await checkout.run(ORDER)
    assert refused.value.code == 409
    assert await books(env) == (8, 5, 70_000)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"items": [Item(sku="book", quantity=2), Item(sku="pen", quantity=11)]}, 409),
        ({"cents": 200_000}, 402),
        ({"country": "Atlantis"}, 422),
    ],
    ids=["out of stock", "no money", "no delivery"],
)
async def test_undoes_what_was_done_before_a_failure(
    env: Environment, checkout: Checkout, change: dict[str, Any], code: int
) -> None:
    with pytest.raises(TerminalError) as failed:
        await checkout.run(ORDER.model_copy(update=change))
    assert failed.value.code == code
    assert await books(env) == (10, 10, 100_000)
    assert await env.object_client(Shipping, "order-1").track() == []


@pytest.fixture
async def asked(env: Environment, checkout: Checkout) -> tuple[Invocation[Receipt], str]:
    """A large order, and the awakeable that the customer was mailed."""
    run = checkout.run(LARGE)
    await env.settle()
    [mail] = await env.object_client(Mailer, "Mary").sent()
    assert await books(env) == (8, 5, 100_000)
    return run, mail.removeprefix("To pay 60000 cents, confirm ")


async def test_a_large_payment_is_approved(env: Environment, asked: tuple[Invocation[Receipt], str]) -> None:
    run, awakeable = asked
    await env.advance(timedelta(minutes=59))
    assert await env.resolve_awakeable(awakeable)
    assert (await run).balance == 40_000
    assert await books(env) == (8, 5, 40_000)


async def test_a_large_payment_is_refused(env: Environment, asked: tuple[Invocation[Receipt], str]) -> None:
    run, awakeable = asked
    assert await env.reject_awakeable(awakeable, "I did not order that", code=402)
    with pytest.raises(TerminalError, match="I did not order that"):
        await run
    assert await books(env) == (10, 10, 100_000)


async def test_nobody_approves_in_time(env: Environment, asked: tuple[Invocation[Receipt], str]) -> None:
    run, awakeable = asked
    await env.advance(timedelta(hours=1))
    with pytest.raises(TerminalError, match="not approved within 1:00:00") as failed:
        await run
    assert failed.value.code == 408
    assert await books(env) == (10, 10, 100_000)
    assert not await env.resolve_awakeable(awakeable)


async def test_refuses_an_order_that_makes_no_sense(env: Environment) -> None:
    order = ORDER.model_dump(mode="json") | {"items": [{"sku": "book", "quantity": 0}]}
    with pytest.raises(TerminalError, match=r"items\.0\.quantity") as refused:
        await env.generic_call(service="Checkout", method="run", key="order-1", parameter=order)
    assert refused.value.code == 400
