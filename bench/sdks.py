"""What handlers of Restate's SDKs cost beside the same handlers in Python: `python -m bench.sdks`.

The same work is done by definitions, and by an app of Restate's Python SDK in the same process. An exchange with the
app is a function call here. With a driver, it is an invocation of the SDK's Lambda function, and both functions are
billed while it runs. Requests, units and exchanges are counted. Prices are computed from them as in `bench.costs`; the
CPU is measured, the app's own included.
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

from adapter.local.memory import MemoryStore
from adapter.restate.apps import AppEndpoint
from bench import prices
from bench.cases import Cases
from bench.costs import MEMORY, Bill, million, table
from bench.services import Bench, Counter
from bench.world import StillClock, World

EXCHANGE_SECONDS: Final = 0.005
"""How long an exchange takes a warm SDK's function, and its driver waits for it."""

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
        native: The path of the handler in Python; ``None`` if there is none such.
        sdk: The path of the SDK's handler.
        input: Its input.
    """

    name: str
    native: str | None
    sdk: str
    input: Any


WORK: Final = [
    Work("a service handler without steps", "Bench/greet", "SdkBench/greet", "x"),
    Work("an exclusive handler that reads and writes its state", "Counter/{}/add", "SdkCounter/{}/add", 1),
    Work("10 steps in sequence", "Bench/steps", "SdkBench/steps", 10),
    Work("100 steps in sequence", "Bench/steps", "SdkBench/steps", 100),
    Work("10 steps at once", None, "SdkBench/steps_at_once", 10),
    Work("10 calls in sequence", "Bench/calls", "SdkBench/calls", 10),
    Work("10 calls at once", "Cases/fan", "SdkBench/calls_at_once", 10),
    Work("10 calls to one key in sequence", "Bench/objcalls", "SdkBench/objcalls", 10),
]


@dataclass
class Counted:
    """What a piece of work took."""

    bill: Bill
    exchanges: int
    cpu: float
    """Milliseconds."""

    @property
    def in_process(self) -> float:
        """The price where the handler is in the same function."""
        return sum(self.bill.dollars.values())

    @property
    def with_driver(self) -> float:
        """The price where the handler is in a Lambda function of its own."""
        seconds = 2 * self.exchanges * EXCHANGE_SECONDS
        return self.in_process + self.exchanges * prices.INVOCATION + seconds * MEMORY * prices.GB_SECOND


@contextmanager
def _counted_exchanges() -> Iterator[list[str]]:
    found: list[str] = []
    exchange = AppEndpoint.exchange

    async def counted(self: AppEndpoint, service: str, handler: str, body: bytes) -> bytes:
        found.append(handler)
        return await exchange(self, service, handler, body)

    with patch.object(AppEndpoint, "exchange", counted):
        yield found


async def count(path: str, input: Any, *, repeat: int = 1) -> Counted:
    """Do a piece of work in memory, and return what it took; the CPU is the least of ``repeat`` runs."""
    with _counted_exchanges() as exchanges:
        stage = World(
            MemoryStore(), [Bench, Cases, Counter, restate.app(services=[bench, counter])], clock=StillClock()
        )
        best = float("inf")
        for _ in range(repeat):
            exchanges.clear()
            stage.invocations = 0
            began = time.process_time()
            with stage.measured() as cost:
                await stage.call(path.format(uuid4().hex), input)
            best = min(best, (time.process_time() - began) * 1000)
    bill = Bill(cost.requests, cost.write_units, cost.read_units, 0, stage.invocations, cost.schedules)
    return Counted(bill, len(exchanges), best)


async def page() -> str:
    """Return the table of the page on SDKs: what is counted, and the prices."""
    rows: list[list[Any]] = []
    for work in WORK:
        native = await count(work.native, work.input) if work.native is not None else None
        sdk = await count(work.sdk, work.input)
        rows.append(
            [
                work.name,
                native.bill.requests if native else "",
                sdk.bill.requests,
                sdk.exchanges,
                million(native.in_process) if native else "",
                million(sdk.in_process),
                million(sdk.with_driver),
            ]
        )
    titles = [
        "",
        "requests, Python",
        "requests, SDK",
        "exchanges",
        "$, Python",
        "$, SDK in the process",
        "$, SDK behind a driver",
    ]
    return table(titles, rows)


async def measured(repeat: int) -> list[dict[str, Any]]:
    """Return the rows of the benchmark, with CPU."""
    rows: list[dict[str, Any]] = []
    for work in WORK:
        native = await count(work.native, work.input, repeat=repeat) if work.native is not None else None
        sdk = await count(work.sdk, work.input, repeat=repeat)
        rows.append(
            {
                "work": work.name,
                "requests, Python": native.bill.requests if native else "",
                "requests, SDK": sdk.bill.requests,
                "exchanges": sdk.exchanges,
                "CPU ms, Python": round(native.cpu, 1) if native else "",
                "CPU ms, SDK": round(sdk.cpu, 1),
                "$ per million, Python": million(native.in_process) if native else "",
                "$ per million, SDK in the process": million(sdk.in_process),
                "$ per million, SDK behind a driver": million(sdk.with_driver),
            }
        )
    return rows


if __name__ == "__main__":
    print(asyncio.run(page()))
