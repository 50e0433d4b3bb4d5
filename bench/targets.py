"""One table of all rows that have a target: the limit as we see it, the target, and today's figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
}
"""Why a row may miss its target."""

COLUMNS: Final = (
    "row", "limit", "target", "today", "met", "why", "requests", "write units", "read units", "CPU ms", "$ a million",
)  # fmt: skip


def targets(tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the table, from the tables that were measured."""
    rows = [*_counted(tables), *_timed(tables), *_compared(tables)]
    for row in rows:
        row["why"] = WHY.get(row["row"], "") if row.get("met") == "no" else ""
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def _counted(tables: Mapping[str, Sequence[Row]]) -> Iterator[Row]:
    for each in (*tables.get("costs", ()), *tables.get("scale", ())):
        today = max(each["memory requests"], each["dynamodb requests"])
        taken = {name: each[name] for name in ("write units", "read units", "CPU ms", "$ a million")}
        row = {**_figure(each["case"], each["budget"], today), "met": _met(not each["over budget"])}
        yield {**row, "limit": each["limit"], "requests": today, **taken}
        if each["case"] in PRICES:
            yield _figure(f"{each['case']}: $ a million", PRICES[each["case"]], each["$ a million"])


def _timed(tables: Mapping[str, Sequence[Row]]) -> Iterator[Row]:
    for each in tables.get("client", ()):
        yield _figure("CPU ms of the client for a request", each["target ms"], each["CPU ms"])
    for each in tables.get("engine", ()):
        if each["target ms"]:
            yield _figure(f"CPU ms of {each['work']}, the store in memory", each["target ms"], each["CPU ms"])
    for each in tables.get("coldstart", ()):
        yield _figure("cold start at 0.29 core: s to the first answer", each["target s"], each["first answer s"])
    for each in tables.get("import", ()):
        if each["budget"]:
            yield _figure("import of the Lambda entry: ms", each["budget"], each["ms"])
    for each in tables.get("package", ()):
        if each["target MB"]:
            yield _figure("package of a function: MB, zipped", each["target MB"], each["MB zipped"])
    for each in tables.get("contention", ()):
        today = f"{each['per second']:g}/s, 99 % within {each['99 % within s']:g} s, all in {each['s']:g} s"
        today = f"{today}, {each['tries']:g} tries" if each["tries"] else today
        told = {name: each[name] for name in ("limit", "target", "met")}
        yield {"row": each["case"], **told, "today": today}
    for each in tables.get("growth", ()):
        yield {**_figure(f"{each['of']}: slope of requests", 1.02, each["slope of requests"]), "limit": 1}
        yield {**_figure(f"{each['of']}: slope of CPU", SLOPE_OF_CPU, each["slope of CPU"]), "limit": 1}
    rows = tables.get("memory", ())
    if rows:
        grown = rows[-1]["RSS MB"] - rows[0]["RSS MB"]
        yield _figure("RSS of a server under load, grown since the first tenth: MB", RSS_MB, round(grown, 1))


def _compared(tables: Mapping[str, Sequence[Row]]) -> Iterator[Row]:
    for each in tables.get("compare", ()):
        if each.get("ratio p50", "") != "":
            target = AGAINST_RESTATE.get(each["workload"], 1.0)
            yield _figure(f"{each['workload']}: time against Restate", target, each["ratio p50"])
        elif each.get("ratio", "") != "":  # of rates, where more is better
            row, today = f"{each['workload']}: rate against Restate", each["ratio"]
            yield {"row": row, "target": 1.0, "today": today, "met": _met(today >= 1)}
    for each in tables.get("durable", ()):
        ratio = round(each["$, ours"] / each["$, durable function"], 2)
        yield _figure(f"{each['work']}: price against a durable function", 1.0, ratio)


def _figure(row: str, target: float, today: float) -> Row:
    return {"row": row, "target": target, "today": today, "met": _met(today <= target)}


def _met(met: bool) -> str:
    return "yes" if met else "no"
