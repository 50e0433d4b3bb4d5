"""Stored items that cannot be read: who meets one is told what it is, is retried and then paused; all else goes on.

On both stores where a record can be put in its place; items in DynamoDB's own terms are in `test_broken_items`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from adapter.engine import sweeper
from adapter.engine.ids import random_id
from adapter.engine.ports import Create, Store, Update, WriteHead
from adapter.engine.records import PART, Ref, Status, Unreadable
from adapter.engine.types import ObjectKey, Outcome
from adapter.http.admin import Admin
from adapter.http.services import Deployed
from tests.contract.breaking import Items, Running
from tests.contract.samples import GENERATION, commit, meta
from tests.unit.world import pack, target, value


@pytest.fixture
def items(store: Store, request: pytest.FixtureRequest) -> Items:
    dynamodb = request.node.callspec.params["store"] == "dynamodb"
    if not dynamodb:
        return Items(store)
    return Items(store, request.getfixturevalue("client"), request.getfixturevalue("tables"))


@pytest.fixture
async def running(store: Store) -> AsyncIterator[Running]:
    running = Running(store)
    yield running
    await running.close()


BROKEN = {
    "truncated": (lambda text: text[: len(text) // 2], "segment 1 of the journal is damaged"),
    "empty": (lambda text: "", "segment 1 of the journal begins with ''"),
    "with other bytes": (lambda text: text.replace("[", "{"), "segment 1 of the journal is damaged"),
    "of a newer format": (
        lambda text: "3" + text[1:],
        "segment 1 of the journal begins with '3.': it is damaged, or of a",
    ),
    "of something else": (lambda text: '1.{"name": "Mary"}', "segment 1 of the journal is damaged: no list of entries"),
    "with entries of another kind": (lambda text: '1.[["z",1]]', "segment 1 of the journal is damaged: unknown entry"),
    "of another invocation": (lambda text: '1.[["i",7,"run","x"]]', "its commands are not numbered in order"),
}


class Services:
    """The services of a book's process, as the admin asks for them."""

    async def listed(self) -> Sequence[Deployed]:
        return []

    async def names(self) -> Sequence[str]:
        return ["Book"]

    async def documents(self) -> dict[str, dict[str, Any]]:
        return {}


async def test_the_admin_shows_the_rest_of_what_is_broken(running: Running, items: Items) -> None:
    invocation = await running.suspended("Book/Mary/buy")
    await items.put(replace(await items.segment(invocation, 1), data="1.["))
    waits = await running.send("Book/Mary/add", 1)
    await running.until(waits, Status.QUEUED)
    transport = httpx.ASGITransport(Admin(running.engine, Services()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/admin") as http:
        shown = (await http.get(f"/invocations/{invocation.id}")).json()
        assert "segment 1 of the journal is damaged" in shown["unreadable"]
        assert (shown["status"], shown["waits"]) == ("suspended", [])
        why = (await http.get(f"/invocations/{waits}/why")).json()
        assert [link["id"] for link in why["chain"]] == [waits, invocation.id]
        tree = (await http.get(f"/invocations/{invocation.id}/tree")).json()
        assert (tree["children"], tree["truncated"]) == ([], True)
        journal = await http.get(f"/invocations/{invocation.id}/journal")
        assert (journal.status_code, "segment 1 of the journal" in journal.json()["detail"]) == (500, True)


class TestJournals:
    @pytest.mark.parametrize("how", BROKEN)
    async def test_a_broken_piece(
        self, running: Running, items: Items, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        damage, message = BROKEN[how]
        invocation = await running.suspended("Book/Mary/buy")
        whole = await items.segment(invocation, 1)
        await items.put(replace(whole, data=damage(whole.data)))
        await running.answer(invocation)
        paused = await running.until(invocation.id, Status.PAUSED)
        assert message in (paused.error or "")
        assert invocation.id in (paused.error or "")
        assert paused.failures == 3
        assert sum("attempt failed" in record.message for record in caplog.records) == 3
        # Others go on meanwhile, under other keys and services.
        assert await running.call("Book/Joe/add", 2) == 2
        # It is none the worse for it: once the segment can be read it ends as it would have.
        await items.put(whole)
        await running.engine.control.resume(invocation.id)
        done = await running.until(invocation.id, Status.COMPLETED)
        assert done.outcome == Outcome(pack(["one", "two", "yes"]))
        assert running.steps == ["one", "two"]

    async def test_a_missing_piece(self, running: Running, items: Items) -> None:
        invocation = await running.suspended("Book/Mary/buy")
        await items.remove(await items.segment(invocation, 0))
        await running.answer(invocation)
        paused = await running.until(invocation.id, Status.PAUSED)
        assert "segment 0 of the journal is missing, and later ones are there" in (paused.error or "")

    async def test_the_key_of_a_broken_invocation_is_freed_by_killing_it(self, running: Running, items: Items) -> None:
        for damage in ("rewrite", "remove"):
            invocation = await running.suspended("Book/Mary/buy")
            segment = await items.segment(invocation, 0)
            await (items.remove(segment) if damage == "remove" else items.put(replace(segment, data="9.")))
            waits = await running.send("Book/Mary/add", 1)
            await running.answer(invocation)
            await running.until(invocation.id, Status.PAUSED)
            assert await running.engine.control.kill(invocation.id) == "accepted"
            await running.until(waits, Status.COMPLETED)

    async def test_a_policy_that_kills(self, running: Running, items: Items) -> None:
        invocation = await running.suspended("Ledger/Mary/buy")
        await items.put(replace(await items.segment(invocation, 1), data="1.["))
        await running.answer(invocation)
        killed = await running.until(invocation.id, Status.COMPLETED)
        code, message = value(killed.outcome)
        assert code == 500
        assert message.startswith("gave up after 3 attempts: ")
        assert "segment 1 of the journal is damaged" in message
        assert await running.call("Ledger/Mary/add", 1) == 1

    async def test_a_running_attempt_is_left_alone(self, running: Running, items: Items) -> None:
        """A dispatch that comes twice meets a journal that it cannot read: the attempt that runs can."""
        invocation = await running.suspended("Book/Mary/buy")
        await commit(running.store, Update(invocation.ref, {"status": Status.RUNNING, "due": running.now() + 60_000}))
        await items.put(replace(await items.segment(invocation, 1), data="3."))
        before = await running.meta(invocation.id)
        await running.engine.resume(invocation.id)
        assert await running.meta(invocation.id) == before


class TestPayloads:
    async def test_a_missing_part_of_an_input(self, running: Running, items: Items) -> None:
        id = await running.send("Book/Mary/read", "x" * (2 * PART), delay=1500)
        sent = await running.meta(id)
        [_, part, _] = await running.parts(sent.ref, "input")
        await items.remove(part)
        paused = await running.until(id, Status.PAUSED)
        assert paused.error == f"{id}: its input has 3 parts, and 2 are there"
        await items.put(part)
        await running.engine.control.resume(id)
        assert (await running.until(id, Status.COMPLETED)).outcome == Outcome(pack(2 * PART))

    async def test_a_missing_part_of_a_notification(self, running: Running, items: Items) -> None:
        invocation = await running.suspended("Book/Mary/buy")
        await running.engine.control.pause(invocation.id)
        await running.answer(invocation, "x" * (2 * PART))
        [note], _ = await running.store.read_notifications(invocation.ref)
        [part, *_] = await running.parts(invocation.ref, note.parts)
        await items.remove(part)
        await running.engine.control.resume(invocation.id)
        paused = await running.until(invocation.id, Status.PAUSED)
        assert "parts of the value of its notification 'w2' are missing" in (paused.error or "")


class TestKeys:
    async def test_an_owner_of_which_there_is_no_record(
        self, running: Running, items: Items, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = ObjectKey("Book", "Mary")
        head = (await running.store.heads([key]))[key]
        gone = Ref(random_id(), GENERATION)
        await commit(running.store, WriteHead(replace(head, owner=gone), version=head.version))
        sent = [await running.send("Book/Mary/add", 1) for _ in range(3)]
        waiting = await running.meta(sent[0])
        assert waiting.status is Status.QUEUED
        assert waiting.due is not None
        running.clock.skip(20 * 60)
        await running.engine.sweeper.sweep()
        for id in sent:
            await running.until(id, Status.COMPLETED)
        assert f"Book/Mary is owned by {gone.id}, which has no active record" in caplog.text
        assert await running.call("Book/Mary/add", 1) == 4

    async def test_an_owner_that_is_there_keeps_its_key(self, running: Running) -> None:
        invocation = await running.suspended("Book/Mary/buy")
        waits = await running.send("Book/Mary/add", 1)
        running.clock.skip(20 * 60)
        await running.engine.sweeper.sweep()
        assert (await running.meta(waits)).status is Status.QUEUED
        await running.answer(invocation)
        await running.until(waits, Status.COMPLETED)

    async def test_who_waits_is_no_more(self, running: Running, items: Items) -> None:
        invocation = await running.suspended("Book/Mary/buy")
        gone, waits = await running.send("Book/Mary/add", 1), await running.send("Book/Mary/add", 1)
        await items.remove(await running.meta(gone))
        await running.answer(invocation)
        await running.until(waits, Status.COMPLETED)

    async def test_an_inbox_that_lacks_an_entry(self, running: Running, items: Items) -> None:
        invocation = await running.suspended("Book/Mary/buy")
        await running.send("Book/Mary/add", 1)
        key = ObjectKey("Book", "Mary")
        [entry] = await running.store.inbox(key, 10)
        await items.remove(entry)
        await running.answer(invocation)
        await running.until(invocation.id, Status.COMPLETED)
        for _ in range(2):  # the second look finds that it waits without an entry
            running.clock.skip(3600)
            await running.engine.sweeper.sweep()
        await running.until(entry.ref.id, Status.COMPLETED)
        assert await running.store.inbox(key, 10) == []


async def test_a_caller_goes_on_when_who_it_calls_does(running: Running, items: Items) -> None:
    """A call across processes to a key whose owner is broken: the caller waits, and no attempt of its own fails."""
    invocation = await running.suspended("Book/Mary/buy")
    await items.put(replace(await items.segment(invocation, 1), data="1."))
    caller = await running.send("Shop/order", "Mary")
    await running.until(caller, Status.SUSPENDED)
    await running.answer(invocation)
    await running.until(invocation.id, Status.PAUSED)
    assert (await running.meta(caller)).failures == 0
    await running.engine.control.kill(invocation.id)
    await running.until(caller, Status.COMPLETED)


async def test_the_sweeper_gets_past_what_it_cannot_act_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records stay due: what comes after them is dispatched."""
    monkeypatch.setattr(sweeper, "DUE_SHARDS", 1)
    monkeypatch.setattr("adapter.local.memory.due_shard", lambda id: 0)
    monkeypatch.setattr("adapter.aws.tables.ids.due_shard", lambda id: 0)
    monkeypatch.setattr(sweeper, "BATCH", 2)
    *stuck, late = [meta(due=running.now() - 10_000 + n, target=target("Book/Joe/add"), input=b"1") for n in range(6)]
    for each in (*stuck, late):
        await commit(running.store, Create(each, running.now()))
    act = running.engine.sweeper._act

    async def acting(id: str) -> bool:
        if id in {each.id for each in stuck}:
            raise Unreadable(f"{id} is broken")
        return await act(id)

    monkeypatch.setattr(running.engine.sweeper, "_act", acting)
    assert await running.engine.sweeper.sweep() == 1
    await running.until(late.id, Status.COMPLETED)
