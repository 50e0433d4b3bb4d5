"""A fixture for tests against a deployed stack: on LocalStack, ministack or another emulator, or on AWS.

Import it in ``conftest.py``: ``from adapter.testing.deployed import deployed_stack``. ``ADAPTER_TEST_STACK`` names the
stack, and ``AWS_ENDPOINT_URL`` the emulator; without that the stack is on AWS, with the credentials that boto3 finds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from adapter.aws.deployed import DeployedStack, find_stack

VARIABLE: Final = "ADAPTER_TEST_STACK"

SWEEPS: Final = 20.0
"""Seconds between the sweeps of a stack on an emulator."""


@pytest.fixture(scope="session")
def deployed_stack() -> Iterator[DeployedStack]:
    """The stack that ``ADAPTER_TEST_STACK`` names: its ``url``, its ``outputs``, ``client("dynamodb")`` and the like.

    On an emulator the stack is swept as long as the tests run, because not every emulator fires schedules. The test is
    skipped if no stack is named.

    Raises:
        StackError: If there is no such stack.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        pytest.skip(f"deploy the stack, and set {VARIABLE} to its name")
    stack = find_stack(name)
    if not os.environ.get("AWS_ENDPOINT_URL"):
        yield stack
        return
    with swept(stack):
        yield stack


@contextmanager
def swept(stack: DeployedStack, interval: float = SWEEPS) -> Generator[None]:
    """Have a stack swept every so many seconds, as its schedule would do."""
    done = threading.Event()
    courier, functions = stack.outputs["Courier"], stack.client("lambda")

    def sweep() -> None:
        while not done.wait(interval):
            functions.invoke(FunctionName=courier, InvocationType="Event", Payload=b'{"adapter": "sweep"}')

    thread = threading.Thread(target=sweep, name="sweeps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)
