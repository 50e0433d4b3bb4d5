"""Runs Restate's JavaScript client, where Node.js is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = Path(__file__).with_name("restate.cjs")
MODULES: Final = ROOT / ".local" / "clients"
PACKAGE: Final = "@restatedev/restate-sdk-clients"
VERSION: Final = "1.17.2"

SCENARIOS: Final = ("call", "send", "delay", "idempotency key", "workflow", "error with its source")
"""The scenarios that call the example services."""

PROBE_SCENARIOS: Final = ("terminal 500 is not repeated", "awakeable")
"""The scenarios that call the services of the probes."""


def install() -> Path:
    """Return the folder with the client's modules. The test is skipped where they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    modules = MODULES / "node_modules"
    if not (modules / PACKAGE / "package.json").exists():
        MODULES.mkdir(parents=True, exist_ok=True)
        options = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent", "--prefix", str(MODULES)]
        command = [npm, "install", *options, f"{PACKAGE}@{VERSION}"]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install {PACKAGE}: {error.stderr or error}")
    return modules


def run(modules: Path, url: str, scenario: str, key: str) -> None:
    """Run a scenario of the script against a server, with keys of its own."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, SCRIPT, url, scenario, key],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "NODE_PATH": str(modules)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
