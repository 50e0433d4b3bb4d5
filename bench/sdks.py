"""What handlers of Restate's SDKs cost beside the same handlers in Python: `python -m bench.sdks`.

The same work is done by definitions, and by an app of Restate's Python SDK in the same process: by streams, as it runs
there, and by requests, as a driver sends them. With a driver, each request is an invocation of the SDK's Lambda
function, and both functions are billed while it runs. Requests to the store, units and invocations of the app are
counted. Prices are computed from them as in `bench.costs`; the CPU is measured, the app's own included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch
from uuid import uuid4

import restate

from adapter.restate.apps import AppEndpoint
from adapter.restate.conversation import Stream
from bench import prices
from bench.cases import Cases
from bench.costs import MEMORY, Bill, bill_of, million, table
from bench.services import Bench, Counter
from bench.world import PricedStore, StillClock, World

REQUEST_SECONDS: Final = 0.005
"""How long a request takes a warm SDK's function, and its driver waits for it."""

counter = restate.VirtualObject("SdkCounter")
bench = restate.Service("SdkBench")


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


@bench.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"hi {name}"


@bench.handler()
async def steps(ctx: restate.Context, n: int) -> int:
    return sum([await ctx.run_typed(f"step-{i}", lambda: 1) for i in range(n)])


@bench.handler()
async def steps_at_once(ctx: restate.Context, n: int) -> int:
    return len(await restate.gather(*[ctx.run_typed(f"step-{i}", lambda: 1) for i in range(n)]))


@bench.handler()
async def calls(ctx: restate.Context, n: int) -> int:
    return sum([len(await ctx.service_call(greet, "x")) for _ in range(n)])


@bench.handler()
async def calls_at_once(ctx: restate.Context, n: int) -> int:
    return len(await restate.gather(*[ctx.service_call(greet, "x") for _ in range(n)]))


@bench.handler()
async def objcalls(ctx: restate.Context, n: int) -> int:
    return [await ctx.object_call(add, "bench", 1) for _ in range(n)][-1]


@dataclass(frozen=True)
class Work:
    """A row: the same work twice.

    Attributes:
        name: What is done.
        native: The path of the handler in Python.
        sdk: The path of the SDK's handler.
        input: Its input.
    """

    name: str
    native: str
    sdk: str
    input: Any


WORK: Final = [
    Work("a service handler without steps", "Bench/greet", "SdkBench/greet", "x"),
    Work("an exclusive handler that reads and writes its state", "Counter/{}/add", "SdkCounter/{}/add", 1),
    Work("10 steps in sequence", "Bench/steps", "SdkBench/steps", 10),
    Work("100 steps in sequence", "Bench/steps", "SdkBench/steps", 100),
    Work("10 steps at once", "Bench/steps_at_once", "SdkBench/steps_at_once", 10),
    Work("10 calls in sequence", "Bench/calls", "SdkBench/calls", 10),
    Work("10 calls at once", "Cases/fan", "SdkBench/calls_at_once", 10),
    Work("10 calls to one key in sequence", "Bench/objcalls", "SdkBench/objcalls", 10),
]


@dataclass
class Counted:
    """What a piece of work took."""

    bill: Bill
    invocations: int
    """How often the SDK's app was invoked."""
    cpu: float
    """Milliseconds."""

    @property
    def in_process(self) -> float:
        """The price where the handler is in the same function."""
        return sum(self.bill.dollars.values())

    @property
    def with_driver(self) -> float:
        """The price where the handler is in a Lambda function of its own."""
        seconds = 2 * self.invocations * REQUEST_SECONDS
        return self.in_process + self.invocations * prices.INVOCATION + seconds * MEMORY * prices.GB_SECOND


@contextmanager
def _counted_invocations(streams: bool) -> Iterator[list[str]]:
    found: list[str] = []
    exchange, open = AppEndpoint.exchange, AppEndpoint.open

    async def counted_exchange(self: AppEndpoint, service: str, handler: str, body: bytes) -> bytes:
        found.append(handler)
        return await exchange(self, service, handler, body)

    async def counted_open(self: AppEndpoint, service: str, handler: str) -> Stream:
        found.append(handler)
        return await open(self, service, handler)

    with patch.multiple(AppEndpoint, exchange=counted_exchange, open=counted_open, streams=streams):
        yield found


async def count(path: str, input: Any, *, streams: bool = False, repeat: int = 1) -> Counted:
    """Do a piece of work in memory, and return what it took; the CPU is the least of ``repeat`` runs."""
    with _counted_invocations(streams) as invocations:
        stage = World(
            PricedStore(), [Bench, Cases, Counter, restate.app(services=[bench, counter])], clock=StillClock()
        )
        best = float("inf")
        for _ in range(repeat):
            invocations.clear()
            stage.invocations = 0
            began = time.process_time()
            with stage.measured() as cost:
                await stage.call(path.format(uuid4().hex), input)
            best = min(best, (time.process_time() - began) * 1000)
    bill = bill_of(cost, stage.invocations)
    return Counted(bill, len(invocations), best)


async def page() -> str:
    """Return the table of the page on SDKs: what is counted, and the prices."""
    rows: list[list[Any]] = []
    for work in WORK:
        native = await count(work.native, work.input)
        stream = await count(work.sdk, work.input, streams=True)
        requests = await count(work.sdk, work.input)
        rows.append(
            [
                work.name,
                native.bill.requests,
                stream.bill.requests,
                stream.invocations,
                requests.invocations,
                million(native.in_process),
                million(stream.in_process),
                million(requests.with_driver),
            ]
        )
    titles = [
        "",
        "requests, Python",
        "requests, SDK",
        "invocations of the SDK, streams",
        "invocations of the SDK, requests",
        "$, Python",
        "$, SDK in the process",
        "$, SDK behind a driver",
    ]
    return table(titles, rows)


async def measured(repeat: int) -> list[dict[str, Any]]:
    """Return the rows of the benchmark, with CPU."""
    rows: list[dict[str, Any]] = []
    for work in WORK:
        native = await count(work.native, work.input, repeat=repeat)
        stream = await count(work.sdk, work.input, streams=True, repeat=repeat)
        requests = await count(work.sdk, work.input, repeat=repeat)
        rows.append(
            {
                "work": work.name,
                "requests, Python": native.bill.requests,
                "requests, SDK": stream.bill.requests,
                "invocations of the SDK, streams": stream.invocations,
                "invocations of the SDK, requests": requests.invocations,
                "CPU ms, Python": round(native.cpu, 1),
                "CPU ms, SDK, streams": round(stream.cpu, 1),
                "CPU ms, SDK, requests": round(requests.cpu, 1),
                "$ per million, Python": million(native.in_process),
                "$ per million, SDK in the process": million(stream.in_process),
                "$ per million, SDK behind a driver": million(requests.with_driver),
            }
        )
    return rows


if __name__ == "__main__":
    print(asyncio.run(page()))
