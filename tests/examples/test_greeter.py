from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.examples.conftest import Services


async def test_greets_and_counts(services: Services) -> None:
    assert await services.call("Greeter/greet", "Mary") == "Hello Mary, visit 1"
    assert await services.call("Greeter/greet", "Mary") == "Hello Mary, visit 2"
    assert await services.call("Greeter/greet", "John") == "Hello John, visit 1"
    assert await services.call("Counter/Mary/total") == 2


async def test_counter_counts_by_one_unless_told(services: Services) -> None:
    assert await services.call("Counter/c/add") == 1
    assert await services.call("Counter/c/add", 41) == 42


async def test_counts_what_comes_at_once(services: Services) -> None:
    totals = await asyncio.gather(*(services.call("Counter/c/add") for _ in range(50)))
    assert sorted(totals) == list(range(1, 51))


async def test_reminds_five_hours_later(services: Services) -> None:
    clock = services.engine.clock
    greeted = clock.now()
    await services.call("Greeter/greet", "Mary")
    while not await services.call("Mailer/Mary/sent"):
        await clock.sleep(600)
    assert await services.call("Mailer/Mary/sent") == ["Come back soon, Mary!"]
    assert timedelta(milliseconds=clock.now() - greeted) >= timedelta(hours=5)


async def test_an_idempotent_request_is_carried_out_once(services: Services) -> None:
    first = await services.call("Greeter/greet", "Mary", idempotency_key="a")
    assert await services.call("Greeter/greet", "Mary", idempotency_key="a") == first
    assert await services.call("Counter/Mary/total") == 1
