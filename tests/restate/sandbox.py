"""Lambda handlers of SDKs in processes of their own, which are fed with Lambda's events."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from adapter.restate.answers import EndpointError
from infra.emulator import ROOT

ENDED: Final = EndpointError("the sandbox has ended")


class LambdaSandbox:
    """Feeds an SDK's Lambda handler with Lambda's events, from any event loop."""

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
            if not line.endswith(b"\n"):
                break  # the process was killed within an answer
            answer = json.loads(line)
            self._answers.pop(answer["call"]).set_result(answer["answer"])
        with self._using:
            self._ended = True
            for each in self._answers.values():
                each.set_exception(ENDED)


@contextmanager
def running(command: Sequence[str], directory: Path, **environment: str) -> Iterator[LambdaSandbox]:
    """Run a program that gets an event per line, and writes an answer per line."""
    process = subprocess.Popen(
        command, cwd=directory, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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


@contextmanager
def sandboxed_python(app: str, **environment: str) -> Iterator[LambdaSandbox]:
    """Run the Lambda handler of an app of the Python SDK, such as ``module:app``."""
    command = [sys.executable, "-m", "tests.restate.python_lambda", app]
    with running(command, ROOT, AWS_LAMBDA_FUNCTION_NAME="app", **environment) as sandbox:
        yield sandbox
