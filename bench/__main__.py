"""Measures what things cost.

    python -m bench [--only NAME] [--repeat N] [--no-compare] [--minutes N]

Tables, printed and written to `bench/results/`. With `--only`, the rows that are not measured stay as they are there:

- costs, scale: requests, capacity units, CPU, price and time of the budget table's cases, on both stores.
- growth: how costs grow with size.
- memory: with `--minutes`, the resident memory of `adapter dev` under load for so long. Its state is in memory and soon
  forgotten.
- contention: the time of what many processes do at once.
- package, import, coldstart, client, engine: the size of a function's package, the import of the Lambda entry, a cold
  start under the CPU quota of a small function, the CPU of a request to DynamoDB, and that of the engine.
- sdks: handlers of a Restate SDK beside the same in Python.
- compare: where `../shared/bench` is, the workloads of `compare.py` there, ours on DynamoDB (the emulator, or
  AWS_ENDPOINT_URL) beside Restate's.
- sdk-compare: a TypeScript service of a Restate SDK behind a Restate server, where it can be had, and behind ours.
- durable: the work of `compare_durable.py` there, in a durable function of AWS's SDK and in a stack of ours. Both are
  deployed on an emulator that counts.
- targets: all rows that have a target, with the limit, the target, today's figure and what it took, from what was
  measured last. A number tells the machine, if the tables are of several.

`python -m bench.costs` writes the prices into docs/costs.md, and the table durable.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from adapter.engine.decide import REFRESH_EVERY
from adapter.engine.ports import Store
from bench.cases import CASES, SCALE, Case, world
from bench.client import client_cpu
from bench.coldstart import cold_start
from bench.compare import PEER, compare
from bench.contention import CONTENTION, Fleet, SlowStore
from bench.costs import bill_of
from bench.durable import NAME as DURABLE
from bench.durable import durable_compare
from bench.endpoints import NAME as ENDPOINTS
from bench.endpoints import sdk_compare
from bench.engine import engine_cpu
from bench.growth import growth
from bench.imports import cold_import
from bench.memory import long_lived
from bench.package import package_size
from bench.sdks import measured as sdk_costs
from bench.tables import Row, kept, show
from bench.targets import targets
from bench.world import Cost, PricedStore, World
from infra import emulator
from infra.emulator import ROOT

TARGETS = "targets"

LEAST_REPEATED = 3
"""How often a case is run at least with the store in memory. A collection of garbage may take longer than the case."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What things cost.")
    parser.add_argument(
        "--only", default="", help="only the cases and workloads whose name contains this, or one table"
    )
    parser.add_argument("--repeat", type=int, default=5, help="how often each case is run; the median is shown")
    parser.add_argument("--no-compare", action="store_true", help="leave the comparison out")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="measure the table `memory`, with so many minutes of load"
    )
    arguments = parser.parse_args()

    def keep(name: str, rows: list[Row]) -> None:
        show(name, rows, partial=arguments.only not in ("", name))

    once: dict[str, Callable[[], list[Row]]] = {
        "memory": lambda: asyncio.run(long_lived(arguments.minutes * 60)),
        "package": package_size,
        "import": cold_import,
        "coldstart": cold_start,
        "client": client_cpu,
        "engine": engine_cpu,
        "growth": lambda: asyncio.run(growth()),
        "sdks": lambda: asyncio.run(sdk_costs(arguments.repeat)),
    }
    for name, measure in once.items():
        if arguments.only in ("", name) and (name != "memory" or arguments.minutes):
            keep(name, measure())
    if arguments.only in ("", DURABLE) and not arguments.no_compare and PEER.exists():
        keep(DURABLE, durable_compare())
    if arguments.only not in (*once, DURABLE, TARGETS):
        _on_dynamodb(arguments, keep)
    tables = kept()
    show(TARGETS, targets(tables.rows), of=tables)


def _on_dynamodb(arguments: argparse.Namespace, keep: Callable[[str, list[Row]], None]) -> None:
    with _dynamodb() as endpoint:
        keep("costs", asyncio.run(_costs(CASES, endpoint, arguments.only, arguments.repeat)))
        keep("scale", asyncio.run(_costs(SCALE, endpoint, arguments.only, 1)))
        keep("contention", asyncio.run(_contention("" if arguments.only == "contention" else arguments.only)))
        if arguments.no_compare or not PEER.exists():
            print(f"==> no comparison{'' if PEER.exists() else f': {os.path.relpath(PEER)} is not there'}")
        else:
            keep("compare", compare(endpoint, arguments.only) if arguments.only != ENDPOINTS else [])
        if not arguments.no_compare:
            keep(ENDPOINTS, sdk_compare(endpoint, arguments.only))


@contextmanager
def _dynamodb() -> Iterator[str]:
    given = os.environ.get("AWS_ENDPOINT_URL")
    if given:
        yield given
        return
    with emulator.running(ROOT / ".local" / "bench" / "emulator") as own:
        yield own.url


async def _costs(cases: Sequence[Case], endpoint: str, only: str, repeat: int) -> list[Row]:
    from adapter.aws.store import DynamoStore
    from adapter.aws.wire import Api, Credentials, Fixed, Place
    from adapter.local.dynamodb import create_tables, make_client

    client = make_client(
        endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    api = Api("dynamodb", place=Place("us-east-1", endpoint), source=Fixed(Credentials("test", "test")))
    rows: list[Row] = []
    for case in cases:
        if only not in case.name:
            continue
        row: Row = {"case": case.name, "limit": case.limit, "budget": case.budget}
        for label, times in (("memory", max(repeat, LEAST_REPEATED)), ("dynamodb", repeat)):
            costs = []
            for _ in range(times):
                store: Store = PricedStore()
                tables: Sequence[str] = ()
                if label == "dynamodb":
                    name = uuid4().hex[:12]
                    tables = f"invocations-{name}", f"objects-{name}"
                    create_tables(client, invocations=tables[0], objects=tables[1], history=False)
                    store = DynamoStore(*tables, api=api)
                stage = world(store)
                costs.append(await case.run(stage))
                if label == "memory":
                    million = bill_of(costs[-1], stage.invocations).million
                for table in tables:
                    client.delete_table(TableName=table)
            longest = max(cost.ms for cost in costs)
            row[f"{label} requests"] = max(cost.requests for cost in costs)
            row[f"{label} ms"] = round(statistics.median(cost.ms for cost in costs), 1)
            if label == "memory":
                row["read units"], row["write units"] = costs[0].read_units, costs[0].write_units
                row["dispatches"] = max(len(cost.dispatches) for cost in costs)
                row["CPU ms"] = round(statistics.median(cost.cpu for cost in costs), 2)
                row["$ a million"] = round(million, 1)
        # An attempt that runs for long reads its record every three seconds.
        over = row["memory requests"] > case.budget or row["dynamodb requests"] > case.budget + longest // REFRESH_EVERY
        row["over budget"] = "yes" if over else ""
        print(row, flush=True)
        rows.append(row)
    return rows


async def _contention(only: str) -> list[Row]:
    rows: list[Row] = []
    for case in CONTENTION:
        if only in case.name:
            fleet = Fleet(SlowStore())
            with fleet.measured() as cost:
                seen = await case.run(fleet)
            rows.append(case.row(seen) | _taken(cost, fleet))
            print(rows[-1], flush=True)
    return rows


def _taken(cost: Cost, stage: World) -> Row:
    """Return the columns of what a case took in all."""
    return {
        "requests": cost.requests,
        "write units": cost.write_units,
        "read units": cost.read_units,
        "CPU ms": round(cost.cpu, 2),
        "$ a million": round(bill_of(cost, stage.invocations).million, 1),
    }


if __name__ == "__main__":
    main()
