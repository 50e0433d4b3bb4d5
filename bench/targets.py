"""One table of all rows that have a target: the limit as we see it, the target, and today's figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

Row = dict[str, Any]

AGAINST_RESTATE: Final = {"100 sends": 1.5}
"""The targets of the ratios to Restate. All others are 1."""

PRICES: Final = {
    "10 steps in sequence": 12.0,
    "100 suspensions": 800.0,
    "call into another function": 25.0,
    "sleep of an hour": 14.0,
}
"""The targets of the prices in dollars a million."""

SLOPE_OF_CPU: Final = 1.1
"""The target of the exponent by which CPU grows with size. Times differ by a tenth from run to run."""

RSS_MB: Final = 5.0
"""MB by which the resident memory of a server under load may grow, in an hour after the first tenth."""

WHY: Final = {
    "10,000 steps": "an attempt that runs for long reads its record every three seconds",
    "1,000 messages to one key, and what they start": (
        "where requests take time, the first messages may be committed before a page of the inbox is full"
    ),
    "service call, idempotency key: time against Restate": "two requests to the store instead of one",
    "object call, fresh keys: time against Restate": "the head of a key that nobody knows is read before it is written",
    "CPU ms of a step, the store in memory": "spread evenly: no function of the engine takes more than a twentieth",
    **{
        f"messages of one invocation{to}: slope of CPU": (
            "all run at once in one process, and Python's garbage collector visits them often; without it: 1.0"
        )
        for to in ("", " to keys of their own")
    },
    **{
        f"wait of {seconds} s: price against a durable function": (
            "a process waits with its client; with `Prefer: respond-suspended` none does"
        )
        for seconds in (2, 5)
    },
    "100 sends: time against Restate": (
        "the emulator's CPU for 300 items is about what Restate takes for all; ours and its are of one machine"
    ),
    "service call, 16 at once: rate against Restate": "the emulator and ours share two cores, in Python",
    "service call, 64 at once: rate against Restate": (
        "the client takes one core of two for 64 connections, 4 ms a request; the emulator and ours share the other"
    ),
}
"""Why a row may miss its target."""

SAME_WORK: Final = {
    "service call": "service handler, no steps",
    "service call, idempotency key": "service handler, no steps, idempotency key",
    "object call, one key": "exclusive handler, get and set",
    "object call, fresh keys": "exclusive handler, get and set",
    "10 steps": "10 steps in sequence",
    "100 steps": "100 steps in sequence",
    "10 service calls": "10 calls to service handlers",
    "10 object calls": "10 calls to object handlers, 1 keys",
    "100 sends": "100 sends, and what they start",
    "service call, 16 at once": "service handler, no steps",
    "service call, 64 at once": "service handler, no steps",
}
"""The case that counts what a workload of the comparison with Restate takes of ours."""

TAKEN: Final = ("requests", "write units", "read units", "CPU ms", "$ a million")
"""What a row took."""

COLUMNS: Final = ("row", "limit", "target", "today", "met", "missed by", "why", *TAKEN, "machine")


def targets(tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the table, from the tables that were measured.

    Args:
        tables: Rows by the tables' names. If they are of several machines, their column ``machine`` says which.
    """
    counted = {each["case"]: _taken(each) for name in ("costs", "scale") for each in tables.get(name, ())}
    rows: list[Row] = []
    for name, rows_of in ROWS.items():
        for each in tables.get(name, ()):
            rows += ({**row, "machine": each.get("machine", "")} for row in rows_of(each))
        if name == "growth" and (memory := tables.get("memory", ())):
            rows.append({**_memory(memory), "machine": memory[-1].get("machine", "")})
    for row in rows:
        row |= counted.get(SAME_WORK.get(row.pop("work", ""), ""), {})
        if row.get("met") == "no":
            row |= {"missed by": _missed_by(row), "why": WHY.get(row["row"], "not known")}
    columns = [column for column in COLUMNS if column != "machine" or any(row["machine"] for row in rows)]
    return [{column: row.get(column, "") for column in columns} for row in rows]


def _counted(each: Row) -> Iterator[Row]:
    taken = _taken(each)
    row = {**_figure(each["case"], each["budget"], taken["requests"]), "met": _met(not each["over budget"])}
    yield {**row, "limit": each["limit"], **taken}
    if each["case"] in PRICES:
        yield {**_figure(f"{each['case']}: $ a million", PRICES[each["case"]], each["$ a million"]), **taken}


def _client(each: Row) -> Iterator[Row]:
    figure = _figure("CPU ms of the client for a request", each["target ms"], each["CPU ms"])
    yield {**figure, "requests": 1, "CPU ms": each["CPU ms"]}


def _engine(each: Row) -> Iterator[Row]:
    if each["target ms"]:
        figure = _figure(f"CPU ms of {each['work']}, the store in memory", each["target ms"], each["CPU ms"])
        yield {**figure, "CPU ms": each["CPU ms"]}


def _cold_start(each: Row) -> Iterator[Row]:
    figure = _figure("cold start at 0.29 core: s to the first answer", each["target s"], each["first answer s"])
    yield {**figure, "CPU ms": each["CPU ms"]}


def _import(each: Row) -> Iterator[Row]:
    if each["budget"]:
        yield {**_figure("import of the Lambda entry: ms", each["budget"], each["ms"]), "CPU ms": each["ms"]}


def _package(each: Row) -> Iterator[Row]:
    if each["target MB"]:
        yield _figure("package of a function: MB, zipped", each["target MB"], each["MB zipped"])


def _contention(each: Row) -> Iterator[Row]:
    today = f"{each['per second']:g}/s, 99 % within {each['99 % within s']:g} s, all in {each['s']:g} s"
    today = f"{today}, {each['tries']:g} tries" if each["tries"] else today
    told = {name: each.get(name, "") for name in ("limit", "target", "met", *TAKEN)}
    yield {"row": each["case"], **told, "today": today}


def _growth(each: Row) -> Iterator[Row]:
    yield {**_figure(f"{each['of']}: slope of requests", 1.02, each["slope of requests"]), "limit": 1}
    yield {**_figure(f"{each['of']}: slope of CPU", SLOPE_OF_CPU, each["slope of CPU"]), "limit": 1}


def _memory(rows: Sequence[Row]) -> Row:
    grown = round(rows[-1]["RSS MB"] - rows[0]["RSS MB"], 1)
    return _figure("RSS of a server under load, grown since the first tenth: MB", RSS_MB, grown)


def _compare(each: Row) -> Iterator[Row]:
    work = each["workload"]
    if each.get("ratio p50", "") != "":
        figure = _figure(f"{work}: time against Restate", AGAINST_RESTATE.get(work, 1.0), each["ratio p50"])
        yield {**figure, "work": work}
    elif each.get("ratio", "") != "":  # of rates, where more is better
        row, today = f"{work}: rate against Restate", each["ratio"]
        yield {"row": row, "target": 1.0, "today": today, "met": _met(today >= 1), "work": work}


def _durable(each: Row) -> Iterator[Row]:
    ratio = round(each["$, ours"] / each["$, durable function"], 2)
    taken = {"requests": each.get("requests to DynamoDB", ""), "$ a million": each["$, ours"]}
    yield {**_figure(f"{each['work']}: price against a durable function", 1.0, ratio), **taken}


ROWS: Final[Mapping[str, Callable[[Row], Iterator[Row]]]] = {
    "costs": _counted,
    "scale": _counted,
    "client": _client,
    "engine": _engine,
    "coldstart": _cold_start,
    "import": _import,
    "package": _package,
    "contention": _contention,
    "growth": _growth,
    "compare": _compare,
    "durable": _durable,
}
"""What the rows of each table become, in the order in which they are shown."""


def _taken(each: Row) -> Row:
    """Return what a case took."""
    requests = max(each["memory requests"], each["dynamodb requests"])
    return {"requests": requests, **{name: each[name] for name in TAKEN[1:]}}


def _figure(row: str, target: float, today: float) -> Row:
    return {"row": row, "target": target, "today": today, "met": _met(today <= target)}


def _met(met: bool) -> str:
    return "yes" if met else "no"


def _missed_by(row: Row) -> str:
    """Return by what share of its target a row misses it. A row with several targets shows its figures instead."""
    if isinstance(row["target"], str):
        return "see today"
    return f"{abs(row['today'] / row['target'] - 1):.0%}"
