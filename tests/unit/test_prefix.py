"""An invocation that is restarted from one of its commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import pytest

from adapter import Context, ObjectContext, Service, TerminalError, VirtualObject, handler
from adapter.engine import commands as c
from adapter.engine.journal import (
    CANCEL,
    AttemptStarted,
    CommandIssued,
    Entry,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
)
from adapter.engine.prefix import cut_before
from adapter.engine.records import Copied, Ref
from adapter.engine.types import Kind, Outcome
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.unit.world import World, closure, settle, unpack, value

ONE, TWO = Outcome(b"1"), Outcome(b"2")


def run(n: int) -> CommandIssued:
    return CommandIssued(n, "run", f"step {n}")


# --- the cut ---


def test_results_before_the_cut_stay_in_their_order() -> None:
    entries: list[Entry] = [run(0), run(1), ResultDelivered(1, TWO), ResultDelivered(0, ONE), run(2)]
    assert cut_before(entries, {}, 2) == entries[:4]


def test_notifications_become_results() -> None:
    call = CommandIssued(0, "call", "Greeter/greet")
    assert cut_before([call, NotificationDelivered(0, "c0"), run(1)], {"c0": ONE}, 1) == [call, ResultDelivered(0, ONE)]
    with pytest.raises(ValueError, match="the result of 0 is not kept"):
        cut_before([call, NotificationDelivered(0, "c0"), run(1)], {}, 1)


@pytest.mark.parametrize("late", [ResultDelivered(0, ONE), StateRead(0, ONE), NotificationDelivered(0, "c0")])
def test_a_result_that_came_later_is_kept(late: Entry) -> None:
    entries = [run(0), run(1), run(2), late]
    assert cut_before(entries, {"c0": ONE}, 1) == [run(0), StateRead(0, ONE)]


def test_attempts_and_tries_are_left_out() -> None:
    entries = [run(0), StepRetried(0, 2, 5), AttemptStarted(2), ResultDelivered(0, ONE), run(1)]
    assert cut_before(entries, {}, 1) == [run(0), ResultDelivered(0, ONE)]


def test_what_is_open_is_taken_up_again() -> None:
    entries = [run(0), CommandIssued(1, "sleep", "", at=5), CommandIssued(2, "call", "A/b"), run(3)]
    assert cut_before(entries, {}, 3) == entries[:3]


def test_an_open_awakeable_cannot_be_copied() -> None:
    awakeable = CommandIssued(1, "awakeable", "")
    with pytest.raises(ValueError, match=r"its awakeable 1 has no result.*: use 1"):
        cut_before([run(0), awakeable, run(2)], {}, 2)
    assert cut_before([run(0), awakeable, run(2)], {"w1": ONE}, 2) == [run(0), awakeable, StateRead(1, ONE)]


def test_a_cancellation_before_the_cut() -> None:
    entries = [run(0), ResultDelivered(CANCEL, ONE), run(1)]
    with pytest.raises(ValueError, match="it was cancelled before that command"):
        cut_before(entries, {}, 1)


@pytest.mark.parametrize(("entries", "message"), [([], "it has no journal"), ([run(0)], "its journal has 1 commands")])
def test_a_command_that_is_not_there(entries: list[Entry], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cut_before(entries, {}, 2)


# --- a restart ---


class Orders(Service):
    ran: ClassVar[list[str]] = []
    broken = True

    @handler
    async def place(self, ctx: Context, name: str) -> list[Any]:
        """Six commands; the last but one fails while the shop is broken."""
        key = ctx.uuid()
        price = await ctx.run("price", self.price, type=int)  # 0
        stock = await ctx.object_client(Stock, name).take(2)  # 1
        waiting = ctx.object_client(Stock, name).slow()  # 2
        sent = ctx.object_send_client(Stock, name).take(1)  # 3
        await ctx.run(f"pay {key}", self.pay)  # 4
        left = await sent  # 5
        return [price, stock, await waiting, left, str(key)]

    @handler
    async def follow(self, ctx: Context) -> str:
        return await ctx.object_client(Stock, "pen").slow()

    @handler
    async def call_off(self, ctx: Context) -> int:
        ctx.object_send_client(Stock, "pen").slow().cancel()  # 0 and 1; nobody awaits the cancellation
        return await ctx.run("price", self.price, type=int)  # 2

    def price(self) -> int:
        self.ran.append("price")
        return 3

    def pay(self) -> None:
        self.ran.append("pay")
        if Orders.broken:
            raise TerminalError("the bank is closed")


class Stock(VirtualObject):
    @handler
    async def take(self, ctx: ObjectContext, amount: int) -> int:
        left = (await ctx.get("left", int) or 10) - amount
        ctx.set("left", left)
        return left

    @handler
    async def slow(self, ctx: ObjectContext) -> str:
        await ctx.sleep(timedelta(seconds=0.3))
        return "slow"


class Served:
    def __init__(self, http: httpx.AsyncClient, store: MemoryStore) -> None:
        self.http = http
        self.store = store

    async def ends(self, id: str) -> dict[str, Any]:
        return await self.shows(id, lambda shown: shown["status"] == "completed")

    async def shows(self, id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What is shown of an invocation once something holds of it."""
        end = time.monotonic() + 60
        while True:
            shown: dict[str, Any] = (await self.http.get(f"/admin/invocations/{id}")).json()
            if holds(shown):
                return shown
            assert time.monotonic() < end, shown
            await asyncio.sleep(0.01)

    async def restart(self, id: str, first: int, **headers: str) -> httpx.Response:
        path = f"/admin/invocations/{id}/restart-as-new"
        return await self.http.post(path, params={"from": first}, headers=headers)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    store = MemoryStore()
    Orders.ran.clear()
    Orders.broken = True
    async with (
        running(Registry(Orders, Stock), store) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        yield Served(http, store)


async def failed_order(served: Served) -> str:
    response = await served.http.post("/Orders/place/send", json="pen")
    id = str(response.json()["invocationId"])
    assert (await served.ends(id))["failure"]["message"] == "the bank is closed"
    Orders.broken = False
    return id


async def test_the_results_before_the_command_are_taken_and_the_rest_runs(served: Served) -> None:
    id = await failed_order(served)
    response = await served.restart(id, 4)
    new = response.json()["invocationId"]
    assert (response.status_code, response.json()["restarted"]) == (202, id)
    shown = await served.ends(new)
    assert shown["output"]["json"][:4] == [3, 8, "slow", 7], "the send of the first one is awaited, not repeated"
    assert Orders.ran == ["price", "pay", "pay"]
    state = (await served.http.get("/admin/services/Stock/state?key=pen")).json()["state"]
    assert state == {"left": 7}, "nothing was taken twice"


async def test_a_request_of_the_prefix_that_nobody_awaits_holds_up_no_end(served: Served) -> None:
    id = (await served.http.post("/Orders/call_off/send")).json()["invocationId"]
    assert (await served.ends(id))["output"]["json"] == 3
    new = (await served.restart(id, 2)).json()["invocationId"]
    ended = await served.ends(new)
    assert (ended["output"]["json"], ended["attempts"]) == (3, 2), "one attempt, after the one that is copied"


async def test_a_restart_of_a_restart(served: Served) -> None:
    id = await failed_order(served)
    Orders.broken = True
    second = (await served.restart(id, 4)).json()["invocationId"]
    assert (await served.ends(second))["failure"]["message"] == "the bank is closed"
    Orders.broken = False
    third = (await served.restart(second, 4)).json()["invocationId"]
    fourth = (await served.restart(second, 1)).json()["invocationId"]
    ends = [(await served.ends(each))["output"]["json"] for each in (third, fourth)]
    assert ends[0][:4] == [3, 8, "slow", 7]
    assert ends[1][:4] == [3, 5, "slow", 4], "from the first call on it takes again"
    assert ends[0][4] == ends[1][4], "random numbers are the first one's"
    assert Orders.ran == ["price", "pay", "pay", "pay", "pay"]
    metas = {meta.id: meta for meta in (await served.store.peek_all([id, second, third, fourth])).values()}
    assert metas[third].copied == (Copied(4, metas[id].ref), Copied(0, metas[second].ref))
    assert metas[fourth].copied == (Copied(1, metas[id].ref), Copied(0, metas[second].ref))
    assert (await served.ends(third))["restarted_from"] == second


async def test_the_journal_and_the_tree_of_a_restarted_one(served: Served) -> None:
    id = await failed_order(served)
    new = (await served.restart(id, 4)).json()["invocationId"]
    await served.ends(new)
    journals = [(await served.http.get(f"/admin/invocations/{each}/journal")).json()["entries"] for each in (id, new)]
    first, second = ([entry for entry in entries if "n" in entry] for entries in journals)
    for old, copy in zip(first[:4], second[:4], strict=True):
        assert [copy.get(name) for name in ("n", "command", "name", "child")] == [
            old.get(name) for name in ("n", "command", "name", "child")
        ]
    children = (await served.http.get(f"/admin/invocations/{new}/tree")).json()["children"]
    assert [child["status"] for child in children] == ["completed"] * 3


async def test_restarts_with_one_idempotency_key_are_one(served: Served) -> None:
    id = await failed_order(served)
    answers = [(await served.restart(id, 4, **{"idempotency-key": "k"})).json() for _ in range(2)]
    assert answers[0] == answers[1]


async def test_a_call_without_a_result_is_waited_for(served: Served) -> None:
    id = (await served.http.post("/Orders/follow/send")).json()["invocationId"]
    await served.shows(id, lambda shown: [each["kind"] for each in shown["waits"][:1]] == ["call"])
    new = (await served.restart(id, 1)).json()["invocationId"]
    await served.ends(id)
    assert (await served.ends(new))["output"]["json"] == "slow"
    listed = (await served.http.get("/admin/invocations?service=Stock")).json()["invocations"]
    assert len(listed) == 1, "it was called once"


async def test_a_restart_into_a_queue(served: Served) -> None:
    """An exclusive handler that waits for its key begins with the copied results once it has it."""
    holder = (await served.http.post("/Stock/pen/slow/send")).json()["invocationId"]
    took = (await served.http.post("/Stock/pen/take", json=1)).headers["x-restate-id"]
    await served.ends(holder)
    await served.http.post("/Stock/pen/slow/send")
    new = (await served.restart(took, 1)).json()["invocationId"]
    again = await served.http.post("/Stock/pen/take", json=1)
    assert (await served.ends(new))["output"]["json"] == 9, "it has read what the first one read"
    assert again.json() == 8


@pytest.mark.parametrize(("first", "code"), [("7", 409), ("x", 400), ("-1", 400)])
async def test_what_cannot_be(served: Served, first: Any, code: int) -> None:
    id = await failed_order(served)
    response = await served.restart(id, first)
    assert response.status_code == code
    assert (await served.restart(id, 0)).status_code == 202


def test_what_derives_from_a_command_is_its_issuers() -> None:
    from tests.contract.samples import meta

    first, second = Ref("inv_a", "g"), Ref("inv_b", "g")
    record = meta("inv_c", copied=(Copied(2, first), Copied(4, second)))
    assert [record.issuer(n) for n in (0, 1, 2, 3, 4)] == [first, first, second, second, record.ref]


# --- large ones ---


@pytest.mark.parametrize("path", ["S/work", "S/k/work"])
@pytest.mark.parametrize(("result", "input"), [(140_000, 0), (40_000, 700_000), (40_000, 3_000_000)])
async def test_all_that_may_be_copied_is(path: str, result: int, input: int) -> None:
    world = World()
    ran: list[int] = []

    def step(n: int) -> str:
        ran.append(n)
        return "x" * result

    @world.handler("S", Kind.EXCLUSIVE if "/k/" in path else Kind.SERVICE)
    async def work(ctx: Any, _: Any) -> Any:
        for n in range(10):
            await ctx.issue(c.Run(f"step {n}", closure(lambda n=n: step(n))), unpack)
        return await ctx.issue(c.Run("last", closure(lambda: step(10)[:1])), unpack)

    id = await world.send(path, "y" * input)
    await settle()
    restarted = await world.engine.control.restart(id, first=10)
    assert restarted is not None
    await settle()
    assert value((await world.meta(restarted.id)).outcome) == "x"
    assert ran == [*range(11), 10]
