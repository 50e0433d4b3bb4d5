"""Rings of calls that wait for each other's keys: found in one process and across, and never where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import ObjectContext, TerminalError, VirtualObject, gather, handler, wait_completed
from adapter.engine import commands as c
from adapter.engine.cycles import Cycles
from adapter.engine.ids import idempotent_id
from adapter.engine.records import Meta, Status
from adapter.engine.requests import Request
from adapter.engine.types import Kind, ObjectKey, Outcome, Target
from adapter.http.admin import Admin
from adapter.http.services import Deployed
from tests.unit.test_versions import Stack
from tests.unit.world import World, closure, pack, settle, target, unpack, value


def world_of_visitors(processes: int = 1, **options: Any) -> World:
    """Handlers that visit a path of targets, one from the other, each holding its key meanwhile."""
    world = World(processes)

    async def visit(ctx: Any, path: Any) -> Any:
        """Each stop: where to go next, after how many milliseconds."""
        if not path:
            return "end"
        (stop, wait), *rest = path
        if wait:
            await ctx.issue(c.Sleep(wait), unpack)
        return await ctx.issue(c.Call(target(stop), pack(rest)), unpack)

    for service in "ABC":
        world.handler(service, Kind.EXCLUSIVE, "visit", **options)(visit)
    world.handler("S", Kind.SERVICE, "visit")(visit)
    return world


async def test_a_key_that_calls_itself() -> None:
    world = world_of_visitors()
    assert await world.call("A/k/visit", [["A/k/visit", 0]]) == (508, "deadlock: A/k → A/k")
    assert await world.call("A/k/visit", []) == "end"


async def test_a_ring_within_one_request_is_found_at_once() -> None:
    world = world_of_visitors()
    path = [["B/k/visit", 0], ["S/visit", 0], ["C/k/visit", 0], ["A/k/visit", 0]]
    assert await world.call("A/k/visit", path) == (508, "deadlock: A/k → B/k → C/k → A/k")
    assert world.clock.now() == 1_000_000_000_000
    for service in "ABC":
        assert await world.call(f"{service}/k/visit", []) == "end"


async def test_two_requests_that_cross_in_two_processes() -> None:
    world = world_of_visitors(2)
    first = world.start("A/k/visit", [["B/k/visit", 500]])
    second = world.start("B/k/visit", [["S/visit", 500], ["A/k/visit", 0]], process=1)
    await world.clock.advance(4)
    answers = [value((await task).outcome) for task in (first, second)]
    assert answers.count("end") == 1
    (failure,) = [answer for answer in answers if answer != "end"]
    assert failure in ((508, "deadlock: A/k → B/k → A/k"), (508, "deadlock: B/k → A/k → B/k"))
    for service in "AB":
        assert await world.call(f"{service}/k/visit", []) == "end"


async def test_a_ring_of_three_without_a_client_is_found_by_the_last_to_suspend() -> None:
    world = world_of_visitors(2)
    ids = [await world.send(f"{at}/k/visit", [[f"{to}/k/visit", 500]]) for at, to in ("AB", "BC", "CA")]
    await world.clock.advance(3)
    outcomes = [value((await world.meta(id)).outcome) for id in ids]
    assert outcomes.count("end") == 2
    assert sum(o[0] == 508 for o in outcomes if o != "end") == 1


async def test_a_ring_of_three_whose_last_process_died_is_found_by_the_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cycles, "look_for", lambda *_: None)
    world = world_of_visitors(2)
    ids = [await world.send(f"{at}/k/visit", [[f"{to}/k/visit", 500]]) for at, to in ("AB", "BC", "CA")]
    await world.clock.advance(1)
    for _ in range(2):
        await world.clock.advance(60)
        await world.engines[1].sweeper.sweep()
    await world.clock.advance(1)
    outcomes = [value((await world.meta(id)).outcome) for id in ids]
    assert outcomes.count("end") == 2
    assert sum(o[0] == 508 for o in outcomes if o != "end") == 1


@pytest.mark.parametrize("attached", [False, True])
async def test_a_ring_that_is_broken_before_its_deadlock_is_stored_fails_nobody(attached: bool) -> None:
    """The interleaving:

    1. A process finds a deadlock, and is frozen before it writes.
    2. One of the ring is cancelled, so the others go on.
    3. The process writes, a minute later.
    """
    world = world_of_visitors(2)

    @world.handler("S")
    async def attach(ctx: Any, id: Any) -> Any:
        await ctx.issue(c.Signal("go"), unpack)
        return await ctx.issue(c.Attach(id), unpack)

    if attached:
        mine, theirs = idempotent_id(target("S/attach"), "mine"), idempotent_id(target("S/attach"), "theirs")
        await world.send("S/attach", theirs, idempotency_key="mine")
        await world.send("S/attach", mine, idempotency_key="theirs")
        await settle()
        for id in (mine, theirs):
            assert await world.engines[0].outbound.signal(id, "go", Outcome(b"0"), commit_id=id) == "accepted"
    else:
        ids = [await world.send(f"{at}/k/visit", [[f"{to}/k/visit", 500]]) for at, to in ("AB", "BA")]
        mine = ids[0]

    async def cancel_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
        if (phase, method) == ("before", "commit") and "deadlock" in str(args[0][0]):
            world.store.hook = None
            assert await world.engines[1].control.cancel(mine) == "accepted"

    world.store.hook = cancel_first
    await world.clock.advance(4)

    assert world.store.hook is None
    outcomes = [
        value(record.outcome) for record in world.store.records() if isinstance(record, Meta) and record.outcome
    ]
    assert (409, "cancelled") in outcomes
    assert all(outcome[0] != 508 for outcome in outcomes if isinstance(outcome, tuple))


async def test_siblings_in_one_process_that_cross() -> None:
    world = world_of_visitors()

    @world.handler("S")
    async def both(ctx: Any, _: Any) -> Any:
        calls = [
            ctx.issue(c.Call(target("A/k/visit"), pack([["B/k/visit", 10]])), unpack),
            ctx.issue(c.Call(target("B/k/visit"), pack([["A/k/visit", 10]])), unpack),
        ]
        return [str(result) for result in await asyncio.gather(*calls, return_exceptions=True)]

    answers = await world.call("S/both")
    assert sorted(answers)[0].startswith("deadlock: ")
    assert sorted(answers)[1] == "end"


async def test_a_wait_with_an_alternative_is_no_deadlock() -> None:
    world = world_of_visitors(2)

    @world.handler("A", Kind.EXCLUSIVE)
    async def patient(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(500), unpack)
        call = ctx.issue(c.Call(target("B/k/visit"), b"[]"), unpack)
        try:
            return await asyncio.wait_for(call, 20)
        except TimeoutError:
            return "left"

    first = world.start("A/k/patient")
    second = world.start("B/k/visit", [["A/k/visit", 500]], process=1)
    await world.clock.advance(15)
    assert not first.done()
    assert not second.done()
    await world.clock.advance(10)
    assert value((await first).outcome) == "left"
    assert value((await second).outcome) == "end"


class Visited:
    """The services of the world."""

    async def listed(self) -> Sequence[Deployed]:
        return []

    async def names(self) -> Sequence[str]:
        return ["A", "B"]

    async def documents(self) -> dict[str, dict[str, Any]]:
        return {}


async def test_reported_only(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of_visitors(2, deadlocks="report")
    tasks = [
        world.start("A/k/visit", [["B/k/visit", 500]]),
        world.start("B/k/visit", [["A/k/visit", 500]], process=1),
    ]
    await world.clock.advance(10)
    assert not any(task.done() for task in tasks)
    reported = [record for record in world.store.records() if isinstance(record, Meta) and record.error]
    oldest, other = "AB" if caplog.messages[0].startswith("deadlock: A") else "BA"
    failure = f"deadlock: {oldest}/k → {other}/k → {oldest}/k"
    assert [(record.status, record.error) for record in reported] == [(Status.QUEUED, failure)]
    assert caplog.messages == [failure], "once"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Admin(world.engine, Visited())), base_url="http://x"
    ) as http:
        found = (await http.get("/admin/invocations?status=queued")).json()["invocations"]
        assert failure in [each.get("error") for each in found]
        [ring] = (await http.get("/admin/deadlocks")).json()["deadlocks"]
        assert ring["text"] == failure.removeprefix("deadlock: ")
        assert {each["target"] for each in ring["cycle"]} == {"A/k/visit", "B/k/visit"}
        why = (await http.get(f"/admin/invocations/{reported[0].id}/why")).json()
        assert why["cycle"]
        assert "deadlock" in why["summary"]
    await world.engine.control.kill(reported[0].id)
    await world.clock.advance(5)
    outcomes = [str(value((await task).outcome)) for task in tasks]
    assert sorted(outcomes) == ["(409, 'killed')", "end"]


async def test_reported_only_within_one_process() -> None:
    world = world_of_visitors(deadlocks="report")
    task = world.start("A/k/visit", [["B/k/visit", 0], ["A/k/visit", 0]])
    await world.clock.advance(70)
    await world.engine.sweeper.sweep()
    (reported,) = [record for record in world.store.records() if isinstance(record, Meta) and record.error]
    assert (str(reported.target), reported.error) == ("A/k/visit", "deadlock: A/k → B/k → A/k")
    assert not task.done()
    task.cancel()


def world_of_joiners(processes: int = 1) -> World:
    """Handlers that wait for the results of invocations that are not calls of theirs."""
    world = World(processes)

    async def join(ctx: Any, plan: Any) -> Any:
        """A path of targets, an idempotency key each, and milliseconds to wait."""
        if not plan:
            return "end"
        (stop, key, wait), *rest = plan
        if wait:
            await ctx.issue(c.Sleep(wait), unpack)
        return await ctx.issue(c.Call(target(stop), pack(rest), idempotency_key=key), unpack)

    world.handler("S", Kind.SERVICE, "join")(join)
    world.handler("T", Kind.SERVICE, "join")(join)
    world.handler("O", Kind.EXCLUSIVE, "join")(join)

    @world.handler("O", Kind.EXCLUSIVE)
    async def attach(ctx: Any, id: Any) -> Any:
        await ctx.issue(c.Sleep(500), unpack)
        return await ctx.issue(c.Attach(id), unpack)

    return world


async def test_a_key_whose_owner_waits_for_the_result_of_who_waits_for_the_key() -> None:
    world = world_of_joiners(2)
    first = await world.send("S/join", [["O/k/join", "a", 700]])
    second = world.start("O/k/attach", first, process=1)
    await world.clock.advance(5)
    failure = "deadlock: O/k → O/k"
    assert value((await world.meta(first)).outcome) == (508, failure)
    assert value((await second).outcome) == (508, failure), "which is what it waited for"


async def test_an_invocation_that_waits_for_its_own_result() -> None:
    world = world_of_joiners()
    plan = [["S/join", "x", 0]]
    assert await world.call("S/join", plan, idempotency_key="x") == (508, "deadlock: S/join → S/join")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("wait", [0, 3000])
async def test_results_that_wait_for_each_other(processes: int, wait: int) -> None:
    world = world_of_joiners(processes)
    there, back = ["T/join", "y", wait], ["S/join", "x", wait]
    first = world.start("S/join", [there, back], idempotency_key="x")
    await world.clock.advance(0.1)
    second = world.start("T/join", [back, there], idempotency_key="y", process=processes - 1)
    await world.clock.advance(20)
    for task in (first, second):
        code, message = value((await task).outcome)
        assert (code, message[:9]) == (508, "deadlock:")


GRAPHS = int(os.environ.get("GRAPHS", "240"))
"""How many random call graphs are tried, sixty at a time: ``make unit GRAPHS=10000 ARGS='-k acyclic'``."""


@pytest.mark.timeout(max(60, GRAPHS))
@pytest.mark.parametrize("seed", range(7, 7 - -GRAPHS // 60))
async def test_random_acyclic_graphs_raise_no_alarm(seed: int) -> None:
    rng = random.Random(seed)
    world = World(3)

    async def work(ctx: Any, plan: Any) -> Any:
        depth, seed = plan
        chance = random.Random(seed)
        if chance.random() < 0.3:
            await ctx.issue(c.Run("step", closure(1)), unpack)
        if chance.random() < 0.2:
            await ctx.issue(c.Sleep(chance.randrange(3000)), unpack)
        calls = []
        for further in range(depth + 1, 7):
            if chance.random() < 0.4:
                path = f"O{further}/{chance.randrange(3)}/work"
                key = f"{further}-{chance.randrange(100)}" if chance.random() < 0.1 else None
                plan = pack([further, chance.random() if key is None else key])
                calls.append(ctx.issue(c.Call(target(path), plan, idempotency_key=key), unpack))
        await asyncio.gather(*calls)
        return "end"

    for level in range(7):
        world.handler(f"O{level}", Kind.EXCLUSIVE, "work")(work)
    tasks = [
        world.start(f"O{at}/{rng.randrange(3)}/work", [at, i], process=i % 3)
        for i in range(60)
        for at in [rng.randrange(4)]
    ]
    for _ in range(400):
        await world.clock.advance(5)
        if all(task.done() for task in tasks):
            break
    assert {value((await task).outcome) for task in tasks} == {"end"}
    heads = await world.store.heads([ObjectKey(f"O{level}", str(k)) for level in range(7) for k in range(3)])
    assert all(head.owner is None for head in heads.values())


@pytest.mark.parametrize("crashed", [False, True])
async def test_requests_that_wait_for_each_others_results(crashed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for their keys, nor calls them: they are attached to."""
    if crashed:
        monkeypatch.setattr(Cycles, "look_for", lambda *_: None)
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def join(ctx: Any, other: Any) -> Any:
        await ctx.issue(c.Signal("go"), unpack)
        return await ctx.issue(c.Attach(ids[other]), unpack)

    ids += [await world.send("S/join", 1), await world.send("S/join", 0)]
    await settle()
    for process, id in enumerate(ids):
        await world.engines[process].outbound.signal(id, "go", Outcome(b"1"))
    await world.clock.advance(1)
    if crashed:
        assert {(await world.meta(id)).status for id in ids} == {Status.SUSPENDED}
        await world.clock.advance(10)
        await world.engine.sweeper.sweep()
        await world.clock.advance(1)
    failure = (508, "deadlock: S/join → S/join")
    assert [value((await world.meta(id)).outcome) for id in ids] == [failure, failure]


class Open(VirtualObject):
    @handler
    async def visit(self, ctx: ObjectContext, other: str = "") -> str:
        await ctx.sleep(timedelta(seconds=5))
        return await ctx.generic_call(service=other, key=ctx.key, method="visit", parameter="") if other else "end"


class Reported(Open, name="Reported", deadlocks="report"):
    @handler
    async def visit(self, ctx: ObjectContext, other: str = "") -> str:
        return await Open().visit.fn(ctx, other)


@pytest.mark.parametrize("youngest", ["Open", "Reported"])
async def test_a_ring_through_two_functions_is_treated_as_its_youngest_call_asks(youngest: str) -> None:
    stack = Stack()
    stack.deploy("first:1", Open)
    stack.deploy("second:1", Reported)
    older = "Reported" if youngest == "Open" else "Open"
    ids = []
    # The call of who begins later is the youngest.
    for service, other in ((youngest, older), (older, youngest)):
        request = Request(Target(service, "visit", "k"), json.dumps(other).encode())
        ids.append((await stack.engine(stack.hosts[service]).send(request)).id)
        await stack.clock.advance(1)
    await stack.clock.advance(20)
    metas = [await stack.meta(id) for id in ids]
    ring = f"deadlock: {youngest}/k → {older}/k → {youngest}/k"
    if youngest == "Open":
        assert sorted(str(value(meta.outcome)) for meta in metas) == [f"(508, '{ring}')", "end"]
    else:
        assert [meta.status for meta in metas] == [Status.SUSPENDED] * 2
        records = [record for record in stack.store.records() if isinstance(record, Meta) and record.error]
        assert [(str(record.target), record.error) for record in records] == [("Reported/k/visit", ring)]


async def test_a_ring_through_a_handler_that_needs_something_else_as_well() -> None:
    world = world_of_visitors(2)

    @world.handler("A", Kind.EXCLUSIVE)
    async def both(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(500), unpack)
        call = ctx.issue(c.Call(target("B/k/visit"), b"[]"), unpack)
        return await gather(call, ctx.issue(c.Awakeable(), unpack))

    first = world.start("A/k/both")
    await world.clock.advance(0.1)
    second = world.start("B/k/visit", [["A/k/visit", 500]], process=1)  # whose call is the youngest then
    await world.clock.advance(5)
    assert not first.done()
    assert value((await second).outcome) == (508, "deadlock: A/k → B/k → A/k")
    first.cancel()


async def test_a_call_that_nobody_waits_for_may_lead_to_a_key_that_one_of_its_callers_holds() -> None:
    world = world_of_visitors(1)

    @world.handler("A", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/begin"), b""), unpack)

    @world.handler("S")
    async def begin(ctx: Any, _: Any) -> Any:
        return ctx.issue(c.Call(target("S/visit"), b""), unpack).id

    @world.handler("S", name="visit")
    async def visit_from_service(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("A/k/visit"), b"[]"), unpack)

    id = await world.call("A/k/work")
    await world.clock.advance(1)
    assert value((await world.meta(id)).outcome) == "end"


@pytest.mark.parametrize("others", [19, 20, 40])
async def test_a_ring_behind_many_calls_is_found(others: int) -> None:
    world = World(2)

    @world.handler("S")
    async def rest(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Sleep(30_000), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def all(ctx: Any, _: Any) -> Any:
        calls = [ctx.issue(c.Call(target("S/rest"), b""), unpack) for _ in range(others)]
        calls.append(ctx.issue(c.Call(target("O/b/back"), b""), unpack))
        await gather(*calls)

    @world.handler("O", Kind.EXCLUSIVE)
    async def back(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Call(target("O/a/look"), b""), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def look(ctx: Any, _: Any) -> Any:
        return None

    id = await world.send("O/a/all")
    for number in range(60):
        await world.clock.advance(60)
        await world.engines[number % 2].sweeper.sweep()
        await settle()
    meta = await world.meta(id)
    assert value(meta.outcome) == (508, "deadlock: O/a → O/b → O/a")


async def test_a_ring_behind_each_of_many_calls_of_which_one_would_do_is_found() -> None:
    world = World(2)

    @world.handler("O", Kind.EXCLUSIVE)
    async def any(ctx: Any, _: Any) -> Any:
        done, _ = await wait_completed(*[ctx.issue(c.Call(target("O/b/back"), b""), unpack) for _ in range(25)])
        return await done[0]

    @world.handler("O", Kind.EXCLUSIVE)
    async def back(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("O/a/look"), b""), unpack)

    @world.handler("O", Kind.EXCLUSIVE)
    async def look(ctx: Any, _: Any) -> Any:
        return None

    id = await world.send("O/a/any")
    for number in range(60):
        await world.clock.advance(60)
        await world.engines[number % 2].sweeper.sweep()
        await settle()
    assert value((await world.meta(id)).outcome) == (508, "deadlock: O/a → O/b → O/a")


class Asking(VirtualObject):
    @handler
    async def ask(self, ctx: ObjectContext) -> str:
        await ctx.sleep(timedelta(seconds=10))
        return str(await ctx.generic_send(service="Holding", key="k", method="late", parameter=""))


ASKED = idempotent_id(Target("Asking", "ask", "k"), "x")


class Holding(VirtualObject):
    @handler
    async def hold(self, ctx: ObjectContext) -> str:
        return str(await ctx.attach(ASKED))

    @handler
    async def late(self, ctx: ObjectContext, _: str = "") -> str:
        return "late"


async def test_a_ring_through_a_message_in_another_function_is_broken() -> None:
    stack = Stack()
    stack.deploy("first:1", Asking)
    stack.deploy("second:1", Holding)
    request = Request(Target("Asking", "ask", "k"), b"", idempotency_key="x")
    asks = (await stack.engine("first").send(request)).id
    assert asks == ASKED
    await settle()
    holds = await stack.send("Holding/k/hold")
    for _ in range(60):
        await stack.clock.advance(60)
        await stack.engine("first").sweeper.sweep()  # the sweeper's schedule invokes one function
        await settle()
    metas = [await stack.meta(id) for id in (asks, holds)]
    assert [meta.live for meta in metas] == [False, False], [(str(meta.target), meta.status) for meta in metas]
    assert "deadlock" in json.dumps(value(metas[0].outcome))


async def test_code_that_catches_a_deadlock_reads_state_from_the_store() -> None:
    world = World()

    @world.handler("O", kind=Kind.EXCLUSIVE)
    async def fill(ctx: Any, _: Any) -> Any:
        for n in range(10):
            ctx.issue(c.SetState(f"entry {n}", b"x" * 1000), unpack)

    @world.handler("O", kind=Kind.EXCLUSIVE)
    async def names(ctx: Any, _: Any) -> Any:
        with suppress(TerminalError):
            await ctx.issue(c.Call(Target("O", "fill", "k"), pack(None)), unpack)
        return await ctx.issue(c.StateKeys(), unpack)

    await world.call("O/k/fill", None)
    id = (await world.engine.send(Request(Target("O", "names", "k"), pack(None)))).id
    await settle()

    found = await world.store.peek(id)
    assert found is not None
    assert found.outcome is not None
