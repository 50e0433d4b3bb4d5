"""What handlers of SDKs cost: requests to the store, and invocations of the endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import restate

from adapter.engine import decide, runner, session
from adapter.engine.ports import Due, Listed, Place
from adapter.engine.records import Meta
from adapter.local.memory import MemoryStore
from adapter.restate import conversation
from adapter.restate import messages as m
from adapter.restate.wire import Frame, write_frame
from bench.sdks import page
from infra.emulator import ROOT
from tests.restate.hosting import Hosted, Watched, hosted
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
async def steps_at_once(ctx: restate.Context, n: int) -> None:
    await restate.gather(*[ctx.run_typed("step", lambda each=each: each) for each in range(n)])


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


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that take long on a busy machine cost no stream, no look for a cancellation, and no commit of their own."""
    monkeypatch.setattr(conversation, "BUSY", 600.0)
    for module in (decide, session):
        monkeypatch.setattr(module, "REFRESH_EVERY", 600_000)
    for module in (decide, runner, session):
        monkeypatch.setattr(module, "FLUSH_AFTER", 600_000)


class Unswept(MemoryStore):
    """A store that counts no requests of sweeps, which begin at any time and look at what they find."""

    swept = 0

    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        self.swept += 1
        return await super().due(shard, before, limit)

    async def active(self, shard: int, limit: int, *, after: Place | None = None) -> tuple[list[Listed], Place | None]:
        self.swept += 1
        return await super().active(shard, limit, after=after)

    async def peek(self, id: str) -> Meta | None:
        self.swept += 1
        return await super().peek(id)

    @property
    def requests(self) -> int:
        return self.usage.requests - self.swept


@pytest.mark.parametrize("duplex", [False, True], ids=["requests", "duplex"])
@pytest.mark.parametrize(
    ("run", "requests", "by_requests", "by_streams"),
    [
        (lambda host: host.call("Costs/nothing"), 2, 1, 1),
        (lambda host: host.call("Counter/a/add", 1), 3, 1, 1),
        (lambda host: host.call("Costs/steps", 100), 102, 101, 1),
        (lambda host: host.call("Costs/steps_at_once", 10), 3, 2, 1),
        (lambda host: host.call("Costs/calls", 10), 22, 21, 21),
        (lambda host: host.call("Costs/calls_at_once", 10), 4, 12, 12),
        (lambda host: host.call("Costs/object_calls", 10), 23, 21, 21),
    ],
    ids=[
        "no steps",
        "exclusive get and set",
        "100 steps",
        "10 steps at once",
        "10 calls",
        "10 calls at once",
        "10 calls to one key",
    ],
)
async def test_costs(
    run: Callable[[Hosted], Awaitable[object]], requests: int, by_requests: int, by_streams: int, duplex: bool
) -> None:
    store, endpoint = Unswept(), Watched(restate.app(services=[costs, counter]), duplex=duplex)
    async with hosted(endpoint, store=store) as host:
        await run(host)
        invocations = by_streams if duplex else by_requests
        assert (store.requests, len(endpoint.told)) == (requests, invocations)


STEPS = (10, 20, 40)


async def test_a_stream_is_told_each_result_once() -> None:
    endpoint = Watched(restate.app(services=[costs]))
    async with hosted(endpoint) as host:
        for steps in STEPS:
            await host.call("Costs/steps", steps)
    bytes_of_results = [sum(map(len, told[1:])) for told in endpoint.told]
    assert bytes_of_results == [steps * len(write_frame(Frame(m.RUN_ACK, m.RunAck(1).encode()))) for steps in STEPS]


async def test_the_page_has_what_was_counted() -> None:
    text = (ROOT / "docs" / "guides" / "sdks.md").read_text()
    assert await page() in text, "put what `python -m bench.sdks` prints into docs/guides/sdks.md"
