"""The first examples of the guide: endpoints in JavaScript and in Go that `adapter dev` serves."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.emulator import ROOT, free_port
from infra.node import MODULES, NODE
from tests.restate import golang, node
from tests.unit.dev import Dev

GUIDE = ROOT / "docs" / "guides" / "sdks.md"


def examples(language: str) -> list[str]:
    """Return the guide's programs in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def on(port: int, program: str) -> str:
    """Return a program with another port."""
    assert program.count("9080") == 1, "the program names its port once"
    return program.replace("9080", str(port))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], directory: Path, port: int) -> Iterator[None]:
    """Run a program beside the caller."""
    with subprocess.Popen(command, cwd=directory) as process:
        try:
            end = time.monotonic() + 240
            while not listens(port):
                assert process.poll() is None, "the program ended"
                assert time.monotonic() < end, "the program does not listen"
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def answers(directory: Path, port: int, handler: str) -> None:
    """Serve an endpoint of the guide, and call it."""
    dev = Dev(directory, "--endpoint", f"http://localhost:{port}")
    try:
        url = dev.until(r"Greeter on (http://\S+)").group(1)
        answer = httpx.post(f"{url}/Greeter/{handler}", json="Mary", timeout=120)
        assert (answer.status_code, answer.json()) == (200, "Hello Mary")
    finally:
        dev.stop()


def test_the_guides_endpoint_is_served_and_called(tmp_path: Path) -> None:
    node.install()
    port = free_port()
    (tmp_path / "app.mjs").write_text(on(port, examples("js")[0]))
    (tmp_path / "node_modules").symlink_to(MODULES / "node_modules")
    with running([NODE, "app.mjs"], tmp_path, port):
        answers(tmp_path, port, "greet")


def compiled(program: str, directory: Path) -> str:
    """Compile a program in Go."""
    for each in ("go.mod", "go.sum"):
        shutil.copy(golang.SOURCES / each, directory)
    (directory / "main.go").write_text(program)
    golang.compile_to(directory / "app", directory)
    return str(directory / "app")


@pytest.mark.skipif(golang.GO is None, reason="there is no Go")
def test_the_guides_endpoint_in_go_is_served_and_called(tmp_path: Path) -> None:
    port = free_port()
    with running([compiled(on(port, examples("go")[0]), tmp_path)], tmp_path, port):
        answers(tmp_path, port, "Greet")


@pytest.mark.skipif(golang.GO is None, reason="there is no Go")
def test_the_guides_function_in_go_is_compiled(tmp_path: Path) -> None:
    compiled(golang.function_of(*examples("go")), tmp_path)
