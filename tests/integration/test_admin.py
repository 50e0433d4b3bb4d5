"""Signed requests to the admin, and what a deployed stack says of its services."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from adapter.cli import main
from adapter.client import Client
from infra.stack import Stack
from tests.integration.waiting import accepted, awaits_promise, until


def answer(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json()


def test_a_delayed_message_is_seen_and_killed(http: httpx.Client, admin: httpx.Client, key: str) -> None:
    id = accepted(http, f"/Counter/{key}/add/send?delay=1h", 1)
    shown = answer(admin.get(f"/invocations/{id}"))
    assert (shown["target"], shown["status"]) == (f"Counter/{key}/add", "scheduled")
    seen = until(
        "it is in the index",
        lambda: {
            each["id"]: each for each in answer(admin.get("/invocations?status=scheduled&limit=1000"))["invocations"]
        }.get(id),
    )
    assert seen["due"] == shown["due"]
    assert answer(admin.post(f"/invocations/{id}/kill"))["status"] == "accepted"
    assert admin.post(f"/invocations/{id}/kill").status_code == 409
    shown = answer(admin.get(f"/invocations/{id}"))
    assert (shown["status"], shown["outcome"]) == ("completed", "killed")
    until("the index says so", lambda: id in listed(admin, outcome="killed", service="Counter"))
    assert http.get(f"/restate/invocation/{id}/attach").status_code == 409


def listed(admin: httpx.Client, **filters: str) -> list[str]:
    return [
        each["id"] for each in answer(admin.get("/invocations", params={"limit": "1000", **filters}))["invocations"]
    ]


def test_what_a_service_has_done_latest_first(http: httpx.Client, admin: httpx.Client, key: str) -> None:
    ids = [http.post("/Counter/" + key + "/add", json=1).headers["x-restate-id"] for _ in range(3)]

    def mine() -> list[str]:
        found = answer(admin.get("/invocations?service=Counter&status=completed&limit=100"))["invocations"]
        return [each["id"] for each in found if each["id"] in ids]

    until("the index has them", lambda: len(mine()) == 3)
    assert mine() == ids[::-1]


def test_another_functions_invocation_is_paused_resumed_and_restarted(
    http: httpx.Client, admin: httpx.Client, key: str
) -> None:
    id = accepted(http, f"/SignUp/{key}/run/send", f"{key}@example.com")
    until("it waits for the code", lambda: awaits_promise(answer(admin.get(f"/invocations/{id}"))))
    assert answer(admin.get(f"/invocations/{id}/why"))["root"]["id"] == id
    assert answer(admin.post(f"/invocations/{id}/pause"))["status"] == "accepted"
    assert answer(admin.get(f"/invocations/{id}"))["status"] == "paused"
    until("it is listed", lambda: id in listed(admin, status="paused"))
    assert answer(admin.post(f"/invocations/{id}/resume"))["status"] == "accepted"
    until("it waits again", lambda: awaits_promise(answer(admin.get(f"/invocations/{id}"))))
    assert answer(admin.post(f"/invocations/{id}/cancel"))["status"] == "accepted"
    until("it has ended", lambda: answer(admin.get(f"/invocations/{id}"))["status"] == "completed")


def test_services_and_state(http: httpx.Client, admin: httpx.Client, stack: Stack, key: str) -> None:
    services = {each["name"]: each for each in answer(admin.get("/services"))["services"]}
    assert {"Greeter", "Counter", "Checkout", "Inventory", "SignUp"} <= services.keys()
    assert services["Counter"]["deployment"].startswith(f"{stack.name}_greeter:")
    deployments = answer(admin.get("/deployments"))["deployments"]
    assert len([each for each in deployments if each["current"]]) == len(stack.functions)
    assert not any(each["safe_to_delete"] for each in deployments if each["current"])
    refused = admin.delete(f"/deployments/{services['Counter']['deployment']}")
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (409, "in-use")
    http.post(f"/Counter/{key}/add", json=7)
    held = admin.get("/services/Counter/state", params={"key": key})
    [(name, total)] = answer(held)["state"].items()
    assert total == 7
    place = {"key": key, "name": name}
    headers = {"if-match": held.headers["etag"]}
    assert admin.put("/services/Counter/state", params=place, json=40, headers=headers).status_code == 200
    assert http.post(f"/Counter/{key}/add", json=2).json() == 42


def test_dead_letters_are_shown_and_deleted(admin: httpx.Client, stack: Stack) -> None:
    text = uuid4().hex
    stack.client("sqs").send_message(QueueUrl=stack.outputs["DeadLettersUrl"], MessageBody=text)

    def bodies() -> list[str]:
        return [each["body"].get("text", "") for each in answer(admin.get("/dead-letters"))["messages"]]

    until("it is shown", lambda: text in bodies())
    assert answer(admin.post("/dead-letters/purge"))["status"] == "accepted"
    until("it is deleted", lambda: text not in bodies())


def test_the_admin_describes_itself(admin: httpx.Client) -> None:
    document = answer(admin.get("/openapi.json"))
    OpenAPIV31SpecValidator(document).validate()
    assert answer(admin.get("/overview"))["services"] >= 5


def test_a_sweep_is_noted(admin: httpx.Client) -> None:
    until("a sweep has ended", lambda: (answer(admin.get("/overview"))["sweeper"]["age_seconds"] or 999) < 90)


@pytest.fixture
def document(http: httpx.Client) -> Any:
    return answer(http.get("/restate/openapi.json"))


async def test_stubs_of_the_whole_stack(document: Any, stack: Stack, key: str, tmp_path: Path) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert {"/Greeter/greet", "/SignUp/{key}/run"} <= document["paths"].keys()
    file, module = tmp_path / "deployed.py", ModuleType("deployed")
    with pytest.raises(SystemExit) as ended:
        main(["stubs", stack.url, "-o", str(file)])
    assert ended.value.code == 0
    sys.modules["deployed"] = module
    exec(compile(file.read_text(), file, "exec"), vars(module))
    async with Client(stack.url) as client:
        assert await client.object_client(module.Counter, key).add(3) == 3
        assert await client.service_client(module.Greeter).greet(key) == f"Hello {key}, visit 4"
    del sys.modules["deployed"]
