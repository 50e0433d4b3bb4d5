"""Feeds an app of Restate's Python SDK, whose module and name are the argument, with Lambda's events.

It gets an event per line of stdin, and writes an answer per line of stdout. Events are handled at once, as by
concurrent sandboxes: each thread has a Lambda handler of its own, which the SDK makes.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from restate.aws_lambda import is_running_on_lambda, wrap_asgi_as_lambda_handler

from adapter.restate.apps import sdk_app

SANDBOXES = 32


class Sandboxes:
    """Handles events in threads."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._own = threading.local()
        self._writing = threading.Lock()

    def begin(self) -> None:
        self._own.handler = wrap_asgi_as_lambda_handler(self._app)

    def handle(self, line: str) -> None:
        request = json.loads(line)
        answer: Any
        try:
            answer = self._own.handler(request["event"], None)
        except Exception as error:
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
        with self._writing:
            print(json.dumps({"call": request["call"], "answer": answer}), flush=True)


def main(app: str) -> None:
    """Handle events until there are no more."""
    assert is_running_on_lambda()
    module, _, name = app.partition(":")
    sandboxes = Sandboxes(sdk_app(getattr(importlib.import_module(module), name)))
    with ThreadPoolExecutor(SANDBOXES, initializer=sandboxes.begin) as threads:
        for line in sys.stdin:
            threads.submit(sandboxes.handle, line)


if __name__ == "__main__":
    main(*sys.argv[1:])
