"""What a million requests cost, beside AWS's own: `python -m bench.costs` writes docs/costs.md.

Everything is computed from counts and `bench.prices`. Ours are counted in memory, where the contract tests hold the
capacity units equal to DynamoDB's. The time that functions run is not measured, as it would differ from machine to
machine, but computed from the requests that they wait for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapter.engine.ids import SHARDS
from bench import prices
from bench.cases import CASES, SCALE, WAITING, Case, world
from bench.world import Cost, PricedStore, QuickClock, World

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "costs.md"

DURABLE: Final = Path(__file__).parent / "results" / "durable.json"
"""What was measured beside AWS's SDK for durable functions, on an emulator."""

MEMORY: Final = 1.0
"""GB of a function, as in template.yaml."""

INVOCATION_SECONDS: Final = 0.003
"""How long an invocation runs beside its requests."""

REQUEST_SECONDS: Final = 0.005
"""How long one waits for a request to the store, or for a checkpoint."""

COURIER: Final = 0.25
"""GB of the function that receives short delays."""

DELAY: Final = (
    3 * prices.QUEUE_REQUEST + prices.INVOCATION + COURIER * (INVOCATION_SECONDS + REQUEST_SECONDS) * prices.GB_SECOND
)
"""The price of a short delay: a message is sent, received and deleted, and the courier invokes the function."""

RESULT: Final = 100
"""Bytes that a durable function's operation writes, about."""

RETENTION: Final = 14 / 30
"""Months for which a durable function's history is kept, by default."""

DAY: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Work:
    """A row of the table: the same work three times.

    Attributes:
        name: What is done.
        case: The name of ours.
        operations: Of a durable function: its start, and each step, wait, invoke and child context. A function that it
            calls has no operations, because handlers without steps need none. ``None`` if there is no such thing.
        invocations: Of Lambda, by a durable function.
        transitions: Of a workflow of Step Functions: its start, each state that it enters, and its end. ``None`` if
            there is no such thing.
        tasks: Of Lambda, by such a workflow.
    """

    name: str
    case: str
    operations: int | None
    invocations: int
    transitions: int | None
    tasks: int


WORK: Final = [
    Work("a handler without steps", "service handler, no steps", 1, 1, 3, 1),
    Work("… with an idempotency key", "service handler, no steps, idempotency key", 1, 1, 3, 1),
    Work("an exclusive handler that gets and sets", "exclusive handler, get and set", None, 0, None, 0),
    Work("10 steps", "10 steps in sequence", 11, 1, 12, 10),
    Work("100 steps", "100 steps in sequence", 101, 1, 102, 100),
    Work("10 calls in one function", "10 calls to service handlers", 11, 1, 12, 10),
    Work("10 sends, and what they start", "10 sends, and what they start", 11, 11, 12, 10),
    Work("a sleep of an hour", "sleep of an hour", 2, 2, 4, 1),
    Work("a sleep of 5 s, and a client that waits", "sleep of 5 s with a client that waits", 2, 2, 4, 1),
    Work("… with `Prefer: wait=1`", "sleep of 5 s, with a client that prefers to wait for 1 s", 2, 2, 4, 1),
    Work("… with `Prefer: respond-async`", "sleep of 5 s, with a client that asks later", 2, 2, 4, 1),
    Work("… with `Prefer: respond-suspended`", "sleep of 5 s, with a client that leaves", 2, 2, 4, 1),
    Work("… from a `Client`", "sleep of 5 s, with a client that leaves, idempotency key", 2, 2, 4, 1),
    Work("a call into another function", "call into another function", 2, 3, 3, 1),
    Work("… and a client that waits", "call into another function with a client that waits", 2, 3, 3, 1),
    Work("20 calls into another function, at once", "fan-in of 20 calls into another function", 21, 22, 23, 20),
    Work("100 suspensions", "100 suspensions", 101, 101, 103, 1),
]


@dataclass(frozen=True)
class Bill:
    """What a piece of work took of ours."""

    requests: int
    write_units: float
    read_units: float
    expiry_units: float
    invocations: int
    schedules: int
    delays: int
    history_units: int
    held: float = 0.0

    @property
    def gb_seconds(self) -> float:
        """The time that functions ran, times their memory."""
        return MEMORY * (self.held + self.invocations * INVOCATION_SECONDS + self.requests * REQUEST_SECONDS)

    @property
    def million(self) -> float:
        """The price of a million such pieces of work, in dollars."""
        return sum(self.dollars.values()) * prices.MILLION

    @property
    def dollars(self) -> dict[str, float]:
        """The price, by what it is for."""
        return {
            "DynamoDB": self.write_units * prices.WRITE_UNIT + self.read_units * prices.READ_UNIT,
            "history": self.history_units * prices.WRITE_UNIT,
            "expiry": self.expiry_units * prices.WRITE_UNIT,
            "Lambda": self.invocations * prices.INVOCATION + self.gb_seconds * prices.GB_SECOND,
            "timers": self.schedules * prices.SCHEDULE + self.delays * DELAY,
        }


async def bill(case: Case) -> Bill:
    """Do a case in memory, let all of it expire, and return what that took."""
    stage = world(PricedStore(), QuickClock())
    cost = await case.run(stage)
    return bill_of(cost, stage.invocations, await _expire(stage))


def bill_of(cost: Cost, invocations: int, expiry_units: float = 0.0) -> Bill:
    """Return the bill of what was counted."""
    return Bill(
        cost.requests,
        cost.write_units,
        cost.read_units,
        expiry_units,
        invocations,
        cost.schedules,
        cost.delays,
        cost.history_units,
        cost.held,
    )


async def _expire(stage: World) -> float:
    """Return the units of deleting what is no longer kept."""
    stage.delivers = True
    stage.clock.move_to(stage.clock.now() + 2 * DAY)
    engine = stage.process("Bench")
    with stage.measured() as cost:
        for shard in range(SHARDS):
            await engine.sweeper.clear(shard)
        await engine.process.drain()
        await stage.settle()
    return cost.write_units


def durable(work: Work) -> float | None:
    """Return what a durable function costs."""
    if work.operations is None:
        return None
    written = work.operations * RESULT / 1e9
    return (
        work.operations * prices.DURABLE_OPERATION
        + written * (prices.DURABLE_GB_WRITTEN + RETENTION * prices.DURABLE_GB_MONTH)
        + _run(work.invocations, work.operations)
    )


def step_functions(work: Work) -> float | None:
    """Return what a workflow of Step Functions costs."""
    if work.transitions is None:
        return None
    return work.transitions * prices.TRANSITION + _run(work.tasks, 0)


def _run(invocations: int, requests: int) -> float:
    seconds = invocations * INVOCATION_SECONDS + requests * REQUEST_SECONDS
    return invocations * prices.INVOCATION + MEMORY * seconds * prices.GB_SECOND


async def bills() -> dict[Work, Bill]:
    """Return what each piece of work takes of ours."""
    cases = {case.name: case for case in [*CASES, *WAITING, *SCALE]}
    return {work: await bill(cases[work.case]) for work in WORK}


def page(bills: Mapping[Work, Bill]) -> str:
    """Return the page, with all figures."""
    counts, costs = [], []
    for work, took in bills.items():
        counts.append([
            work.name, took.requests, took.write_units, took.history_units, took.read_units, took.expiry_units,
            took.invocations,
            f"{took.gb_seconds * 1000:.0f}", took.schedules, took.delays,
        ])  # fmt: skip
        dollars = took.dollars
        ours, theirs = sum(dollars.values()), (durable(work), step_functions(work))
        costs.append([work.name, *map(million, dollars.values()), f"**{million(ours)}**", *map(million, theirs)])
    return TEXT.format(
        counts=table(
            [
                "",
                "requests",
                "units written",
                "of history",
                "units read",
                "units to delete",
                "invocations",
                "GB-ms",
                "schedules",
                "short delays",
            ],
            counts,
        ),
        costs=table(
            ["", "DynamoDB", "history", "expiry", "Lambda", "timers", "ours", "durable functions", "Step Functions"],
            costs,
        ),
        memory=f"{MEMORY:g}",
        request=f"{REQUEST_SECONDS * 1000:g}",
        invocation=f"{INVOCATION_SECONDS * 1000:g}",
        **_measured(),
        durable=f"{prices.DURABLE_OPERATION * prices.MILLION:g}",
        transition=f"{prices.TRANSITION * prices.MILLION:g}",
    )


def _measured() -> dict[str, str]:
    """Return what the page says of the comparison with AWS's SDK for durable functions: its table, where and when."""
    stored = json.loads(DURABLE.read_text())
    rows = stored["rows"]
    measured = table(list(rows[0]), [list(row.values()) for row in rows])
    return {"measured": measured, "machine": stored["machine"], "when": "; ".join(stored["measured"])}


TEXT: Final = """# What it costs

What a million requests cost, in dollars, by the list prices of us-east-1, beside AWS Lambda durable functions and Step
Functions (standard workflows) for the same work. `python -m bench.costs` writes this page, and a test compares it. The
prices are in [bench/prices.py](../bench/prices.py).

{costs}

Two rows cost more than a durable function: the client that waits for a sleep, and the one with `Prefer: wait=1`. In
both a process waits with the client, because it insists on one response, or on a second of waiting. All other rows
cost less.

Not in the table, as all three need it alike: API Gateway (1.00), logs, and what handlers themselves call. "n/a" stands
where there is no such thing: neither has keys that are owned. A function that a durable function calls is a plain one
in this table. If it is durable as well, each call is one operation more. In Step Functions it is a task.

## The counts behind it

{counts}

- **units**: write and read capacity units of DynamoDB, those of the due index among them. A transaction counts twice.
- **history**: the index that lists what has completed: two units an invocation, or one if it is stored when it has
  ended already. A stack with [`History=false`](deploying.md) does not have it, and saves that column.
- **units to delete**: what deleting an invocation costs when its retention has passed. DynamoDB's time to live deletes
  for nothing.
- **GB-ms**: {memory} GB for {invocation} ms an invocation and {request} ms a request. Steps and handlers of your own
  add to that, in each of the three columns alike.
- **a client that waits**: a function runs as long as its client waits, which costs that time. While the handler
  sleeps, the process reads the store every three seconds. With `Prefer: wait=1` the request answers 202 after a
  second, with `Prefer: respond-async` at once. With `Prefer: respond-suspended` it answers 202 when the handler is
  suspended, and a fast call with its result. Then no process waits, and the client asks for the result later.
  `Client` and `SyncClient` [do so](guides/clients.md), with an idempotency key for each call.
- **schedules, short delays**: timers. A delay of up to a minute is a message in a queue of SQS, which a function
  receives: three requests and an invocation. A longer one is a schedule of EventBridge Scheduler.
- **durable functions**: {durable} dollars for a million operations, and what they write and keep for 14 days.
- **Step Functions**: {transition} dollars for a million state transitions, the start and the end among them. Each task
  is a Lambda invocation.

## Measured beside durable functions

The prices above are computed. Here the same work ran in a durable function of AWS's SDK for Python and in a deployed
stack, in turn, on one emulator of AWS. Operations, requests, units and milliseconds were metered. The functions have
512 MB. Times are of this emulator and machine: compare the two sides.

{measured}

Measured on {machine} ({when}), by `python -m bench --only durable`. It needs the programs that deploy and drive both
sides, which are not part of this repository.

- **state**: of durable functions, the price of their operations and data. Of ours, the price of DynamoDB and schedules.
  The rest of a total is Lambda.
- **wait**: the client insists on one response, and a process waits with it. These two rows cost more than a durable
  function. The rows of **our client** are the same work without such a process.
- **10 calls, plain function**: a call into another function takes 7 write units and those of the history while its
  client waits, after the first, which takes 9. In a message the first takes 8.
- **nobody waits**: the request was sent as a message. A client that waits for a handler keeps its process running, and
  that time is paid for. With [`Prefer: respond-suspended`](http.md#long-calls), which `Client` sends, no process waits
  for time to pass. A client of a durable function asks for the result again and again, which is not in the price.
"""


def million(dollars: float | None) -> str:
    """Return the price of a million."""
    if dollars is None:
        return "n/a"
    amount = dollars * prices.MILLION
    return f"{amount:,.1f}" if amount < 100 else f"{amount:,.0f}"


def table(head: list[str], rows: list[list[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


if __name__ == "__main__":
    PAGE.write_text(page(asyncio.run(bills())))
