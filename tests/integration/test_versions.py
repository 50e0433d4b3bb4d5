"""A second version deployed while invocations of the first are under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infra.signing import admin_of
from tests.integration.probes import Probes
from tests.integration.waiting import accepted, result, until


@pytest.fixture
def http(probes: Probes) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=probes.stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def admin(probes: Probes) -> Iterator[httpx.Client]:
    with admin_of(probes.stack) as client:
        yield client


def go(http: httpx.Client, id: str) -> Any:
    """Tell an invocation to go on; its result."""
    assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202
    return result(http, f"/restate/attach/{id}").json()


def shown(admin: httpx.Client, id: str) -> Any:
    return admin.get(f"/invocations/{id}").json()


def test_what_has_begun_ends_on_its_version_and_what_begins_is_on_the_new_one(
    http: httpx.Client, admin: httpx.Client, probes: Probes
) -> None:
    first, second = probes.deployments
    assert go(http, probes.waiting) == [1, 1]
    assert shown(admin, probes.waiting)["deployment"] == first
    new = accepted(http, "/restate/send/Changing/wait")
    assert go(http, new) == [2, 2]
    assert shown(admin, new)["deployment"] == second


def test_a_handler_that_is_gone(http: httpx.Client, probes: Probes) -> None:
    assert http.post("/restate/call/Changing/gone").json() == {
        "message": "service 'Changing' has no handler 'gone'; it has buy, version, wait",
        "code": 404,
        "source": "ingress",
    }
    assert go(http, probes.gone) == [1, 1]


def test_a_service_that_has_moved(http: httpx.Client, admin: httpx.Client, probes: Probes) -> None:
    assert go(http, accepted(http, "/restate/send/Moving/place")) == "second 2"
    assert go(http, probes.moving) == "first 1"
    function = probes.stack.outputs["SignUpFunctionName"]
    assert admin.get("/services/Moving").json()["deployment"].startswith(f"{function}:")


def test_a_changed_handler_resumed_on_the_wrong_code_and_back(
    http: httpx.Client, admin: httpx.Client, probes: Probes
) -> None:
    id, (first, second) = probes.changing, probes.deployments
    for absent in (f"{first.partition(':')[0]}:999", "nobody:1", "no name"):
        assert admin.post(f"/invocations/{id}/resume", params={"deployment": absent}).status_code == 404
    assert admin.post(f"/invocations/{id}/resume?deployment=latest").status_code == 202
    assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202
    error = until("the journal does not fit", lambda: shown(admin, id).get("error"))
    assert f"Changing/buy ({id}): command 0 is sleep 'think', the journal holds run 'charge'" in error
    assert shown(admin, id)["deployment"] == second
    assert admin.post(f"/invocations/{id}/resume?deployment={first}").status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == "bought on 1"


def test_delayed_messages_begin_where_their_handlers_are_by_then(http: httpx.Client, probes: Probes) -> None:
    assert result(http, f"/restate/attach/{probes.delayed}", probes.delay + 200).json() == 2
    refused = until("it is refused", lambda: _refused(http, probes.delayed_to_gone))
    assert refused == {"message": "'Changing' has no handler 'gone' any more", "code": 404, "source": "invocation"}
    until("it has begun", lambda: http.post(f"/restate/invocation/{probes.delayed_to_moving}/signals/go").is_success)
    assert result(http, f"/restate/attach/{probes.delayed_to_moving}").json() == "second 2"


def _refused(http: httpx.Client, id: str) -> Any:
    response = http.get(f"/restate/output/{id}")
    return response.json() if response.status_code == 404 else None
