"""The admin: what it shows, what it does, and that the ingress leads nowhere there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import Context, ObjectContext, Service, VirtualObject, Workflow, WorkflowContext, handler
from adapter.engine.types import ObjectKey
from adapter.http.admin import Admin, local
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.ingress.conftest import Stack, error

UNKNOWN = "inv_" + "a" * 32


class Shop(Service):
    runs = 0

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        Shop.runs += 1
        return await ctx.run("greet", lambda: f"Hello {name}", type=str)

    @handler
    async def sleep(self, ctx: Context) -> str:
        await ctx.sleep(timedelta(hours=1))
        return "slept"

    @handler
    async def hold(self, ctx: Context) -> None:
        await ctx.object_client(Box, "held").sleep()


class Box(VirtualObject):
    @handler
    async def fill(self, ctx: ObjectContext, entries: dict[str, Any]) -> None:
        for name, value in entries.items():
            ctx.set(name, value)

    @handler
    async def sleep(self, ctx: ObjectContext) -> None:
        await ctx.sleep(timedelta(hours=1))


class Sign(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> None: ...


class Admined(Stack):
    def __init__(self) -> None:
        registry = Registry(Shop, Box, Sign)
        super().__init__(Shop, Box, Sign)
        app = Admin(self.engine, local(registry), self._exists)
        self.admin = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/admin")

    async def _exists(self, deployment: str) -> bool:
        return deployment == "shop:8"

    async def close(self) -> None:
        await self.admin.aclose()
        await super().close()

    async def sent(self, path: str, input: Any = None) -> str:
        response = await self.http.post(f"/{path}/send", **({} if input is None else {"json": input}))
        await asyncio.sleep(0.1)
        return str(response.json()["invocationId"])

    async def act(self, id: str, what: str, **options: Any) -> tuple[int, str]:
        """The status, and the word for it."""
        response = await self.admin.post(f"/invocations/{id}/{what}", **options)
        if response.is_success:
            return response.status_code, response.json()["status"]
        return error(response)

    async def shown(self, id: str) -> dict[str, Any]:
        response = await self.admin.get(f"/invocations/{id}")
        assert response.status_code == 200
        assert response.headers["x-restate-id"] == id
        return dict(response.json())


@pytest.fixture
async def stack() -> AsyncIterator[Admined]:
    stack = Admined()
    yield stack
    await stack.close()


# --- looking ---


async def test_an_invocation_and_its_journal(stack: Admined) -> None:
    id = await stack.sent("Shop/greet", "Mary")
    response = await stack.admin.get(f"/invocations/{id}", params={"journal": "true"})
    shown = response.json()
    assert shown.pop("created") <= shown.pop("completed") < shown.pop("expires")
    journal = shown.pop("journal")
    assert shown == {
        "id": id, "target": "Shop/greet", "service": "Shop", "handler": "greet", "kind": "service",
        "status": "completed", "attempts": 1, "headers": {"content-type": "application/json"},
    }  # fmt: skip
    assert {"n": 0, "command": "run", "name": "greet"}.items() <= journal[0].items()
    assert any(entry.get("value") == "Hello Mary" for entry in journal)


async def test_what_an_invocation_waits_for(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    shown = await stack.shown(id)
    assert shown["status"] == "suspended"
    assert shown["due"].endswith("+00:00")
    root = await stack.sent("Shop/hold")
    waiting = await stack.shown(root)
    assert waiting["status"] == "suspended"
    assert len(waiting["waits_for"]) == 1


async def test_what_is_not_there(stack: Admined) -> None:
    assert error(await stack.admin.get(f"/invocations/{UNKNOWN}"))[0] == 404
    assert error(await stack.admin.get("/invocations/prm_1"))[0] == 400
    assert error(await stack.admin.get("/"))[0] == 404
    assert error(await stack.admin.get("/services/Nobody"))[0] == 404
    for what in ("cancel", "kill", "pause", "resume", "restart-as-new", "purge"):
        assert (await stack.act(UNKNOWN, what))[0] == 404
        assert (await stack.act("inv_1", what))[0] == 400
        assert error(await stack.admin.get(f"/invocations/{UNKNOWN}/{what}"))[0] == 405
    assert (await stack.act(UNKNOWN, "explode"))[0] == 404


async def test_what_is_active(stack: Admined) -> None:
    sleeping = [await stack.sent("Shop/sleep") for _ in range(7)]
    await stack.sent("Shop/greet", "Mary")
    response = (await stack.admin.get("/invocations")).json()
    assert response["cursor"] is None
    assert sorted(each["id"] for each in response["invocations"]) == sorted(sleeping)
    dues = [each["due"] for each in response["invocations"]]
    assert dues == sorted(dues)
    assert {each["status"] for each in response["invocations"]} == {"suspended"}
    assert await all_pages(stack, limit=2) == [each["id"] for each in response["invocations"]]
    assert (await stack.admin.get("/invocations", params={"status": "ready"})).json()["invocations"] == []


async def test_what_a_service_has_done(stack: Admined) -> None:
    made: list[str] = []
    for _ in range(9):
        made.append(await stack.sent("Shop/greet", "Mary"))
        await asyncio.sleep(0.002)
    await stack.sent("Box/a/fill", {})
    paused = await stack.sent("Shop/sleep")
    assert await stack.act(paused, "pause") == (202, "accepted")
    for limit in (1, 3, 100):
        assert await all_pages(stack, service="Shop", limit=limit) == [paused, *reversed(made)]
    found = (await stack.admin.get("/invocations", params={"service": "Shop", "status": "paused"})).json()
    assert [(each["id"], each["target"]) for each in found["invocations"]] == [(paused, "Shop/sleep")]
    assert await all_pages(stack, service="Shop", status="completed", limit=2) == made[::-1]


async def all_pages(stack: Admined, **parameters: Any) -> list[str]:
    """The ids of every page, none of which is larger than its limit."""
    ids: list[str] = []
    cursor = None
    while True:
        response = await stack.admin.get("/invocations", params=parameters | ({"cursor": cursor} if cursor else {}))
        page = response.json()
        assert len(page["invocations"]) <= parameters["limit"]
        ids += [each["id"] for each in page["invocations"]]
        cursor = page["cursor"]
        if cursor is None:
            return ids


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=W10x", "status=x"])
async def test_bad_parameters(stack: Admined, query: str) -> None:
    assert error(await stack.admin.get(f"/invocations?{query}"))[0] == 400


# --- acting ---


async def test_cancel(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    assert await stack.act(id, "cancel") == (202, "accepted")
    await asyncio.sleep(0.1)
    shown = await stack.shown(id)
    assert shown["status"] == "completed"
    assert shown["failure"] == {"code": 409, "message": "cancelled", "reason": "cancelled"}
    assert await stack.act(id, "cancel") == (409, f"{id} has completed")
    patched = await stack.admin.patch(f"/invocations/{id}/cancel")
    assert patched.status_code == 409


async def test_kill_the_tree(stack: Admined) -> None:
    root = await stack.sent("Shop/hold")
    [child] = (await stack.shown(root))["waits_for"]
    assert await stack.act(root, "kill") == (202, "accepted")
    assert (await stack.shown(root))["failure"] == {"code": 409, "message": "killed"}
    assert (await stack.shown(child))["status"] == "completed"
    assert await stack.act(root, "kill") == (409, f"{root} has completed")
    assert (await stack.http.post("/Box/held/fill", json={})).status_code == 200


async def test_pause_and_resume(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    assert await stack.act(id, "resume") == (200, "already")
    assert await stack.act(id, "pause") == (202, "accepted")
    assert await stack.act(id, "pause") == (200, "already")
    assert (await stack.shown(id))["status"] == "paused"
    assert await stack.act(id, "resume", params={"deployment": "shop:8"}) == (202, "accepted")
    await asyncio.sleep(0.1)
    shown = await stack.shown(id)
    assert (shown["status"], shown["attempts"], shown["deployment"]) == ("suspended", 4, "shop:8")
    assert await stack.act(id, "resume", params={"deployment": "latest"}) == (202, "accepted")
    assert "deployment" not in await stack.shown(id)  # where there is one process, it has no name


async def test_what_is_over(stack: Admined) -> None:
    id = await stack.sent("Shop/greet", "Mary")
    for what in ("cancel", "kill", "pause", "resume"):
        for _ in range(2):
            assert await stack.act(id, what) == (409, f"{id} has completed")
    shown = await stack.shown(id)
    assert (shown["status"], shown["attempts"]) == ("completed", 1)


async def test_what_waits_for_its_key_is_not_paused(stack: Admined) -> None:
    await stack.sent("Box/a/sleep")
    queued = await stack.sent("Box/a/fill", {})
    assert (await stack.shown(queued))["status"] == "queued"
    assert await stack.act(queued, "pause") == (409, f"{queued} waits for its key: there is nothing to pause")


async def test_restart_as_new(stack: Admined) -> None:
    Shop.runs = 0
    id = await stack.sent("Shop/greet", "Mary")
    response = await stack.admin.post(f"/invocations/{id}/restart-as-new")
    new = response.json()["invocationId"]
    assert (response.status_code, response.json()["restarted"], response.headers["x-restate-id"]) == (202, id, new)
    assert (await stack.http.get(f"/restate/invocation/{new}/attach")).json() == "Hello Mary"
    assert Shop.runs == 2
    again = [
        (await stack.admin.post(f"/invocations/{id}/restart-as-new", headers={"idempotency-key": "k"})).json()
        for _ in range(2)
    ]
    assert again[0] == again[1] != response.json()
    assert (await stack.http.get(f"/restate/invocation/{again[0]['invocationId']}/attach")).json() == "Hello Mary"
    assert Shop.runs == 3


async def test_purge(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    code, message = await stack.act(id, "purge")
    assert (code, "only what has completed" in message) == (409, True)
    await stack.act(id, "kill")
    assert (await stack.admin.delete(f"/invocations/{id}/purge")).status_code == 202
    assert await stack.act(id, "purge") == (404, f"there is no invocation {id}, or it has expired")


async def test_an_invocation_is_not_resumed_on_a_deployment_that_is_not_there(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    before = await stack.shown(id)
    code, message = await stack.act(id, "resume", params={"deployment": "shop:9"})
    assert (code, message.partition(":")[0]) == (404, "there is no deployment 'shop")
    assert await stack.shown(id) == before
    assert await stack.act(id, "resume", params={"deployment": ""}) == (202, "accepted")  # this process's own


# --- services and keys ---


async def test_a_service_never_heard_of_is_not_found(stack: Admined) -> None:
    for path, params in (
        ("/invocations", {"service": "Nobody"}),
        ("/invocations", {"service": "Nobody", "status": "completed", "errors": "true"}),
        ("/services/Nobody/state", {"key": "a"}),
        ("/services/Nobody/state", {"key": "a", "name": "count"}),
    ):
        assert error(await stack.admin.get(path, params=params))[0] == 404
    assert (await stack.admin.get("/invocations", params={"service": "Box"})).json()["invocations"] == []
    assert (await stack.admin.get("/services/Box/state", params={"key": "new"})).json()["version"] == 0


async def test_services(stack: Admined) -> None:
    services = (await stack.admin.get("/services")).json()["services"]
    assert [each["name"] for each in services] == ["Shop", "Box", "Sign"]
    assert (await stack.admin.get("/services/Box")).json() == services[1]
    assert services[1]["handlers"]["fill"] == {
        "kind": "exclusive", "private": False, "takes": "application/json", "gives": None,
    }  # fmt: skip
    assert (await stack.admin.get("/deployments")).json() == {
        "deployments": [{"function": "", "deployment": "", "services": ["Box", "Shop", "Sign"]}]
    }


async def test_state(stack: Admined) -> None:
    large = "x" * 5000
    await stack.http.post("/Box/a%2Fb/fill", json={"count": 1, "name": "Mary", "large": large})
    response = await stack.admin.get("/services/Box/state", params={"key": "a/b"})
    held = response.json()
    version = held.pop("version")
    assert response.headers["etag"] == f'"{version}"'
    assert held == {"owner": None, "waiting": 0, "state": {"count": 1, "name": "Mary"}, "large": ["large"]}
    for name, value in {"name": "Mary", "large": large}.items():
        assert (await stack.admin.get("/services/Box/state", params={"key": "a/b", "name": name})).json() == value
    assert error(await stack.admin.get("/services/Box/state", params={"key": "a/b", "name": "x"}))[0] == 404
    assert error(await stack.admin.get("/services/Box/state"))[0] == 400


async def test_state_is_edited_as_it_was_seen(stack: Admined) -> None:
    await stack.http.post("/Box/a/fill", json={"count": 1, "large": "x" * 5000})
    place = {"key": "a", "name": "count"}
    etag = (await stack.admin.get("/services/Box/state", params={"key": "a"})).headers["etag"]
    assert error(await stack.admin.put("/services/Box/state", params=place, json=2))[0] == 428
    edited = await stack.admin.put("/services/Box/state", params=place, json=2, headers={"if-match": etag})
    assert edited.status_code == 200
    assert (
        error(await stack.admin.put("/services/Box/state", params=place, json=3, headers={"if-match": etag}))[0] == 412
    )
    etag = edited.headers["etag"]
    cleared = await stack.admin.delete(
        "/services/Box/state", params={"key": "a", "name": "large"}, headers={"if-match": etag}
    )
    assert cleared.status_code == 200
    held = (await stack.admin.get("/services/Box/state", params={"key": "a"})).json()
    assert (held["state"], held["large"]) == ({"count": 2}, [])
    await stack.http.post("/Box/a/fill", json={"more": 1})
    key = ObjectKey("Box", "a")
    assert (await stack.store.heads([key]))[key].state == {"count": b"2", "more": b"1"}


async def test_state_is_not_edited_under_who_holds_the_key(stack: Admined) -> None:
    holder = await stack.sent("Box/a/sleep")
    shown = await stack.admin.get("/services/Box/state", params={"key": "a"})
    assert shown.json()["owner"] == holder
    refused = await stack.admin.put(
        "/services/Box/state", params={"key": "a", "name": "n"}, json=1, headers={"if-match": shown.headers["etag"]}
    )
    assert error(refused) == (412, f"Box/a is held by {holder}: look again")
    for service in ("Shop", "Sign"):
        refused = await stack.admin.put(
            f"/services/{service}/state", params={"key": "a", "name": "n"}, json=1, headers={"if-match": "0"}
        )
        assert error(refused)[0] == 400


# --- apart from the ingress ---


@pytest.mark.parametrize(
    "path", ["/admin/invocations", "/restate/admin/invocations", "//admin/services", "/%61dmin/services"]
)
async def test_the_ingress_leads_nowhere_there(stack: Admined, path: str) -> None:
    assert error(await stack.http.get(path))[0] == 404


async def test_the_development_server_has_both() -> None:
    async with (
        running(Registry(Shop), MemoryStore()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        assert (await http.post("/Shop/greet", json="Mary")).json() == "Hello Mary"
        assert (await http.get("/admin/services")).status_code == 200
