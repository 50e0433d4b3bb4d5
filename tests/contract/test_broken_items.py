"""DynamoDB items that are damaged, or of a newer version: who meets one is told which, and nobody else is affected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from adapter.aws.directory import DOCUMENTS, FORMAT, PARTITION, Directory
from adapter.aws.store import DynamoStore
from adapter.aws.tables import StoredFormatError
from adapter.aws.wire import Api
from adapter.engine import journal
from adapter.engine.ids import promise_id
from adapter.engine.ports import Create
from adapter.engine.records import Notification, Status, Unreadable
from adapter.engine.types import Kind, ObjectKey, Outcome, Target
from adapter.registry import Registry
from tests.contract.breaking import Items, Running
from tests.contract.samples import commit, meta
from tests.unit.test_directory import Near, Thing
from tests.unit.world import pack

pytestmark = pytest.mark.dynamodb

KEY = ObjectKey("Book", "Mary")

DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "of a newer version": ({"v": {"N": "2"}}, "(version 2): this code reads versions up to 1; deploy newer code"),
    "without a version": ({"v": None}, "(version ?): damaged: it has no version"),
}


@pytest.fixture
async def running(dynamodb: DynamoStore) -> AsyncIterator[Running]:
    running = Running(dynamodb)
    yield running
    await running.close()


@pytest.fixture
def items(dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> Items:
    return Items(dynamodb, client, tables)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        *DAMAGE.values(),
        ({"kind": None}, "damaged: no Meta"),
        ({"status": {"S": "dreaming"}}, "damaged: no Meta, by ValueError(\"'dreaming' is not a valid Status\")"),
        ({"failures": {"S": "some"}}, "damaged: no Meta"),
        ({"headers": {"S": "{"}}, "damaged: no Meta"),
        ({"headers": {"S": "[]"}}, "damaged: no Meta"),
        ({"target": {"S": "Book"}}, "damaged: no Meta"),
        ({"parent": {"S": "7"}}, "damaged: no Meta"),
        ({"outcome": {"M": {"code": {"S": "x"}}}}, "damaged: no Meta"),
        ({"awaiting": {"S": "[1]"}}, "damaged: no Meta"),
    ],
)
async def test_a_record(
    running: Running, items: Items, caplog: pytest.LogCaptureFixture, attributes: dict[str, Any], reason: str
) -> None:
    now = running.now()
    broken, other = meta(due=now - 2, target=Target("Book", "add", "Mary"), input=b"1"), meta(due=now - 1, input=b"1")
    other = replace(other, target=Target("Book", "add", "Joe"))
    for each in (broken, other):
        await commit(running.store, Create(each, now))
    await items.change(broken, **attributes)
    for act in (
        lambda: running.engine.storage.find(broken.id),
        lambda: running.engine.resume(broken.id),
        lambda: running.engine.control.kill(broken.id),
        lambda: running.engine.outcome(broken.id, until=now + 60_000),
    ):
        with pytest.raises(StoredFormatError, match=f"item {broken.id}/meta"):
            await act()
    # The sweeper says so as well, and dispatches what else is due.
    await running.engine.sweeper.sweep()
    assert f"not swept: item {broken.id}/meta" in caplog.text
    assert reason in caplog.text
    await running.until(other.id, Status.COMPLETED)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [*DAMAGE.values(), ({"outcome": {"M": {"code": {"N": "1"}}}}, "damaged: no Notification")],
)
async def test_a_notification(running: Running, items: Items, attributes: dict[str, Any], reason: str) -> None:
    invocation = await running.suspended("Book/Mary/buy")
    await running.engine.control.pause(invocation.id)
    await running.answer(invocation)
    [note], _ = await running.store.read_notifications(invocation.ref)
    await items.change(note, **attributes)
    await running.engine.control.resume(invocation.id)
    paused = await running.until(invocation.id, Status.PAUSED)
    assert f"item {invocation.id}/n#{invocation.generation}#w2" in (paused.error or "")
    assert reason in (paused.error or "")
    await items.put(note)
    await running.engine.control.resume(invocation.id)
    await running.until(invocation.id, Status.COMPLETED)


async def test_one_with_such_a_notification_is_killed(running: Running, items: Items) -> None:
    invocation = await running.suspended("Book/Mary/buy")
    await running.engine.control.pause(invocation.id)
    await running.answer(invocation)
    [note], _ = await running.store.read_notifications(invocation.ref)
    await items.change(note, v={"N": "2"})
    assert await running.engine.control.kill(invocation.id) == "accepted"
    await running.until(invocation.id, Status.COMPLETED)


async def test_a_notification_for_nothing_that_is_known(running: Running, items: Items) -> None:
    invocation = await running.suspended("Book/Mary/buy")
    await items.put(Notification(invocation.ref, "q7", Outcome(b"1"), running.now()))
    await running.answer(invocation)
    paused = await running.until(invocation.id, Status.PAUSED)
    assert paused.error == f"{invocation.id}: its notification 'q7' is damaged, or of a newer format"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        *DAMAGE.values(),
        ({"version": None}, "damaged: no Head"),
        ({"owner": {"S": "nobody"}}, "damaged: no Head"),
        ({"state": {"S": "everything"}}, "damaged: no Head"),
        ({"state": {"M": {"total": {"S": "1"}}}}, "damaged: no Head"),
    ],
)
async def test_a_head(running: Running, items: Items, attributes: dict[str, Any], reason: str) -> None:
    former = Running(running.store)  # a process of its own: one need not read what it has just written
    assert await former.call("Book/Mary/add", 1) == 1
    await former.close()
    head = (await running.store.heads([KEY]))[KEY]
    await items.change(replace(head, state_generation="g"), **attributes)
    # A request for the key is refused, and not stored; a message, or a call, that is stored is retried, then paused.
    with pytest.raises(StoredFormatError, match="item Book/Mary/head") as raised:
        await running.call("Book/Mary/add", 1)
    assert reason in str(raised.value)
    with pytest.raises(StoredFormatError, match="item Book/Mary/head"):
        await running.send("Book/Mary/add", 1)
    late = await running.send("Book/Mary/add", 1, delay=1)
    caller = await running.send("Shop/order", "Mary")
    for id in (late, caller):
        paused = await running.until(id, Status.PAUSED)
        assert paused.failures == 3
        assert "item Book/Mary/head" in (paused.error or "")
        assert reason in (paused.error or "")
    assert await running.call("Book/Joe/add", 1) == 1
    await items.put(head)
    for id in (late, caller):
        await running.engine.control.resume(id)
        await running.until(id, Status.COMPLETED)
    assert await running.call("Book/Mary/add", 1) == 4


async def test_a_state_entry(running: Running, items: Items, client: Any, tables: tuple[str, str]) -> None:
    await running.call("Book/Mary/note", "x" * 9000)
    [item] = [i for i in client.scan(TableName=tables[1])["Items"] if i["sk"]["S"].startswith("s#")]
    client.put_item(TableName=tables[1], Item={**item, "v": {"N": "2"}})
    id = await running.send("Book/Mary/noted")
    paused = await running.until(id, Status.PAUSED)
    assert "item Book/Mary/s#" in (paused.error or "")
    client.put_item(TableName=tables[1], Item=item)
    await running.engine.control.resume(id)
    assert (await running.until(id, Status.COMPLETED)).outcome == Outcome(b"9000")


@pytest.mark.parametrize(("attributes", "reason"), [*DAMAGE.values(), ({"ref": {"S": "?"}}, "damaged: no InboxEntry")])
async def test_an_inbox_entry(running: Running, items: Items, attributes: dict[str, Any], reason: str) -> None:
    invocation = await running.suspended("Book/Mary/buy")
    waits = await running.send("Book/Mary/add", 1)
    [entry] = await running.store.inbox(KEY, 1)
    await items.change(entry, **attributes)
    await running.answer(invocation)
    paused = await running.until(invocation.id, Status.PAUSED)
    assert f"item Book/Mary/in#{entry.ticket}" in (paused.error or "")
    assert reason in (paused.error or "")
    await items.put(entry)
    await running.engine.control.resume(invocation.id)
    await running.until(waits, Status.COMPLETED)


async def test_a_promise(running: Running, items: Items) -> None:
    id = await running.send("Flow/Mary/run")
    flow = await running.until(id, Status.SUSPENDED)
    key = ObjectKey("Flow", "Mary")
    generation = (await running.engine.storage.heads([key]))[key].state_generation
    promise = await running.meta(promise_id(key, generation, "p"))
    await items.change(promise, v={"N": "2"})
    with pytest.raises(StoredFormatError, match=f"item {promise.id}/meta"):
        await running.engine.promises.complete(key, "p", Outcome(b"1"))
    reader = await running.send("Flow/Mary/peek")
    paused = await running.until(reader, Status.PAUSED)
    assert f"item {promise.id}/meta" in (paused.error or "")
    assert (await running.meta(flow.id)).status is Status.SUSPENDED
    await items.put(promise)
    await running.engine.promises.complete(key, "p", Outcome(b"1"))
    await running.until(id, Status.COMPLETED)


async def test_lists_leave_out_what_cannot_be_read(
    running: Running, items: Items, caplog: pytest.LogCaptureFixture
) -> None:
    now = running.now()
    for id, attributes in {
        "inv_a": {"status": {"S": "dreaming"}},
        "inv_b": {},
        "inv_c": {"target": {"S": "?"}},
    }.items():
        await items.change(meta(id, due=now), **attributes, due_shard={"S": "0"}, service_shard={"S": "Counter#0"})
    listed, _ = await running.store.active(0, 10)
    assert [each.id for each in listed] == ["inv_b"]
    assert "left out: item inv_a/meta" in caplog.text


class TestRegistry:
    @pytest.fixture
    async def directory(self, api: Api, tables: tuple[str, str]) -> Directory:
        directory = Directory(tables[1], api)
        await directory.register(Registry(Near, Thing), "arn:a", "a:1")
        return directory

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            *DAMAGE.values(),
            ({"function": None}, "damaged: no service"),
            ({"handlers": {"S": "{"}}, "damaged: no service"),
            ({"handlers": {"S": '{"run": {"kind": "new"}}'}}, "damaged: no service"),
        ],
    )
    async def test_a_service(
        self,
        directory: Directory,
        api: Api,
        client: Any,
        tables: tuple[str, str],
        attributes: dict[str, Any],
        reason: str,
    ) -> None:
        key = {"pk": {"S": PARTITION}, "sk": {"S": "Near"}}
        item = {**client.get_item(TableName=tables[1], Key=key)["Item"], **attributes}
        client.put_item(TableName=tables[1], Item={name: value for name, value in item.items() if value is not None})
        for find in (directory.find("Near"), directory.lookup("Near")):
            with pytest.raises(Unreadable, match="item registry/Near") as raised:
                await find
            assert reason in str(raised.value)
        with pytest.raises(Unreadable, match="item registry/Near"):
            directory.kind(Target("Near", "run"))
        assert directory.kind(Target("Thing", "poke", "k")) is Kind.EXCLUSIVE
        assert [each.name for each in await directory.listed()] == ["Thing"]
        await directory.register(Registry(Near, Thing), "arn:a", "a:2")  # a deployment puts it right
        assert [each.name for each in await Directory(tables[1], api).listed()] == ["Near", "Thing"]

    async def test_a_document(
        self, directory: Directory, client: Any, tables: tuple[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        key = {"pk": {"S": DOCUMENTS}, "sk": {"S": "Near"}}
        item = client.get_item(TableName=tables[1], Key=key)["Item"]
        for damage in ({"document": {"B": b"nothing compressed"}}, {"v": {"N": str(FORMAT + 1)}}):
            client.put_item(TableName=tables[1], Item={**item, **damage})
            assert list(await directory.documents()) == ["Thing"]
            assert "item openapi/Near" in caplog.text


async def test_every_item_has_a_version(running: Running, api: Api, client: Any, tables: tuple[str, str]) -> None:
    """Of whatever is stored, and a journal has one of its own."""
    await Directory(tables[1], api).register(Registry(Near, Thing), "arn:a", "a:1")
    await running.suspended("Book/Mary/buy")
    await running.send("Book/Mary/read", "x" * 100_000)
    await running.call("Book/Joe/note", "x" * 9000)
    await running.suspended("Flow/Mary/run")  # its promise has a waiter
    done = await running.suspended("Flow/Joe/run")
    await running.engine.promises.complete(ObjectKey("Flow", "Joe"), "p", Outcome(pack("x" * 300_000)))
    await running.until(done.id, Status.COMPLETED)
    scan = client.get_paginator("scan")  # a page has 1 MB at most
    items = [item for table in tables for page in scan.paginate(TableName=table) for item in page["Items"]]
    kinds = {"registry" if i["pk"]["S"] in (PARTITION, DOCUMENTS) else i["sk"]["S"].split("#")[0] for i in items}
    assert kinds == {"meta", "j", "input", "n", "p", "w", "head", "in", "s", "registry"}
    assert {item["v"]["N"] for item in items} == {"1"}
    for item in items:
        texts = [item[name]["S"] for name in ("inline_journal", "data") if "S" in item.get(name, {})]
        assert all(text.startswith(str(journal.FORMAT)) for text in texts)
