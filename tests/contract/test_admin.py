"""The admin on both stores: what an operator sees and does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import pytest

from adapter import (
    Context,
    ObjectContext,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    gather,
    handler,
)
from adapter.engine.ports import Store
from adapter.local.server import running
from adapter.registry import Registry
from tests.ingress.conforming import conforming

UNKNOWN = "inv_" + "a" * 32
SLOW = RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1))
ONCE = RetryPolicy(initial=timedelta(milliseconds=1), attempts=2)


class Bank(Service):
    down = True

    @handler(retry=SLOW)
    async def pay(self, ctx: Context, amount: int) -> int:
        await ctx.run("check", lambda: None)
        return await ctx.run("transfer", self.transfer, amount, type=int)

    def transfer(self, amount: int) -> int:
        if Bank.down:
            raise ConnectionError("the bank is down")
        return amount

    @handler(retry=ONCE)
    async def gives_up(self, ctx: Context) -> str:
        return await ctx.run("call", self.call, type=str)

    def call(self) -> str:
        if Bank.down:
            raise ConnectionError("nobody answers")
        return "called"


class Account(VirtualObject):
    @handler
    async def deposit(self, ctx: ObjectContext, amount: int) -> int:
        await ctx.service_client(Bank).pay(amount)
        return await self.add.fn(ctx, amount)

    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        balance = (await ctx.get("balance", int) or 0) + amount
        ctx.set("balance", balance)
        return balance

    @handler
    async def approve(self, ctx: ObjectContext) -> Any:
        return await ctx.awakeable(Any)

    @handler
    async def listen(self, ctx: ObjectContext) -> Any:
        return await ctx.signal("go/now", Any)


class Shop(Service):
    seen: ClassVar[list[str]] = []

    @handler
    async def order(self, ctx: Context, name: str) -> str:
        ctx.object_send_client(Account, name).add(1)
        first = await ctx.service_client(Shop).greet(name, idempotency_key=f"{name}?/1")
        await ctx.object_client(Account, f"{name}/x").add(2)
        return first

    @handler
    async def settle(self, ctx: Context) -> None:
        await gather(
            ctx.object_client(Account, "a").approve(),
            ctx.service_client(Bank).gives_up(),
            ctx.service_client(Shop).greet("a"),
        )

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"Hello {name}"

    @handler
    async def much(self, ctx: Context) -> bytes:
        return await ctx.run("make", lambda: bytes(range(256)) * 40, type=bytes)

    @handler
    async def refuse(self, ctx: Context) -> None:
        raise TerminalError("no", code=418, metadata={"why": "tea"})


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> str:
        return await ctx.promise("code/1", str)

    @handler
    async def peek(self, ctx: WorkflowSharedContext) -> bool:
        return await ctx.promise("code/1", str).peek() is not None


class Operator:
    """A client of the admin and of the handlers."""

    def __init__(self, http: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
        self.http = http
        self.admin = admin

    async def get(self, path: str, **params: Any) -> Any:
        response = await self.admin.get(path, params=params)
        assert response.is_success, response.text
        return response.json()

    async def send(self, path: str, input: Any = None) -> str:
        response = await self.http.post(f"/{path}/send", **({} if input is None else {"json": input}))
        assert response.is_success, response.text
        return str(response.json()["invocationId"])

    async def until(self, id: str, *statuses: str) -> dict[str, Any]:
        """What is shown of an invocation once it has one of these statuses."""
        return await self.eventually(
            lambda: self.get(f"/invocations/{id}"), lambda shown: shown["status"] in (statuses or ("completed",))
        )

    async def eventually(self, ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + 60
        while not holds(shown := await ask()):
            assert time.monotonic() < end, shown
            await asyncio.sleep(0.01)
        return shown

    async def post(self, path: str, code: int = 202, **options: Any) -> Any:
        response = await self.admin.post(path, **options)
        assert response.status_code == code, response.text
        return response.json()


@pytest.fixture
def history() -> bool:
    return True


@pytest.fixture
async def operator(store: Store) -> AsyncIterator[Operator]:
    Bank.down = True
    async with running(Registry(Bank, Account, Shop, SignUp), store) as app:
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
            httpx.AsyncClient(
                transport=transport, base_url="http://test/admin", event_hooks={"response": [conforming]}
            ) as admin,
        ):
            yield Operator(http, admin)


# --- why -------------------------------------------------------------------------------------------------------------


async def test_why_follows_the_owner_of_the_key_to_the_root(operator: Operator) -> None:
    owner = await operator.send("Account/ann/deposit", 5)
    await operator.until(owner, "suspended")
    waiting = await operator.send("Account/ann/add", 1)
    await operator.until(waiting, "queued")
    why = await operator.eventually(
        lambda: operator.get(f"/invocations/{waiting}/why"), lambda why: why["root"]["status"] == "backing-off"
    )
    assert [(link["target"], link["relation"]) for link in why["chain"]] == [
        ("Account/ann/add", "start"), ("Account/ann/deposit", "owner of Account/ann"), ("Bank/pay", "called by it"),
    ]  # fmt: skip
    assert why["chain"][0]["text"].startswith("queued for ")
    assert why["root"] == why["chain"][2]
    assert "in step 'transfer'" in why["root"]["text"]
    assert "the bank is down" in why["root"]["error"]
    assert why["root"]["max_attempts"] == 70
    assert why["root"]["actions"][0]["command"] == f"adapter inv resume {why['root']['id']}"
    assert (why["cycle"], why["summary"][:34]) == (False, "Account/ann/add waits for Bank/pay")
    Bank.down = False
    await operator.post(why["root"]["actions"][0]["path"].removeprefix("/admin"))
    assert (await operator.until(waiting))["output"]["json"] == 6


async def test_why_follows_what_needs_an_operator_most(operator: Operator) -> None:
    id = await operator.send("Shop/settle")
    why = await operator.eventually(
        lambda: operator.get(f"/invocations/{id}/why"), lambda why: why["root"]["status"] == "paused"
    )
    assert [link["target"] for link in why["chain"]] == ["Shop/settle", "Bank/gives_up"]
    assert why["chain"][0]["text"].endswith("waits for 1 other and")
    assert "nobody answers" in why["root"]["text"]


async def test_why_a_completed_one_does_not_continue(operator: Operator) -> None:
    id = await operator.send("Shop/refuse")
    await operator.until(id)
    why = await operator.get(f"/invocations/{id}/why")
    assert [link["actions"] for link in why["chain"]] == [[]]
    assert why["summary"].startswith("Shop/refuse ended as failed ")


async def test_why_leads_to_what_resolves_it(operator: Operator) -> None:
    for path, word in (("Account/a/approve", "awakeable"), ("Account/b/listen", "signal"), ("SignUp/c/run", "promise")):
        id = await operator.send(path)
        await operator.until(id, "suspended")
        why = await operator.get(f"/invocations/{id}/why")
        assert f"waits for the {word}" in why["root"]["text"]
        action = why["root"]["actions"][0]
        assert word in action["text"]
        await operator.post(action["path"].removeprefix("/admin"), content=b'"yes"')
        assert (await operator.until(id))["output"]["json"] == "yes"


# --- results from outside --------------------------------------------------------------------------------------------


async def test_awakeables(operator: Operator) -> None:
    id = await operator.send("Account/a/approve")
    [wait] = (await operator.until(id, "suspended"))["waits"]
    [entry] = (await operator.get(f"/invocations/{id}/journal"))["entries"]
    assert (entry["command"], entry["awakeable"]) == ("awakeable", wait["id"])
    path = f"/awakeables/{wait['id']}"
    await operator.post(f"{path}/reject", 400, json={"code": 409})
    await operator.post(f"{path}/reject", 400, json={"message": "no", "code": 200})
    assert await operator.post(f"{path}/reject", json={"message": "no", "code": 409}) == {"status": "accepted"}
    assert (await operator.until(id))["failure"] == {"code": 409, "message": "no"}
    await operator.post(f"{path}/resolve", 200, content=b"1")
    await operator.post(f"/awakeables/awk_{'a' * 48}0/resolve", 404)
    await operator.post("/awakeables/awk_1/resolve", 400)


async def test_signals(operator: Operator) -> None:
    id = await operator.send("Account/a/listen")
    await operator.until(id, "suspended")
    await operator.post(f"/invocations/{id}/signals/go/now/reject", json={"message": "stop"})
    assert (await operator.until(id))["failure"]["message"] == "stop"
    await operator.post(f"/invocations/{id}/signals/go/now", 409, content=b"1")
    await operator.post(f"/invocations/{UNKNOWN}/signals/go", 404)


async def test_promises(operator: Operator) -> None:
    assert await operator.get("/services/SignUp/promises", key="Mary") == {"promises": [], "complete": True}
    id = await operator.send("SignUp/Mary/run")
    await operator.until(id, "suspended")
    [promise] = (await operator.get("/services/SignUp/promises", key="Mary"))["promises"]
    assert (promise["name"], promise["status"]) == ("code/1", "pending")
    assert await operator.get("/services/SignUp/promises", key="Mary", name="other") == {
        "promises": [], "complete": True,
    }  # fmt: skip
    path = "/services/SignUp/promises/code/1"
    await operator.post(f"{path}/resolve", 400)
    await operator.post("/services/Shop/promises/x/resolve?key=a", 400)
    assert await operator.post(f"{path}/resolve?key=Mary", content=b'"1234"') == {"status": "accepted"}
    assert await operator.post(f"{path}/reject?key=Mary", 200, json={"message": "no"}) == {"status": "already"}
    [promise] = (await operator.get("/services/SignUp/promises", key="Mary"))["promises"]
    assert (promise["status"], promise["value"]) == ("resolved", {"json": "1234", "size": 6})
    assert (await operator.until(id))["output"]["json"] == "1234"
    await operator.post(f"{path}/reject?key=Bob", json={"message": "no"})
    [promise] = (await operator.get("/services/SignUp/promises", key="Bob"))["promises"]
    assert (promise["status"], promise["failure"]["message"]) == ("rejected", "no")


# --- one invocation --------------------------------------------------------------------------------------------------


async def test_the_call_tree_up_and_down(operator: Operator) -> None:
    id = await operator.send("Shop/order", "ann")
    await operator.until(id)
    tree = await operator.get(f"/invocations/{id}/tree")
    assert [(child["target"], child["command"], child["sent"]) for child in tree["children"]] == [
        ("Account/ann/add", 0, True), ("Shop/greet", 1, False), ("Account/ann/x/add", 2, False),
    ]  # fmt: skip
    assert (tree["ancestors"], tree["truncated"]) == ([], False)
    child = await operator.get(f"/invocations/{tree['children'][2]['id']}/tree")
    assert [each["id"] for each in child["ancestors"]] == [id]
    sent = await operator.get(f"/invocations/{tree['children'][0]['id']}/tree")
    assert (sent["sender"], [each["id"] for each in sent["ancestors"]]) == (id, [id])
    journal = (await operator.get(f"/invocations/{id}/journal"))["entries"]
    assert [entry["child"] for entry in journal] == [each["id"] for each in tree["children"]]
    assert journal[1]["value"] == {"json": "Hello ann", "size": 11}
    await operator.until(tree["children"][0]["id"])
    await operator.post(f"/invocations/{tree['children'][0]['id']}/purge")
    gone = (await operator.get(f"/invocations/{id}/tree"))["children"][0]
    assert (gone["status"], gone["target"]) == ("gone", "Account/ann/add")


async def test_each_attempts_error_is_kept(operator: Operator) -> None:
    id = await operator.send("Bank/gives_up")
    shown = await operator.until(id, "paused")
    assert [(each["attempt"], "nobody answers" in each["error"]) for each in shown["errors"]] == [(1, True), (2, True)]
    assert shown["created"] <= shown["errors"][0]["at"] <= shown["errors"][1]["at"]
    assert shown["waits"] == [{"kind": "operator"}]
    Bank.down = False
    await operator.post(f"/invocations/{id}/resume")
    shown = await operator.until(id)
    assert len(shown["errors"]) == 2, "they are still there after the end"
    entries = (await operator.get(f"/invocations/{id}/journal"))["entries"]
    assert [entry["attempt"] for entry in entries if "attempt" in entry] == [2, 4]


async def test_large_and_binary_values_are_cut_and_linked(operator: Operator) -> None:
    id = await operator.send("Shop/much")
    shown = await operator.until(id)
    output = shown["output"]
    assert (output["size"], output["truncated"], output["href"]) == (10240, True, f"/admin/invocations/{id}/output")
    assert set(output) == {"base64", "size", "truncated", "href"}
    [entry] = (await operator.get(f"/invocations/{id}/journal"))["entries"]
    whole = bytes(range(256)) * 40
    for href in (output["href"], entry["value"]["href"]):
        assert (await operator.http.get(href)).content == whole
    missing = await operator.admin.get(f"/invocations/{id}/entries/7/value")
    assert missing.status_code == 404
    response = await operator.admin.get(f"/invocations/{id}/input")
    assert (response.content, response.headers["x-content-type-options"]) == (b"", "nosniff")


async def test_the_journal_comes_in_pages(operator: Operator) -> None:
    id = await operator.send("Shop/order", "bob")
    await operator.until(id)
    found: list[int] = []
    cursor: str | None = None
    while True:
        page = await operator.get(f"/invocations/{id}/journal", limit=2, **({"cursor": cursor} if cursor else {}))
        found += [entry["n"] for entry in page["entries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [0, 1, 2]


# --- many ------------------------------------------------------------------------------------------------------------


async def bulk(operator: Operator, action: str, **body: Any) -> list[dict[str, Any]]:
    """All pages of a bulk action."""
    pages: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        pages.append(await operator.post("/invocations/bulk", 200, json={"action": action, **body, "cursor": cursor}))
        cursor = pages[-1]["cursor"]
        if cursor is None:
            return pages


async def test_a_bulk_action_in_pages_after_a_dry_run(operator: Operator) -> None:
    ids = [await operator.send(f"Account/{n}/approve") for n in range(5)]
    for id in ids:
        await operator.until(id, "suspended")
    other = await operator.send("SignUp/c/run")
    await operator.until(other, "suspended")
    chosen: dict[str, Any] = {"filter": {"status": ["live"], "service": "Account"}, "limit": 2}
    tried = await bulk(operator, "cancel", **chosen, dry_run=True)
    assert [page["done"] for page in tried if page["matched"]] == [2, 2, 1]
    assert {each["id"] for page in tried for each in page["invocations"]} == set(ids)
    assert all([(await operator.get(f"/invocations/{id}"))["status"] == "suspended" for id in ids])
    done = await bulk(operator, "cancel", **chosen)
    assert sum(page["done"] for page in done) == 5
    for id in ids:
        assert (await operator.until(id))["outcome"] == "cancelled"
    assert sum(page["matched"] for page in await bulk(operator, "cancel", **chosen)) == 0
    assert (await operator.get(f"/invocations/{other}"))["status"] == "suspended"


async def test_a_bulk_action_by_ids_tells_what_it_skips(operator: Operator) -> None:
    done, live = await operator.send("Shop/greet", "a"), await operator.send("Account/a/approve")
    await operator.until(done)
    await operator.until(live, "suspended")
    ids = [done, live, UNKNOWN]
    for action, count, reasons in (
        ("resume", 0, [f"{done} has completed", "there is nothing to resume", "no such invocation"]),
        ("pause", 1, [f"{done} has completed", "no such invocation"]),
        ("pause", 0, [f"{done} has completed", "it is paused", "no such invocation"]),
        ("purge", 1, ["only what has completed is purged", "no such invocation"]),
    ):
        answer = await operator.post("/invocations/bulk", 200, json={"action": action, "ids": ids})
        assert (answer["matched"], answer["done"]) == (3, count)
        told = [each["reason"] for each in answer["skipped"]]
        assert all(any(reason in text for text in told) for reason in reasons)
        assert len(told) == len(reasons)
        ids = [id for id in ids if action != "purge"]
    await operator.post(f"/invocations/{live}/kill")


async def test_a_bulk_restart_happens_once(operator: Operator) -> None:
    id = await operator.send("Shop/refuse")
    await operator.until(id)
    for key, count in ((None, 2), (None, 2), ("again", 3)):
        headers = {} if key is None else {"idempotency-key": key}
        body = {"action": "restart-as-new", "ids": [id]}
        assert (await operator.post("/invocations/bulk", 200, json=body, headers=headers))["done"] == 1
        listed = await operator.eventually(
            lambda: operator.get("/invocations", outcome="failed"),
            lambda page, count=count: len(page["invocations"]) >= count,  # type: ignore[misc]
        )
        assert len(listed["invocations"]) == count


@pytest.mark.parametrize(
    "body",
    [
        {"action": "explode", "filter": {}},
        {"action": "kill"},
        {"action": "kill", "filter": {}, "ids": []},
        {"action": "kill", "filter": {"stauts": ["live"]}},
        {"action": "kill", "filter": {"status": ["lively"]}},
        {"action": "kill", "filter": {}, "limit": 101},
        {"action": "kill", "filter": {}, "from": 1},
        {"action": "kill", "filter": {}, "deployment": "latest"},
        {"action": "kill", "ids": ["inv_1"]},
        {"action": "kill", "ids": [UNKNOWN] * 101},
        {"action": "restart-as-new", "filter": {}, "from": -1},
        {"action": "kill", "filter": {}, "cursor": "x"},
        [],
    ],
)
async def test_a_bulk_action_that_is_none(operator: Operator, body: Any) -> None:
    await operator.post("/invocations/bulk", 400, json=body)


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_keys_with_owners_and_queues(operator: Operator) -> None:
    owner = await operator.send("Account/a/approve")
    await operator.until(owner, "suspended")
    queue = []
    for _ in range(3):
        queue.append(await operator.send("Account/a/add", 1))
        await operator.until(queue[-1], "queued")
    alone = await operator.send("Account/b/approve")
    await operator.until(alone, "suspended")
    listed = await operator.get("/keys")
    assert sorted((each["key"], each["owner"], each["waiting"]) for each in listed["keys"]) == [
        ("a", owner, 3), ("b", alone, 0),
    ]  # fmt: skip
    assert [each["key"] for each in (await operator.get("/keys", queued="true"))["keys"]] == ["a"]
    assert (await operator.get("/keys", service="Shop"))["keys"] == []
    held = await operator.get("/services/Account/key", key="a")
    assert (held["owner"]["id"], held["waiting"], [each["id"] for each in held["queue"]]) == (owner, 3, queue)
    await operator.post(f"/invocations/{owner}/kill")
    await operator.until(queue[2])
    held = await operator.get("/services/Account/key", key="a")
    assert (held["owner"], held["waiting"], held["state"]) == (None, 0, {"balance": {"json": 3, "size": 1}})
    missing = await operator.admin.get("/services/Nobody/key", params={"key": "a"})
    assert missing.status_code == 404


# --- altogether ------------------------------------------------------------------------------------------------------


async def test_the_overview(operator: Operator) -> None:
    paused, failing = await operator.send("Bank/gives_up"), await operator.send("Bank/pay", 1)
    done = await operator.send("Shop/greet", "a")
    await operator.until(paused, "paused")
    await operator.until(done)
    await operator.eventually(lambda: operator.get(f"/invocations/{failing}"), lambda shown: shown["failures"] > 0)
    shown = await operator.eventually(
        lambda: operator.get("/overview"), lambda shown: shown["sweeper"]["age_seconds"] is not None
    )
    assert (shown["statuses"]["paused"], shown["outcomes"], shown["complete"]) == (1, {"completed": 1}, True)
    assert {each["id"] for each in shown["failing"]} >= {failing}
    assert shown["oldest_paused"]["id"] == paused
    assert (shown["services"], shown["deployments"]) == (4, 1)
    assert shown["sweeper"]["age_seconds"] < 60
    assert shown["requests"]["per_second"] > 0
    [deployment] = (await operator.get("/deployments"))["deployments"]
    assert (deployment["live"], deployment["current"], deployment["safe_to_delete"]) == (2, True, False)
    assert await operator.get("/dead-letters") == {"messages": [], "count": 0}
    await operator.post("/dead-letters/purge")


async def test_who_waits_for_whom(operator: Operator) -> None:
    owner = await operator.send("Account/ann/deposit", 5)
    await operator.until(owner, "suspended")
    waiting = await operator.send("Account/ann/add", 1)
    await operator.until(waiting, "queued")
    graph = await operator.get("/waits")
    kinds = {(edge["from"], edge["kind"]): edge["to"] for edge in graph["edges"]}
    assert kinds[waiting, "key"] == owner
    child = kinds[owner, "call"]
    assert {node["id"] for node in graph["nodes"]} == {waiting, owner, child}
    assert (await operator.get("/deadlocks"))["deadlocks"] == []
