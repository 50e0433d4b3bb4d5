"""Runs endpoints of SDKs in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.emulator import ROOT


@dataclass
class Served:
    """An endpoint that listens."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, how: Literal["kill", "terminate"]) -> None:
        """End the process, as a crash does or as an operator does."""
        getattr(self.process, how)()
        self.process.wait()


@contextmanager
def serving(command: Sequence[str], directory: Path, **environment: str) -> Iterator[Served]:
    """Run a program until it says on which port it listens, and then beside the caller."""
    process = subprocess.Popen(command, cwd=directory, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            for line in process.stdout:
                if listens := re.match(r"listening on (\d+)", line):
                    break
            else:
                raise AssertionError(f"the endpoint ended ({process.wait()}) before it listened: {command}")
            yield Served(process, int(listens.group(1)))
        finally:
            process.kill()
            process.wait()


@contextmanager
def served_python(
    app: str,
    port: int = 0,
    directory: Path = ROOT,
    server: Literal["hypercorn", "uvicorn"] = "hypercorn",
    **environment: str,
) -> Iterator[Served]:
    """Serve an app of Restate's Python SDK, such as ``module:app``: over HTTP/2, or by Uvicorn over HTTP/1.1."""
    command = [sys.executable, "-m", "tests.restate.python_host", app, str(port), server]
    path = os.pathsep.join([str(directory), str(ROOT)])
    with serving(command, directory, PYTHONPATH=path, **environment) as served:
        yield served
