"""A development server in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]

MODULE = """
from adapter import Context, Service, handler

class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"{GREETING} {name}"

GREETING = "Hello"
"""


def save(file: Path, text: str) -> None:
    """Write source as an editor does. A server that starts meanwhile finds the old text or the new one, not a part."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


class Dev:
    """A running ``adapter dev``, with what it has said so far."""

    def __init__(self, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "adapter", "dev", "--port", "0", *arguments],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.output: IO[str] = self.process.stdout
        self.said: list[str] = []
        self._drain: threading.Thread | None = None

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until it says something."""
        for line in self.output:
            self.said.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it ended without {pattern!r}:\n{''.join(self.said)}")

    @property
    def url(self) -> str:
        return self.until(r"on (http://\S+)").group(1)

    def drain(self) -> None:
        """Discard what it says from now on. A server whose output nobody reads stops when the pipe is full."""
        self._drain = threading.Thread(target=self.output.read, daemon=True)
        self._drain.start()

    def stop(self) -> None:
        """End it, and all that it started."""
        self.process.terminate()
        self.process.wait(60)
        if self._drain is not None:
            self._drain.join()
        self.output.close()
