"""The admin: what it shows, what it does, and that the ingress leads nowhere there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import Context, ObjectContext, Service, TerminalError, VirtualObject, Workflow, WorkflowContext, handler
from adapter.engine.control import Control
from adapter.engine.records import Ended, Status
from adapter.engine.types import ObjectKey
from adapter.http.admin import Admin, LocalServices
from adapter.http.admin.ports import InUseError, Version
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.ingress.conforming import conforming
from tests.ingress.conftest import Stack
from tests.ingress.conftest import error as ingress_error

UNKNOWN = "inv_" + "a" * 32


def error(response: httpx.Response) -> tuple[int, str]:
    """Return an error's status and detail. It is a problem by RFC 9457, with the keys of the ingress's errors."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) - {"actions"} == {"type", "title", "status", "detail", "code", "message", "source"}
    assert problem["type"].startswith("urn:serverless-adapter:problem:")
    assert problem["status"] == problem["code"] == response.status_code
    assert problem["message"] == problem["detail"]
    assert problem["source"] == response.headers["x-restate-error-source"] == "ingress"
    return response.status_code, str(problem["detail"])


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

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def refuse(self, ctx: Context) -> None:
        raise TerminalError("no", code=403)


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


class Versions:
    """Versions of a function: the current one, and an older one."""

    def __init__(self) -> None:
        self.names = ["shop:8", "shop:7"]

    async def exists(self, deployment: str) -> bool:
        return deployment in self.names

    async def listed(self) -> list[Version]:
        return [Version(name, "arn:shop:live", 1_700_000_000_000, current=name == "shop:8") for name in self.names]

    async def remove(self, deployment: str) -> bool:
        if deployment == "shop:8":
            raise InUseError("the alias live leads to shop:8")
        if deployment not in self.names:
            return False
        self.names.remove(deployment)
        return True


class Admined(Stack):
    def __init__(self) -> None:
        registry = Registry(Shop, Box, Sign)
        super().__init__(Shop, Box, Sign)
        self.versions = Versions()
        app = Admin(self.engine, LocalServices(registry), versions=self.versions)
        self.admin = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test/admin", event_hooks={"response": [conforming]}
        )

    async def close(self) -> None:
        await self.admin.aclose()
        await super().close()

    async def sent(self, path: str, input: Any = None) -> str:
        response = await self.http.post(f"/{path}/send", **({} if input is None else {"json": input}))
        await self.at_rest()
        made = max(each.created for each in self.invocations)
        await self.until(lambda: self.clock.now() > made)  # the next one is listed before it
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
    shown = await stack.shown(id)
    created, completed = shown.pop("created"), shown.pop("completed")
    assert created <= completed < shown.pop("expires")
    retry = shown.pop("retry")
    assert retry == {"max_attempts": 70, "initial_ms": 50, "factor": 2.0, "max_ms": 60_000, "exhausted": "pause"}
    assert shown == {
        "id": id, "target": "Shop/greet", "service": "Shop", "handler": "greet", "kind": "service",
        "status": "completed", "outcome": "completed", "attempts": 1, "failures": 0,
        "headers": {"content-type": "application/json"}, "idempotent": False, "waiters": 0, "waits": [], "errors": [],
        "input": {"json": "Mary", "size": 6}, "output": {"json": "Hello Mary", "size": 12},
    }  # fmt: skip
    [entry] = (await stack.admin.get(f"/invocations/{id}/journal")).json()["entries"]
    assert created <= entry.pop("at") <= entry.pop("done") <= completed
    assert entry.pop("duration_ms") >= 0
    assert entry == {
        "n": 0, "command": "run", "name": "greet", "size": 12, "value": {"json": "Hello Mary", "size": 12},
    }  # fmt: skip


async def test_what_an_invocation_waits_for(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    shown = await stack.shown(id)
    assert shown["status"] == "suspended"
    assert shown["due"].endswith("+00:00")
    root = await stack.sent("Shop/hold")
    waiting = await stack.shown(root)
    assert (waiting["status"], waiting["waits_for"]) == ("suspended", "1 invocation")
    [wait] = waiting["waits"]
    assert (await stack.shown(wait["id"]))["parent"] == root
    assert wait == {"kind": "call", "command": 0, "name": "Box/held/sleep", "id": wait["id"], "status": "suspended"}


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


async def test_all_that_is_live_or_kept_is_listed_latest_first(stack: Admined) -> None:
    inputs = {"Shop/greet": "Mary", "Box/a/fill": {}}
    paths = ["Shop/greet", "Shop/sleep", "Shop/wait", "Box/a/fill", "Shop/greet"]
    made = [await stack.sent(path, inputs.get(path)) for path in paths]
    await stack.act(made[2], "pause")
    response = (await stack.admin.get("/invocations")).json()
    assert (response["cursor"], response["complete"]) == (None, True)
    assert [each["id"] for each in response["invocations"]] == made[::-1]
    assert [each["status"] for each in response["invocations"]] == [
        "completed", "completed", "paused", "suspended", "completed",
    ]  # fmt: skip
    for limit in (1, 2, 100):
        assert await all_pages(stack, limit=limit) == made[::-1]


async def test_filters(stack: Admined) -> None:
    done = await stack.sent("Shop/greet", "Mary")
    cancelled, killed, sleeping = [await stack.sent("Shop/sleep") for _ in range(3)]
    await stack.act(cancelled, "cancel")
    await stack.act(killed, "kill")
    await stack.until(lambda: [each.status for each in stack.invocations].count(Status.COMPLETED) == 3)
    failed = await stack.sent("Shop/refuse")
    waiting = await stack.sent("Shop/wait")
    filled = await stack.sent("Box/a/fill", {})
    kept = await stack.shown(killed)
    for query, ids in {
        "": [filled, waiting, failed, sleeping, killed, cancelled, done],
        "status=live": [waiting, sleeping],
        "status=suspended&status=paused": [waiting, sleeping],
        "status=paused": [],
        "status=completed&service=Shop": [failed, killed, cancelled, done],
        "outcome=failed": [failed],
        "outcome=killed&outcome=cancelled": [killed, cancelled],
        "status=completed&outcome=completed": [filled, done],
        "service=Box": [filled],
        "service=Shop&handler=sleep": [sleeping, killed, cancelled],
        "key=a": [filled],
        "key=b": [],
        "deployment=shop:7": [],
        f"since={kept['created'].replace('+00:00', 'Z')}": [filled, waiting, failed, sleeping, killed],
        f"until={kept['created'].replace('+00:00', '')}": [cancelled, done],
        f"until={kept['created']}": [cancelled, done],
        f"until={kept['created'].replace('+00:00', '').replace('T', ' ')}": [cancelled, done],
        "until=2026-01-31": [],
    }.items():
        found = (await stack.admin.get(f"/invocations?{query}")).json()["invocations"]
        assert [each["id"] for each in found] == ids, query
        counted = (await stack.admin.get(f"/invocations/counts?{query}")).json()
        assert (counted["total"], counted["cursor"]) == (len(ids), None), query
        assert sum(counted["statuses"].values()) == len(ids), query
        pages = await all_pages(stack, limit=1, status="live")
        assert pages == [waiting, sleeping]
    counted = (await stack.admin.get("/invocations/counts")).json()
    assert counted["statuses"] == {"suspended": 2, "completed": 5}
    assert counted["outcomes"] == {"completed": 2, "failed": 1, "cancelled": 1, "killed": 1}


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


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=W10x",
        "status=x",
        "outcome=live",
        "status=paused&outcome=failed",
        "since=yesterday",
        "until=" + "9" * 400,
        "service=a/b",
        "key=",
        "stauts=live",
        "deployment=" + "x" * 300,
    ],
)
async def test_bad_parameters(stack: Admined, query: str) -> None:
    assert error(await stack.admin.get(f"/invocations?{query}"))[0] == 400


# --- acting ---


async def test_cancel(stack: Admined) -> None:
    id = await stack.sent("Shop/sleep")
    assert await stack.act(id, "cancel") == (202, "accepted")
    await stack.until(lambda: stack.invocations[0].status is Status.COMPLETED)
    shown = await stack.shown(id)
    assert shown["status"] == "completed"
    assert shown["failure"] == {"code": 409, "message": "cancelled", "reason": "cancelled"}
    assert await stack.act(id, "cancel") == (409, f"{id} has completed")
    patched = await stack.admin.patch(f"/invocations/{id}/cancel")
    assert patched.status_code == 409


async def test_kill_the_tree(stack: Admined) -> None:
    root = await stack.sent("Shop/hold")
    [child] = [each["id"] for each in (await stack.shown(root))["waits"]]
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
    await stack.until(lambda: stack.invocations[0].status is Status.SUSPENDED)
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


async def test_what_is_being_killed_is_not_paused(stack: Admined) -> None:
    """The process that kills it has stopped it, and ended before it completed it."""
    id = await stack.sent("Shop/sleep")

    async def dies(*_: object) -> None:
        raise ConnectionError("the process died")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Control, "kill_calls", dies)
        assert (await stack.act(id, "kill"))[0] == 500
    assert await stack.act(id, "pause") == (409, f"{id} is being ended: it is too late to pause it")
    await stack.act(id, "kill")
    assert [each.ended for each in stack.invocations] == [Ended.KILLED]


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


async def test_a_restarted_invocation_has_the_idempotency_key_of_its_request(stack: Admined) -> None:
    sent = await stack.http.post("/Shop/greet/send", json="Mary", headers={"idempotency-key": "order 7"})
    id = sent.json()["invocationId"]
    assert (await stack.shown(id))["idempotency_key"] == "order 7"
    restart = {"idempotency-key": "restart 1"}
    new = (await stack.admin.post(f"/invocations/{id}/restart-as-new", headers=restart)).json()["invocationId"]
    assert (await stack.shown(new))["idempotency_key"] == "order 7"


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
        ("/invocations", {"service": "Nobody", "status": "completed"}),
        ("/services/Nobody/state", {"key": "a"}),
        ("/services/Nobody/state", {"key": "a", "name": "count"}),
    ):
        assert error(await stack.admin.get(path, params=params))[0] == 404
    assert (await stack.admin.get("/invocations", params={"service": "Box"})).json()["invocations"] == []
    assert (await stack.admin.get("/services/Box/state", params={"key": "new"})).json()["version"] == 0


async def test_a_service_without_keys_has_no_state(stack: Admined) -> None:
    for path in ("/services/Shop/state", "/services/Shop/key"):
        code, message = error(await stack.admin.get(path, params={"key": "a"}))
        assert (code, message.partition(":")[0]) == (400, "'Shop' has no keys and no state")


async def test_services(stack: Admined) -> None:
    services = (await stack.admin.get("/services")).json()["services"]
    assert [each["name"] for each in services] == ["Shop", "Box", "Sign"]
    assert services[1]["handlers"]["fill"] == {
        "kind": "exclusive", "private": False, "takes": "application/json", "gives": None,
    }  # fmt: skip
    assert [each["kind"] for each in services] == ["service", "object", "workflow"]
    greet = (await stack.admin.get("/services/Shop")).json()["handlers"]["greet"]
    assert (greet["input"], greet["output"]) == ({"type": "string"}, {"type": "string"})


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
    assert error(refused) == (412, f"Box/a is held by {holder}: wait until that ends, or cancel it")
    for service in ("Shop", "Sign"):
        refused = await stack.admin.put(
            f"/services/{service}/state", params={"key": "a", "name": "n"}, json=1, headers={"if-match": "0"}
        )
        assert error(refused)[0] == 400


async def test_a_form_is_not_a_value(stack: Admined) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}  # what `curl -d` sends
    id = await stack.sent("Shop/wait")
    journal = (await stack.admin.get(f"/invocations/{id}/journal")).json()["entries"]
    for path in (f"/invocations/{id}/signals/go", f"/awakeables/{journal[0]['awakeable']}/resolve"):
        assert error(await stack.admin.post(path, content="yes", headers=form))[0] == 415
        assert (await stack.admin.post(path, content='"yes"', headers=form)).status_code == 202
    place = {"key": "a", "name": "count"}
    refused = await stack.admin.put(
        "/services/Box/state", params=place, content="yes", headers={**form, "if-match": "0"}
    )
    assert error(refused)[0] == 415


# --- apart from the ingress ---


@pytest.mark.parametrize(
    "path", ["/admin/invocations", "/restate/admin/invocations", "//admin/services", "/%61dmin/services"]
)
async def test_the_ingress_leads_nowhere_there(stack: Admined, path: str) -> None:
    assert ingress_error(await stack.http.get(path))[0] == 404


async def test_the_development_server_has_both() -> None:
    async with (
        running(Registry(Shop), MemoryStore()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        assert (await http.post("/Shop/greet", json="Mary")).json() == "Hello Mary"
        assert (await http.get("/admin/services")).status_code == 200
