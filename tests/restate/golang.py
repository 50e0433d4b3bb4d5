"""Runs the Go test services, where Go and the SDK's modules can be had."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, Literal

import pytest

from tests.restate.building import built, run
from tests.restate.sandbox import LambdaSandbox, running
from tests.restate.serving import Served, serving

SOURCES: Final = Path(__file__).parent / "go"

GO: Final = shutil.which("go")


def version() -> str:
    """Return the SDK's version."""
    required = re.search(r"github.com/restatedev/sdk-go v(\S+)", (SOURCES / "go.mod").read_text())
    assert required is not None, "go.mod requires the SDK"
    return required.group(1)


@cache
def build() -> Path:
    """Build the program, and return it. The tests are skipped where its modules cannot be had."""
    return built(SOURCES, lambda program: compile_to(program, SOURCES))


def compile_to(program: Path, sources: Path) -> None:
    """Compile a program of the modules that the test services use, which are beside its sources."""
    if GO is None:
        pytest.skip("there is no Go: install it, with a proxy or a cache of modules that has Restate's SDK")
    run([GO, "mod", "download"], sources, pytest.skip)
    run([GO, "build", "-trimpath", "-o", str(program), "."], sources, pytest.fail)


def function_of(server: str, handler: str) -> str:
    """Return a program that starts Lambda's handler instead of a server.

    Args:
        server: The program that starts a server.
        handler: The body of its function ``main`` that starts the handler.
    """
    program = re.sub(r"(?<=^func main\(\) {\n).*(?=^})", lambda _: handler, server, flags=re.MULTILINE | re.DOTALL)
    assert program != server
    return program.replace('"context"', '"github.com/aws/aws-lambda-go/lambda"')


@contextmanager
def served(
    program: str = "services", port: int | Literal["http1"] = 0, identity: str = "", **environment: str
) -> Iterator[Served]:
    """Serve a program's services over HTTP/2 or HTTP/1.1, to requests that ``identity`` has signed if it is given."""
    with serving([str(build()), program, str(port)], SOURCES, IDENTITY_KEY=identity, **environment) as served:
        yield served


@contextmanager
def sandboxed(program: str = "services", identity: str = "", **environment: str) -> Iterator[LambdaSandbox]:
    """Run the SDK's Lambda handler in a process of its own."""
    with running([str(build()), program, "lambda"], SOURCES, IDENTITY_KEY=identity, **environment) as sandbox:
        yield sandbox
