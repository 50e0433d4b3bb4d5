"""The contract tests of the store on moto, a second opinion on DynamoDB beside the emulator.

Each test that fails on moto is listed with the reason. A test that is not listed must pass, and a listed one must fail.
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

from infra.emulator import ROOT, free_port

BIN = ROOT / ".tools" / "opinions" / "bin"

AGREES: Final = "test_usage.py::test_memory_agrees_with_dynamodb"

DIFFERENCES: Final[list[tuple[str, set[str]]]] = [
    (
        "moto counts a unit for each request or item. DynamoDB counts by size, halves eventually consistent reads, "
        "doubles transactions, and adds what indexes take: "
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html",
        {
            "test_dynamodb.py::test_requests_are_counted",
            "test_listing.py::test_each_is_one_request[dynamodb]",
            "test_usage.py::test_a_transaction_costs_twice[dynamodb]",
            "test_usage.py::test_an_index_entry_costs_once_to_make_and_twice_to_move[dynamodb]",
            f"{AGREES}[complete]",
            f"{AGREES}[create, due]",
            f"{AGREES}[create, large]",
            f"{AGREES}[due]",
            f"{AGREES}[finish]",
            f"{AGREES}[forget]",
            f"{AGREES}[head]",
            f"{AGREES}[one head]",
            f"{AGREES}[peek, absent]",
            f"{AGREES}[peek]",
            f"{AGREES}[renew]",
            f"{AGREES}[replace]",
            f"{AGREES}[state gone]",
            f"{AGREES}[state]",
            f"{AGREES}[transaction]",
            f"{AGREES}[update, due]",
            f"{AGREES}[update, no due]",
            f"{AGREES}[update, status]",
            f"{AGREES}[update]",
        },
    ),
    (
        "moto takes a transaction of any size. DynamoDB refuses one whose items exceed 4 MB: "
        "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html",
        {"test_commits.py::TestLimits::test_a_transaction_of_more_than_4_mb[dynamodb]"},
    ),
    (
        "moto answers a query of an index that the table lacks with ResourceNotFoundException, which is what "
        "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html lists. DynamoDB itself answers "
        "with ValidationException and the text `The table does not have the specified index`: "
        "https://github.com/awslabs/aws-sdk-ios-samples/issues/58",
        {"test_listing.py::test_without_the_index_nothing_is_listed[False]"},
    ),
]
"""Why moto differs, by AWS's documents, and the tests that fail there. The library follows DynamoDB."""

pytestmark = pytest.mark.timeout(1200)


def test_the_contract_on_moto() -> None:
    port = free_port()
    server = subprocess.Popen(
        [BIN / "moto_server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port)
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-m", "dynamodb", "tests/contract"]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    finally:
        server.terminate()
        server.wait(60)
    failed = set(re.findall(r"^(?:FAILED|ERROR) tests/contract/(.+?)(?: - .*)?$", ran.stdout, re.MULTILINE))
    expected = {test for _, tests in DIFFERENCES for test in tests}
    assert failed - expected == set(), f"unexpected:\n{ran.stdout}"
    assert expected - failed == set(), "these agree, or are not there any more: take them off the list"
    assert re.search(r"\d{3} passed", ran.stdout), ran.stdout[-2000:]


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)
