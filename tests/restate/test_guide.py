"""The first example of the guide: an endpoint in JavaScript that `adapter dev` serves."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.emulator import ROOT, free_port
from infra.node import MODULES, NODE
from tests.restate import node
from tests.unit.dev import Dev

GUIDE = ROOT / "docs" / "guides" / "sdks.md"


def example() -> str:
    """Return the guide's first program in JavaScript."""
    block = re.search(r"^```js\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None, f"{GUIDE} has no block of JavaScript"
    return block.group(1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(directory: Path, port: int) -> Iterator[None]:
    """Run the guide's program on another port, beside the caller."""
    program = example()
    assert program.count("9080") == 1, "the program names its port once"
    (directory / "app.mjs").write_text(program.replace("9080", str(port)))
    (directory / "node_modules").symlink_to(MODULES / "node_modules")
    with subprocess.Popen([NODE, "app.mjs"], cwd=directory) as process:
        try:
            end = time.monotonic() + 240
            while not listens(port):
                assert process.poll() is None, "the program ended"
                assert time.monotonic() < end, "the program does not listen"
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def test_the_guides_endpoint_is_served_and_called(tmp_path: Path) -> None:
    node.install()
    port = free_port()
    with running(tmp_path, port):
        dev = Dev(tmp_path, "--endpoint", f"http://localhost:{port}")
        try:
            url = dev.until(r"Greeter on (http://\S+)").group(1)
            answer = httpx.post(f"{url}/Greeter/greet", json="Mary", timeout=120)
            assert (answer.status_code, answer.json()) == (200, "Hello Mary")
        finally:
            dev.stop()
