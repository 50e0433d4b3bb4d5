"""Runs the TypeScript test services, where Node.js and npm can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import pytest

from infra.node import MODULES, NODE, install_sdk
from tests.restate.sandbox import LambdaSandbox, running
from tests.restate.serving import Served, serving

SOURCES: Final = Path(__file__).parent


def install() -> None:
    """Install the SDK. The tests are skipped where it cannot be had, except in CI."""
    try:
        install_sdk()
    except RuntimeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    for source in SOURCES.glob("*.ts"):
        copy, text = MODULES / source.name, source.read_text()
        if not copy.exists() or copy.read_text() != text:
            draft = copy.with_suffix(f".{os.getpid()}")
            draft.write_text(text)
            draft.replace(copy)  # another process may be reading it


def _command(program: str, argument: str) -> list[str]:
    return [NODE, "--no-warnings", program, argument]


@contextmanager
def served(
    program: str = "services.ts", port: int | Literal["http1"] = 0, identity: str = "", **environment: str
) -> Iterator[Served]:
    """Serve a program's services over HTTP/2 or HTTP/1.1, to requests that ``identity`` has signed if it is given."""
    install()
    with serving(_command(program, str(port)), MODULES, IDENTITY_KEY=identity, **environment) as served:
        yield served


@contextmanager
def sandboxed(program: str = "services.ts", identity: str = "", **environment: str) -> Iterator[LambdaSandbox]:
    """Run the SDK's Lambda handler in a process of its own."""
    install()
    with running(_command(program, "lambda"), MODULES, IDENTITY_KEY=identity, **environment) as sandbox:
        yield sandbox
