"""What importing the Lambda entry costs: the part of a cold start that is ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

ENTRY = "from adapter import lambda_handler; import adapter.aws.events, adapter.aws.host"
"""What a function imports before its first event."""

BUDGET = 150


def cold_import(repeat: int = 7) -> list[dict[str, Any]]:
    """The CPU of the import in all, and of the packages that take most of it; the fastest of several times.

    What Python reports of each module is a fifth more in all, by its own reporting.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}  # as a package has it compiled
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _cpu(environment)
        total = min(_cpu(environment) for _ in range(repeat))
        runs = [_import(environment) for _ in range(repeat)]
    fastest = min(runs, key=lambda packages: sum(packages.values()))
    rows: list[dict[str, Any]] = [{"package": "in all", "ms": round(total, 1), "budget": BUDGET}]
    for package, ms in sorted(fastest.items(), key=lambda entry: -entry[1])[:12]:
        rows.append({"package": package, "ms": round(ms, 1), "budget": ""})
    return rows


def _cpu(environment: dict[str, str]) -> float:
    code = f"import time; began = time.process_time(); {ENTRY}; print((time.process_time() - began) * 1000)"
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(ran.stdout)


def _import(environment: dict[str, str]) -> dict[str, float]:
    """Milliseconds that each package's own modules take, without those that every Python starts with."""
    report = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ENTRY], env=environment, capture_output=True, text=True, check=True
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
