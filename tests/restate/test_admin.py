"""The paths of Restate's admin API that are served, for its tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import restate

from adapter.restate.apps import AppEndpoint
from tests.restate.hosting import CallError, Hosted, hosted, new_key, until
from tests.restate.python_services import counter, holder, utils


@pytest.fixture
async def host() -> AsyncIterator[Hosted]:
    async with hosted(AppEndpoint(restate.app(services=[counter, utils, holder, waiting]))) as host:
        yield host


waiting = restate.Service("Waiting")


@waiting.handler()
async def wait(ctx: restate.Context, tries: int) -> None:
    await ctx.signal("never")


async def ask(host: Hosted, method: str, path: str, **options: Any) -> httpx.Response:
    return await host.http.request(method, f"/admin/restate/{path}", **options)


async def test_services_and_deployments_are_listed(host: Hosted) -> None:
    assert (await ask(host, "GET", "health")).status_code == 200
    assert "max_admin_api_version" in (await ask(host, "GET", "version")).json()
    services = {each["name"]: each for each in (await ask(host, "GET", "services")).json()["services"]}
    assert {name: each["ty"] for name, each in services.items()} == {
        "Counter": "VirtualObject",
        "TestUtilsService": "Service",
        "AwakeableHolder": "VirtualObject",
        "Waiting": "Service",
    }
    handlers = (await ask(host, "GET", "services/Counter/handlers")).json()["handlers"]
    assert {each["name"]: each["ty"] for each in handlers}["get"] == "Shared"
    assert (await ask(host, "GET", "services/Counter/handlers/add")).json()["ty"] == "Exclusive"
    assert (await ask(host, "GET", "services/Nobody")).status_code == 404
    assert (await ask(host, "GET", "services/Counter/handlers/nothing")).status_code == 404
    (deployment,) = (await ask(host, "GET", "deployments")).json()["deployments"]
    assert {each["name"] for each in deployment["services"]} == set(services)
    shown = (await ask(host, "GET", f"deployments/{deployment['id']}")).json()
    assert {each["name"] for each in shown["services"]} == set(services)
    assert (await ask(host, "DELETE", f"deployments/{deployment['id']}?force=true")).status_code == 409


async def test_a_query_has_the_idempotency_key(host: Hosted) -> None:
    await host.call("TestUtilsService/echo", "hello", idempotency_key="order 7")
    query = {"query": "SELECT idempotency_key FROM sys_invocation"}
    found = await ask(host, "POST", "query", json=query, headers={"accept": "application/json"})
    assert found.json()["rows"] == [{"idempotency_key": "order 7"}]


@pytest.mark.parametrize("way", ["PATCH", "DELETE"])
@pytest.mark.parametrize("action", ["cancel", "kill"])
async def test_an_invocation_is_ended_and_purged(host: Hosted, way: str, action: str) -> None:
    id = await host.send("Waiting/wait", 1)
    await until(host, id, "suspended")
    path = f"invocations/{id}/{action}" if way == "PATCH" else f"invocations/{id}?mode={action}"
    assert (await ask(host, way, path)).status_code in (200, 202)
    with pytest.raises(CallError, match=rf"(?i){action}"):
        await host.attach(id)
    assert (await ask(host, "PATCH", f"invocations/{id}/{action}")).status_code == 409
    assert (await ask(host, "PATCH", f"invocations/{id}/purge")).is_success
    assert (await ask(host, "PATCH", f"invocations/{id}/kill")).status_code == 404


async def test_an_invocation_is_paused_resumed_and_restarted(host: Hosted) -> None:
    id = await host.send("Waiting/wait", 1)
    await until(host, id, "suspended")
    assert (await ask(host, "PATCH", f"invocations/{id}/pause")).is_success
    await until(host, id, "paused")
    assert (await ask(host, "PATCH", f"invocations/{id}/resume")).is_success
    await until(host, id, "suspended")
    key = new_key()
    done = await host.send(f"Counter/{key}/add", 1)
    await host.attach(done)
    new = (await ask(host, "PATCH", f"invocations/{done}/restart-as-new")).json()["new_invocation_id"]
    assert await host.attach(new) == {"oldValue": 1, "newValue": 2}


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("POST", "deployments", "adapter dev --endpoint"),
        ("PATCH", "services/Counter", "in its code"),
        ("POST", "subscriptions", "event source"),
        ("GET", "unheard-of", "a Restate server only"),
        ("DELETE", "invocations/inv_x?mode=forget", "a Restate server only"),
    ],
)
async def test_what_is_not_served_says_what_to_do(host: Hosted, method: str, path: str, instead: str) -> None:
    response = await ask(host, method, path, json={})
    assert response.status_code == 501
    assert instead in response.json()["message"]
