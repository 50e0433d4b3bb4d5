"""The courier: short delays, and sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.stack.conftest import MAIL, OTHER, SHOP, Lambda, Table


def record(id: str, function: str) -> dict[str, str]:
    return {"messageId": id, "body": json.dumps({"function": function, "event": {"adapter": "wake", "id": "inv_a"}})}


def test_messages_are_delivered_and_what_fails_comes_again(
    load: Callable[[str], ModuleType], functions: Lambda
) -> None:
    functions.broken.add(MAIL)
    records = [record("1", SHOP), record("2", MAIL), {"messageId": "3", "body": "{"}, record("4", OTHER)]
    failed = load("courier").handler({"Records": records}, None)
    assert failed == {"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "3"}]}
    assert functions.calls == [("wake", SHOP, "", "Event"), ("wake", OTHER, "", "Event")]


def test_one_function_sweeps(load: Callable[[str], ModuleType], functions: Lambda, table: Table) -> None:
    courier = load("courier")
    courier.handler({"adapter": "sweep"}, None)  # nothing is deployed yet
    assert not functions.calls
    table.functions = [SHOP, SHOP, MAIL]
    functions.broken.add(MAIL)
    for _ in range(20):
        courier.handler({"adapter": "sweep"}, None)
    assert functions.calls == [("sweep", SHOP, "", "Event")] * 20
    functions.broken.add(SHOP)
    with pytest.raises(RuntimeError, match="no function could be invoked to sweep"):
        courier.handler({"adapter": "sweep"}, None)
