from __future__ import annotations

import asyncio
from datetime import timedelta

from adapter.testing import Environment
from handlers.greeter.app import Counter, Greeter, Mailer


async def test_greets_and_counts(env: Environment) -> None:
    greeter = env.service_client(Greeter)
    assert await greeter.greet("Mary") == "Hello Mary, visit 1"
    assert await greeter.greet("Mary") == "Hello Mary, visit 2"
    assert await greeter.greet("John") == "Hello John, visit 1"
    assert await env.object_client(Counter, "Mary").total() == 2


async def test_counter_counts_by_one_unless_told(env: Environment) -> None:
    counter = env.object_client(Counter, "c")
    assert await counter.add() == 1
    assert await counter.add(41) == 42


async def test_counts_what_comes_at_once(env: Environment) -> None:
    counter = env.object_client(Counter, "c")
    totals = await asyncio.gather(*(counter.add() for _ in range(50)))
    assert sorted(totals) == list(range(1, 51))


async def test_reminds_five_hours_later(env: Environment) -> None:
    sent = env.object_client(Mailer, "Mary").sent
    await env.service_client(Greeter).greet("Mary")
    await env.advance(timedelta(hours=5) - timedelta(seconds=1))
    assert await sent() == []
    await env.advance(timedelta(seconds=1))
    assert await sent() == ["Come back soon, Mary!"]


async def test_an_idempotent_request_is_carried_out_once(env: Environment) -> None:
    greeter = env.service_client(Greeter)
    first = await greeter.greet("Mary", idempotency_key="a")
    assert await greeter.greet("Mary", idempotency_key="a") == first
    assert await env.object_client(Counter, "Mary").total() == 1
