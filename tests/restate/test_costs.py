"""What handlers of SDKs cost: requests to the store, and exchanges with the endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import restate

from adapter.local.memory import MemoryStore
from adapter.restate.apps import AppEndpoint
from bench.sdks import page
from infra.emulator import ROOT
from tests.restate.hosting import Hosted, hosted
from tests.restate.python_services import add, counter

costs = restate.Service("Costs")


@costs.handler()
async def nothing(ctx: restate.Context) -> str:
    return "done"


@costs.handler()
async def steps(ctx: restate.Context, n: int) -> None:
    for each in range(n):
        await ctx.run_typed("step", lambda each=each: each)


@costs.handler()
async def calls(ctx: restate.Context, n: int) -> None:
    for _ in range(n):
        await ctx.service_call(nothing, None)


@costs.handler()
async def calls_at_once(ctx: restate.Context, n: int) -> None:
    await restate.gather(*[ctx.service_call(nothing, None) for _ in range(n)])


@costs.handler()
async def object_calls(ctx: restate.Context, n: int) -> None:
    for _ in range(n):
        await ctx.object_call(add, "key", 1)


class Counted(AppEndpoint):
    """An app that counts its exchanges."""

    exchanges = 0

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        self.exchanges += 1
        return await super().exchange(service, handler, body)


@pytest.mark.parametrize(
    ("run", "requests", "exchanges"),
    [
        (lambda host: host.call("Costs/nothing"), 2, 1),
        (lambda host: host.call("Counter/a/add", 1), 3, 1),
        (lambda host: host.call("Costs/steps", 10), 12, 11),
        (lambda host: host.call("Costs/calls", 10), 22, 21),
        (lambda host: host.call("Costs/calls_at_once", 10), 4, 12),
        (lambda host: host.call("Costs/object_calls", 10), 23, 21),
    ],
    ids=["no steps", "exclusive get and set", "10 steps", "10 calls", "10 calls at once", "10 calls to one key"],
)
async def test_costs(run: Callable[[Hosted], Awaitable[object]], requests: int, exchanges: int) -> None:
    store, endpoint = MemoryStore(), Counted(restate.app(services=[costs, counter]))
    async with hosted(endpoint, store=store) as host:
        await host.call("Costs/nothing")  # the first sweep has begun before that
        before, endpoint.exchanges = store.usage.requests, 0
        await run(host)
        assert (store.usage.requests - before, endpoint.exchanges) == (requests, exchanges)


async def test_the_page_has_what_was_counted() -> None:
    text = (ROOT / "docs" / "guides" / "sdks.md").read_text()
    assert await page() in text, "put what `python -m bench.sdks` prints into docs/guides/sdks.md"
