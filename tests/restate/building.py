"""Programs in compiled languages, which are compiled once for all processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.emulator import ROOT


def built(sources: Path, build: Callable[[Path], None]) -> Path:
    """Return a program. It is built unless it is there, under a name that changes with its sources.

    Args:
        sources: The folder of its sources.
        build: Writes the program to a file.
    """
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in sorted(sources.iterdir()) if each.is_file()))
    program = ROOT / ".local" / "restate" / f"{sources.name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        build(unfinished)
        unfinished.replace(program)
    return program


def run(command: Sequence[str], directory: Path, refuse: Callable[[str], object]) -> None:
    """Run a command, and refuse what it fails with."""
    try:
        subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        refuse(f"{' '.join(command)}: {error.stderr or error}")
