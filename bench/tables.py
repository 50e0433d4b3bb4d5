"""Writes the tables of results. Rows that were not measured again are kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.emulator import ROOT

RESULTS = ROOT / "bench" / "results"

Row = dict[str, Any]


def _processor() -> str:
    """Return the CPU's model. Linux names it on x86_64 only."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown CPU")


MACHINE = f"{_processor()} ({platform.machine()}), {os.cpu_count()} cores, Python {platform.python_version()}"


def stamp() -> str:
    """Return what stands beside a table that is measured now: the date, and the commit."""
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}"


def _commit() -> str:
    """Return the short hash of the commit that is measured."""
    git = ("git", "-C", str(ROOT))
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = [*git, "status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}"]
    if found.returncode:
        return "unknown"
    edited = subprocess.run(changed, capture_output=True, text=True, check=False).stdout
    return f"{found.stdout.strip()}{' and uncommitted changes' if edited else ''}"


def show(name: str, rows: Sequence[Row], *, partial: bool = False, of: Kept | None = None) -> None:
    """Print a table, and write it to the results.

    Args:
        name: The table's name, which is that of its files.
        rows: What was measured. Nothing is written if it is empty.
        partial: Only some rows were measured. The others are kept, unless they are of another machine: then the
            table is only printed.
        of: The tables that the rows are taken from, if they were not measured now.
    """
    if not rows:
        return
    path = RESULTS / f"{name}.json"
    print(f"\n==> {name} ({os.path.relpath(path.with_suffix('.md'))})\n\n{table(rows)}\n", flush=True)
    machine, measured = (MACHINE, [stamp()]) if of is None else (of.machine, of.measured)
    if partial and path.exists():
        stored = json.loads(path.read_text())
        if stored["machine"] != MACHINE:
            print(f"==> not written: the other rows are of another machine ({stored['machine']})", flush=True)
            return
        rows = merged(stored["rows"], rows)
        measured = list(dict.fromkeys([*stored.get("measured", ()), f"{measured[0]}, in part"]))
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "measured": measured, "rows": rows}, indent=1) + "\n")
    path.with_suffix(".md").write_text(f"# {name}\n\n{machine}\n\nMeasured: {'; '.join(measured)}\n\n{table(rows)}\n")


@dataclass(frozen=True)
class Kept:
    """The tables that were measured last.

    Attributes:
        machine: The machine, or several with their numbers.
        measured: When each table was measured, and the commit.
        rows: The rows by the tables' names. If there are several machines, the column ``machine`` has the number.
    """

    machine: str
    measured: list[str]
    rows: dict[str, list[Row]]


def kept() -> Kept:
    """Return all tables in the results."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    found = {name: table for name, table in files.items() if "machine" in table and name != "targets"}
    machines = list(dict.fromkeys(table["machine"] for table in found.values()))
    measured = list(dict.fromkeys(when for table in found.values() for when in table["measured"]))
    if len(machines) < 2:
        return Kept("".join(machines), measured, {name: table["rows"] for name, table in found.items()})
    numbered = {machine: number for number, machine in enumerate(machines, 1)}
    rows = {
        name: [{**row, "machine": numbered[table["machine"]]} for row in table["rows"]] for name, table in found.items()
    }
    return Kept("; ".join(f"machine {number}: {machine}" for machine, number in numbered.items()), measured, rows)


def merged(stored: Sequence[Row], measured: Sequence[Row]) -> list[Row]:
    """Return the stored rows with the measured ones in their places. New rows come last.

    The first column names what was measured. Several rows may have one name: they are replaced together.
    """
    first = next(iter(measured[0]))
    by_name: dict[Any, list[Row]] = {row[first]: [] for row in (*stored, *measured)}
    again = {row[first] for row in measured}
    for row in (*(row for row in stored if row[first] not in again), *measured):
        by_name[row[first]].append(row)
    return [row for rows in by_name.values() for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown. A column that a row lacks is empty there."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    texts = [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, [column, *(text[i] for text in texts)])) for i, column in enumerate(columns)]
    lines = [columns, ["-" * width for width in widths], *texts]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
