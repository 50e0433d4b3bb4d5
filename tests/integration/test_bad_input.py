"""What is refused: with which status and message, and without a trace."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from adapter.aws.directory import SWEEPER
from infra.stack import Stack
from tests.integration.waiting import answer

JSON = {"content-type": "application/json"}
MEGABYTE = 1024 * 1024

Items = Callable[[], set[tuple[str, str]]]

BAD: dict[str, tuple[str, bytes, dict[str, str], int, str]] = {
    "malformed JSON": ("/Counter/bad/add", b"{", {}, 400, "invalid input: Invalid JSON: EOF while parsing"),
    "wrong type": ("/Counter/bad/add", b'"one"', {}, 400, "invalid input: Input should be a valid integer"),
    "wrong type inside": (
        "/Checkout/bad/run",
        b'{"customer": "bad", "items": [{"sku": "bad", "quantity": 0}], "cents": 1}',
        {},
        400,
        "invalid input: items.0.quantity: Input should be greater than 0",
    ),
    "no input": ("/Greeter/greet", b"", {}, 400, "invalid input: the body is empty, and Greeter.greet needs an input"),
    "an input for none": ("/Counter/bad/total", b"1", {}, 400, "invalid input: Counter.total takes none"),
    "not UTF-8": ("/Greeter/greet", b'"\xff"', {}, 400, "invalid input: Invalid JSON"),
    "unknown service": ("/restate/call/Nobody/greet", b'"x"', {}, 404, "there is no service 'Nobody'"),
    "private service": ("/restate/call/Account/bad/move", b"1", {}, 404, "there is no service 'Account'"),
    "unknown handler": (
        "/Counter/bad/subtract",
        b"1",
        {},
        404,
        "service 'Counter' has no handler 'subtract'; it has add, total",
    ),
    "missing key": ("/Counter/add", b"1", {}, 400, "'Counter' needs a key: /Counter/KEY/add"),
    "key for a service": ("/Greeter/bad/greet", b'"x"', {}, 400, "'Greeter' is a service: it takes no key"),
    "key too long": (f"/Counter/{'k' * 513}/add", b"1", {}, 400, "a key has up to 512 bytes in UTF-8, not 513"),
    "bad delay": ("/Counter/bad/add/send?delay=soon", b"1", {}, 400, "delay is a duration such as 10s"),
    "negative delay": ("/Counter/bad/add/send?delay=-5s", b"1", {}, 400, "delay is a duration such as 10s"),
    "delay of a call": ("/Counter/bad/add?delay=5s", b"1", {}, 400, "a call has no delay"),
    "idempotency key too long": (
        "/Counter/bad/add",
        b"1",
        {"idempotency-key": "k" * 513},
        400,
        "an idempotency key has 1 to 512 bytes in UTF-8, not 513",
    ),
    "body over the limit": (
        "/Greeter/greet",
        b'"' + b"x" * (4 * MEGABYTE) + b'"',
        {},
        413,
        "a body has up to 4194304 bytes",
    ),
}


@pytest.fixture
def items(stack: Stack) -> Items:
    """Lists what is stored, but for the time of the last sweep."""
    dynamodb = stack.client("dynamodb")

    def keys() -> set[tuple[str, str]]:
        pages = dynamodb.get_paginator("scan")
        return {
            (item["pk"]["S"], item["sk"]["S"])
            for table in stack.tables
            for page in pages.paginate(TableName=table, ProjectionExpression="pk, sk")
            for item in page["Items"]
            if item["pk"]["S"] != SWEEPER
        }

    return keys


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_stored(http: httpx.Client, items: Items, name: str) -> None:
    path, body, headers, status, message = BAD[name]
    before = items()
    response = http.post(path, content=body, headers=JSON | headers)
    assert response.status_code == status, response.text
    problem = response.json()
    assert problem["code"] == status
    assert problem["message"].startswith(message), problem["message"]
    assert items() <= before  # the sweeper may have deleted what has expired


def test_a_path_without_a_route_is_the_gateways_to_refuse(http: httpx.Client) -> None:
    assert http.post("/Nobody/greet", json="x").status_code == 404


def test_unsigned_requests_to_the_admin_are_refused(http: httpx.Client) -> None:
    assert http.get("/admin/deployments").status_code == 403


def test_other_methods_are_refused(http: httpx.Client) -> None:
    response = http.put("/Counter/bad/add", json=1)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_the_stack_is_still_healthy(http: httpx.Client) -> None:
    assert answer(http, "/Greeter/greet", "bad") == "Hello bad, visit 1"
