"""Runs the TypeScript test services, where Node.js and npm can be had."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from adapter.restate.answers import EndpointError
from infra.node import MODULES, NODE, install_sdk
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
        (MODULES / source.name).write_text(source.read_text())


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


ENDED: Final = EndpointError("the sandbox has ended")


class LambdaSandbox:
    """Feeds the SDK's Lambda handler with Lambda's events, from any event loop."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._calls = itertools.count()
        self._answers: dict[int, Future[Any]] = {}
        self._ended = False
        self._using = threading.Lock()

    async def __call__(self, event: bytes) -> bytes:
        call, answer = next(self._calls), Future[Any]()
        answer.set_running_or_notify_cancel()  # who does not wait for it any more does not end the thread that reads
        assert self.process.stdin is not None
        with self._using:
            if self._ended:
                raise ENDED
            self._answers[call] = answer
            with suppress(BrokenPipeError):  # the thread that reads tells
                self.process.stdin.write(json.dumps({"call": call, "event": json.loads(event)}).encode() + b"\n")
                self.process.stdin.flush()
        return json.dumps(await asyncio.wrap_future(answer)).encode()

    def listen(self) -> None:
        """Read the answers until the process ends. Calls that have none by then fail."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            self._answers.pop(answer["call"]).set_result(answer["answer"])
        with self._using:
            self._ended = True
            for each in self._answers.values():
                each.set_exception(ENDED)


@contextmanager
def sandboxed(program: str = "services.ts", identity: str = "", **environment: str) -> Iterator[LambdaSandbox]:
    """Run the SDK's Lambda handler in a process of its own."""
    install()
    process = subprocess.Popen(
        _command(program, "lambda"),
        cwd=MODULES,
        env=os.environ | {"IDENTITY_KEY": identity, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    sandbox = LambdaSandbox(process)
    listening = threading.Thread(target=sandbox.listen, daemon=True)
    listening.start()
    try:
        yield sandbox
    finally:
        process.kill()
        listening.join()
        process.wait()
