from __future__ import annotations

from typing import Any

import pytest

from adapter import TerminalError
from tests.examples.conftest import Services

ORDER: dict[str, Any] = {
    "customer": "Mary",
    "items": [{"sku": "book", "quantity": 2}, {"sku": "pen", "quantity": 5}],
    "cents": 30_000,
}


@pytest.fixture
async def shop(services: Services) -> Services:
    await services.call("Inventory/book/restock", 10)
    await services.call("Inventory/pen/restock", 10)
    return services


async def books(shop: Services) -> tuple[int, int, int]:
    """What there is: books, pens, Mary's cents."""
    return (
        await shop.call("Inventory/book/stock"),
        await shop.call("Inventory/pen/stock"),
        await shop.call("Payment/balance", "Mary"),
    )


async def test_sells(shop: Services) -> None:
    receipt = await shop.call("Checkout/order-1/run", ORDER)
    assert receipt["balance"] == 70_000
    assert [packed["item"] for packed in receipt["parcel"]] == ORDER["items"]
    assert await shop.call("Shipping/order-1/track") == receipt["parcel"]
    assert await books(shop) == (8, 5, 70_000)


async def test_carries_an_order_out_once(shop: Services) -> None:
    await shop.call("Checkout/order-1/run", ORDER)
    with pytest.raises(TerminalError) as refused:
        await shop.call("Checkout/order-1/run", ORDER)
    assert refused.value.code == 409
    assert await books(shop) == (8, 5, 70_000)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"items": [{"sku": "book", "quantity": 2}, {"sku": "pen", "quantity": 11}]}, 409),
        ({"cents": 200_000}, 402),
        ({"country": "Atlantis"}, 422),
    ],
    ids=["out of stock", "no money", "no delivery"],
)
async def test_undoes_what_was_done_before_a_failure(shop: Services, change: dict[str, Any], code: int) -> None:
    with pytest.raises(TerminalError) as failed:
        await shop.call("Checkout/order-1/run", ORDER | change)
    assert failed.value.code == code
    assert await books(shop) == (10, 10, 100_000)
    assert await shop.call("Shipping/order-1/track") == []


async def test_refuses_an_order_that_makes_no_sense(shop: Services) -> None:
    with pytest.raises(TerminalError, match=r"items\.0\.quantity") as refused:
        await shop.call("Checkout/order-1/run", ORDER | {"items": [{"sku": "book", "quantity": 0}]})
    assert refused.value.code == 400
