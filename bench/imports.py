"""What importing the Lambda entry costs: the part of a cold start that is ours."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

ENTRY = "from adapter import lambda_handler; import adapter.aws.events, adapter.aws.host"
"""What a function imports before its first event."""

BUDGET = 400


def cold_import(repeat: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of the import in all, and of the packages that take most of it; the fastest of several times."""
    runs = [_import() for _ in range(repeat)]
    fastest = min(runs, key=lambda packages: sum(packages.values()))
    rows: list[dict[str, Any]] = [
        {"package": "in all", "ms": round(sum(fastest.values()), 1), "budget": BUDGET},
    ]
    for package, ms in sorted(fastest.items(), key=lambda entry: -entry[1])[:12]:
        rows.append({"package": package, "ms": round(ms, 1), "budget": ""})
    return rows


def _import() -> dict[str, float]:
    """Milliseconds that each package's own modules take, without those that every Python starts with."""
    report = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ENTRY], capture_output=True, text=True, check=True
    ).stderr
    packages: dict[str, float] = {}
    started = False
    for line in report.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if started and own.strip().isdigit():
            package = name.strip().partition(".")[0]
            packages[package] = packages.get(package, 0) + int(own) / 1000
        started = started or name.strip() == "site"
    return packages
