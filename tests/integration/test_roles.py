"""The functions have the permissions that they need: everything once, where IAM decides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.stack import Stack
from tests.integration import sdk
from tests.integration.waiting import accepted, answer, result, until


@pytest.fixture(scope="module")
def http(enforced_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=enforced_stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def key() -> str:
    return uuid4().hex[:10]


def test_messages_calls_and_state(http: httpx.Client, key: str) -> None:
    assert answer(http, "/Greeter/greet", key) == f"Hello {key}, visit 1"
    accepted(http, f"/Counter/{key}/add/send", 1)
    until("it is handled", lambda: answer(http, f"/Counter/{key}/total") == 2)


def test_calls_into_other_functions_and_back(http: httpx.Client, key: str) -> None:
    answer(http, f"/Inventory/{key}/restock", 10)
    order: dict[str, Any] = {"customer": key, "items": [{"sku": key}], "cents": 1_000}
    assert answer(http, f"/Checkout/{key}/run", order)["balance"] == 99_000


def test_timers(http: httpx.Client, enforced_stack: Stack, key: str) -> None:
    accepted(http, f"/Mailer/{key}-long/mail/send?delay=61s", "much later")
    group = enforced_stack.outputs["TimersGroup"]
    scheduler = enforced_stack.client("scheduler")
    until("there is a schedule", lambda: scheduler.list_schedules(GroupName=group)["Schedules"])
    sent = time.monotonic()
    with unswept(enforced_stack):
        accepted(http, f"/Mailer/{key}/mail/send?delay=5s", "later")
        until("the queue delivers the short one", lambda: answer(http, f"/Mailer/{key}/sent") == ["later"])
    assert time.monotonic() - sent >= 5
    until("the long one is delivered", lambda: answer(http, f"/Mailer/{key}-long/sent") == ["much later"])


@contextmanager
def unswept(stack: Stack) -> Iterator[None]:
    """Have no sweep begin: it would dispatch whatever is due."""
    scheduler, group = stack.client("scheduler"), f"{json.loads(stack.outputs['Settings'])['name']}-sweeper"
    [name] = [each["Name"] for each in scheduler.list_schedules(GroupName=group)["Schedules"]]
    found = scheduler.get_schedule(GroupName=group, Name=name)
    kept = {each: found[each] for each in ("GroupName", "Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**kept, State="DISABLED")
    try:
        yield
    finally:
        scheduler.update_schedule(**kept, State="ENABLED")


def test_an_sdks_function_and_its_driver(http: httpx.Client, key: str) -> None:
    """The driver has a role of its own. That of the SDK's function writes logs only."""
    if not sdk.available():
        pytest.skip("npm cannot install the SDK")
    assert answer(http, f"/SdkCounter/{key}/add", 2) == 2
    id = accepted(http, "/SdkClerk/nap/send", 3_000)
    assert result(http, f"/restate/attach/{id}").json() == "slept"


def test_denials_are_real(http: httpx.Client, enforced_stack: Stack, key: str) -> None:
    """Else the tests above would prove nothing."""
    iam, functions = enforced_stack.client("iam"), enforced_stack.client("lambda")
    function = functions.get_function(FunctionName=enforced_stack.outputs["GreeterFunctionName"])
    role = function["Configuration"]["Role"].rpartition("/")[2]
    statement = {"Effect": "Deny", "Action": "dynamodb:PutItem", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="nothing-new", PolicyDocument=document)
    try:
        assert http.post("/Counter/denied/add/send", json=1).status_code >= 500
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="nothing-new")
    assert answer(http, "/Greeter/greet", key) == f"Hello {key}, visit 1"
