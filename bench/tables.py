"""Writes the tables of results. Rows that were not measured again are kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
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


def show(name: str, rows: Sequence[Row], *, partial: bool = False) -> None:
    """Print a table, and write it to the results.

    Args:
        name: The table's name, which is that of its files.
        rows: What was measured. Nothing is written if it is empty.
        partial: Only some rows were measured. The others are kept, unless they are of another machine: then the
            table is only printed.
    """
    if not rows:
        return
    path = RESULTS / f"{name}.json"
    print(f"\n==> {name} ({os.path.relpath(path.with_suffix('.md'))})\n\n{table(rows)}\n", flush=True)
    measured = [stamp()]
    if partial and path.exists():
        stored = json.loads(path.read_text())
        if stored["machine"] != MACHINE:
            print(f"==> not written: the other rows are of another machine ({stored['machine']})", flush=True)
            return
        rows = merged(stored["rows"], rows)
        measured = list(dict.fromkeys([*stored.get("measured", ()), f"{measured[0]}, in part"]))
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": MACHINE, "measured": measured, "rows": rows}, indent=1) + "\n")
    path.with_suffix(".md").write_text(f"# {name}\n\n{MACHINE}\n\nMeasured: {'; '.join(measured)}\n\n{table(rows)}\n")


def kept() -> dict[str, list[Row]]:
    """Return the rows of all tables that were measured on a machine like this one, by the tables' names."""
    tables = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    return {name: table["rows"] for name, table in tables.items() if table.get("machine") == MACHINE}


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
