"""Run it: ``make chaos MINUTES=5``. Ends with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from threading import Event, Thread
from typing import Any

import httpx

from adapter.aws.tables import read
from adapter.engine.records import Head, Record
from adapter.engine.types import ObjectKey
from infra import emulator as emulators
from infra.deploy import build, deploy, local_parameters
from infra.emulator import ROOT
from infra.stack import Stack
from tests.chaos.checks import Evidence, check, repeated
from tests.chaos.functions.bank import OPENING
from tests.chaos.functions.shop import STOCK, TILL
from tests.chaos.load import ACCOUNTS, SKUS, TURNSTILES, Asked, Clients
from tests.chaos.stack import BUILD, TIMEOUT, packaged
from tests.chaos.watch import Ledger, Ran, Watch
from tests.chaos.weather import Weather
from tests.faults.aws import FaultyAWS, all_is_well

RESULTS = ROOT / "bench" / "results"

SWEEPS = (5.0, 15.0)
"""Seconds between two sweeps that are asked for beside the minute's, so that more faults fit into the time."""

QUIET = 300
"""Seconds after the last fault within which everything has to be over."""

REPORT = 10
"""Seconds between two lines of progress."""

STARTED = time.monotonic()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults on the deployed stack.")
    parser.add_argument("--minutes", type=float, default=5, help="how long the load and the faults last")
    parser.add_argument("--seed", type=int, help="of the load and the faults; by chance if not given")
    parser.add_argument("--clients", type=int, default=12, help="how many ask at a time")
    options = parser.parse_args()
    seed = Random().randrange(1_000_000) if options.seed is None else options.seed
    say(f"seed {seed}, {options.minutes:g} minutes, {options.clients} clients")
    say("building the functions (minutes, if anything changed)")
    BUILD.parent.mkdir(parents=True, exist_ok=True)
    build(BUILD, local_parameters())
    watch = Watch()
    with (
        emulators.running(ROOT / ".local" / "chaos" / "emulator") as emulator,
        FaultyAWS(emulator, watch) as aws,
        Ledger(watch.ran) as ledger,
    ):
        say(f"emulator on {emulator.url}, log {emulator.log}; deploying")
        stack = Stack("adapter-chaos", emulator.url)
        with packaged(aws.url, ledger.url) as packages:
            deploy(stack, packages, local_parameters())
        say(f"deployed: {stack.url}")
        with sweeps(stack):
            clients, weather, took = asyncio.run(trouble(stack, aws, watch, seed, options.minutes, options.clients))
        evidence = gather(stack, clients.asked, watch)
        wrong = check(evidence)
        rows = report(evidence, clients, weather, watch)
        write(rows, wrong, seed=seed, minutes=options.minutes, clients=options.clients, quiet=took)
        say("ending the emulator")
    return 1 if wrong else 0


async def trouble(
    stack: Stack, aws: FaultyAWS, watch: Watch, seed: int, minutes: float, count: int
) -> tuple[Clients, Weather, float]:
    """Load and faults, then only what is left of the load. Says how long that took."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=60) as http:  # every function has a process, and works
        for path in ("/Account/account-0/balance", "/Stock/chair/left"):
            (await http.post(path)).raise_for_status()
    clients = Clients(stack.url, Random(f"{seed} load"), count)
    weather = Weather(Random(f"{seed} faults"), watch)
    end = time.monotonic() + minutes * 60
    aws.plan = weather
    load = asyncio.create_task(clients.run(lambda: time.monotonic() >= end))
    while time.monotonic() < end:
        await asyncio.wait([load], timeout=min(REPORT, max(0.0, end - time.monotonic())))
        progress(clients, weather, watch)
        if load.done():
            break
    aws.plan = all_is_well
    calm = time.monotonic()
    say(f"no more faults, no more load: {len(clients.open)} requests are open")
    while not load.done() and time.monotonic() - calm < QUIET:
        await asyncio.wait([load], timeout=REPORT)
        progress(clients, weather, watch)
    took = time.monotonic() - calm
    if not load.done():
        load.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await load
    return clients, weather, took


@contextlib.contextmanager
def sweeps(stack: Stack) -> Iterator[None]:
    """Asks for sweeps at odd times."""
    over, random = Event(), Random()
    functions, function = stack.client("lambda"), stack.outputs["GreeterFunctionName"]

    def ask() -> None:
        while not over.wait(random.uniform(*SWEEPS)):
            functions.invoke(
                FunctionName=f"{function}:live", InvocationType="Event", Payload=json.dumps({"adapter": "sweep"})
            )

    thread = Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def gather(stack: Stack, asked: list[Asked], watch: Watch) -> Evidence:
    """Read the tables, and in them the balances and the stock: handlers may not work any more."""
    records = list(stored(stack))
    state = {record.key: record.state for record in records if isinstance(record, Head)}

    def number(service: str, key: str, name: str, default: int) -> int:
        return int(state.get(ObjectKey(service, key), {}).get(name, default))

    balances = {key: number("Account", key, "balance", OPENING) for key in (*ACCOUNTS, TILL)}
    stock = {key: number("Stock", key, "left", STOCK) for key in SKUS}
    counts = {key: number("Turnstile", key, "total", 0) for key in TURNSTILES}
    return Evidence(asked, balances, stock, counts, records, watch.events)


def stored(stack: Stack) -> Iterator[Record]:
    """What is in the tables, but for the directory of services."""
    dynamodb = stack.client("dynamodb")
    for table in stack.tables:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            for item in page["Items"]:
                if item["pk"]["S"].startswith("inv_") or "/" in item["pk"]["S"]:
                    yield read(item)


# --- what is said ----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """On the terminal."""
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def progress(clients: Clients, weather: Weather, watch: Watch) -> None:
    """Where it stands."""
    say(
        f"{len(clients.asked) - len(clients.open)} requests done, {len(clients.open)} open; "
        f"{weather.faults['worker killed']} workers killed, {weather.faults.total()} faults; "
        f"{len(watch.recoveries)} recoveries, {len(watch.struck)} to come"
    )


def report(evidence: Evidence, clients: Clients, weather: Weather, watch: Watch) -> dict[str, dict[str, Any]]:
    """The numbers, by what they are about."""
    requests: Counter[str] = Counter()
    for one in evidence.asked:
        requests[one.kind] += 1
    statuses = Counter(f"{one.kind}: {one.status or 'no result'}" for one in evidence.asked)
    times = sorted(one.ended - one.begun for one in evidence.asked if one.ended) or [0.0]
    recoveries: dict[str, list[float]] = defaultdict(list)
    for recovery in watch.recoveries:
        recoveries[recovery.after].append(recovery.seconds)
    runs = sum(isinstance(event, Ran) for event in evidence.events)
    return {
        "requests": {
            "all": len(evidence.asked),
            **dict(sorted(statuses.items())),
            "seconds, median": round(statistics.median(times), 2),
            "seconds, longest": round(times[-1], 1),
        },
        "troubles of clients": dict(sorted(clients.troubles.items())),
        "faults": {"all": weather.faults.total(), **dict(sorted(weather.faults.items()))},
        "recoveries": {
            "all": len(watch.recoveries),
            **{
                f"after {after}": f"{len(each)}, median {statistics.median(each):.1f} s, longest {max(each):.1f} s"
                for after, each in sorted(recoveries.items())
            },
            "longest, seconds": round(max((each.seconds for each in watch.recoveries), default=0.0), 1),
        },
        "steps": {
            "run": runs,
            "again, as a crash came before the result was recorded": repeated(evidence.events),
        },
    }


def write(
    rows: dict[str, dict[str, Any]], wrong: list[str], *, seed: int, minutes: float, clients: int, quiet: float
) -> None:
    """Print it, and keep it under `bench/results/`."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    settings = (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}: {minutes:g} minutes, seed {seed}, {clients} clients, functions of "
        f"{TIMEOUT} s, a sweep every {statistics.mean(SWEEPS):.0f} s; over {quiet:.0f} s after the last fault"
    )
    lines = ["| what | number |", "| --- | ---: |"]
    for group, numbers in rows.items():
        lines += [f"| **{group}** | |", *(f"| {name} | {number} |" for name, number in numbers.items())]
    found = [f"- {each}" for each in wrong] or ["Nothing is wrong."]
    text = "\n".join([settings, "", *lines, "", *found])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chaos.md").write_text(f"# chaos\n\n{text}\n")
    (RESULTS / "chaos.json").write_text(
        json.dumps({"settings": settings, "seed": seed, "rows": rows, "wrong": wrong}, indent=1) + "\n"
    )
    print(f"\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
