"""The directory of deployed services, and dispatches that go by it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import timedelta
from typing import Any, cast
from urllib.parse import unquote

import pytest

from adapter import Context, ObjectContext, Service, VirtualObject, handler
from adapter.aws.directory import GONE, Directory
from adapter.aws.dispatch import LambdaDispatcher
from adapter.aws.wire import Answer, Api, NoAnswerError, Place, Request
from adapter.engine.ports import Unavailable
from adapter.engine.records import Ref
from adapter.engine.types import Kind, Options, Target
from adapter.registry import Registry
from tests.wire.loopback import loopback, saying
from tests.wire.scripted import KEY, Fake, error, refusal, scripted

A = "arn:aws:lambda:eu-central-1:1:function:a:live"
B = "arn:aws:lambda:eu-central-1:1:function:b:live"


class Near(Service):
    @handler
    async def run(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler(private=True)
    async def own(self, ctx: Context) -> None: ...


class Thing(VirtualObject, idempotency_retention=timedelta(days=30), journal_retention=timedelta(hours=1)):
    @handler
    async def poke(self, ctx: ObjectContext) -> None: ...


class Table:
    """What the directory uses of DynamoDB."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.queries = 0
        self.down = False

    def query(self, **request: Any) -> dict[str, Any]:
        self.queries += 1
        if self.down:
            raise NoAnswerError("down")
        partition = request["ExpressionAttributeValues"][":pk"]
        items = [item for _, item in sorted(self.items.items()) if item["pk"] == partition]
        start = request.get("ExclusiveStartKey")
        items = [item for item in items if start is None or item["sk"]["S"] > start["sk"]["S"]]
        more = {"LastEvaluatedKey": {"sk": items[0]["sk"]}} if len(items) > 1 else {}
        return {"Items": items[:1], **more}

    def put_item(self, **request: Any) -> dict[str, Any]:
        self.items[_key(request["Item"])] = request["Item"]
        return {}

    def _own(self, request: dict[str, Any]) -> tuple[str, str]:
        name = _key(request["Key"])
        if self.items[name]["function"] != request["ExpressionAttributeValues"][":function"]:
            raise error("ConditionalCheckFailedException")
        return name

    def update_item(self, **request: Any) -> dict[str, Any]:
        item, values = self.items[self._own(request)], request["ExpressionAttributeValues"]
        if "if_not_exists" in request["UpdateExpression"]:
            item.setdefault("gone", values[":now"])
        else:
            item["gone"] = values[":long_ago"]
        return {}

    def delete_item(self, **request: Any) -> dict[str, Any]:
        del self.items[self._own(request)]
        return {}


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Lambda:
    """What the dispatcher uses of Lambda."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, str, dict[str, Any]]] = []
        self.fails = False
        self.api, transport = scripted("lambda", Answer(202, {}, b""))
        transport.send = self._send  # type: ignore[method-assign]

    async def _send(self, request: Request) -> Answer:
        if self.fails:
            return refusal("TooManyRequestsException", 429)
        function = unquote(request.target.split("/")[-2])
        self.invoked.append((function, request.headers["x-amz-invocation-type"], json.loads(request.body)))
        return Answer(202, {}, b"")


@pytest.fixture
def table() -> Table:
    return Table()


def open_directory(table: Table, clock: Clock) -> Directory:
    return Directory("objects", cast(Api, Fake(table)), clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(table: Table, clock: Clock) -> Directory:
    return open_directory(table, clock)


async def test_what_is_registered_is_found(directory: Directory, table: Table) -> None:
    await directory.register(Registry(Near, Thing), A, "a:3")
    table.queries = 0
    found = await directory.find("Near")
    assert found is not None
    assert {name: (each.kind, each.private, each.takes, each.gives) for name, each in found.items()} == {
        "run": (Kind.SERVICE, False, "application/octet-stream", "application/octet-stream"),
        "own": (Kind.SERVICE, True, None, None),
    }
    listed = await directory.lookup("Thing")
    assert listed is not None
    assert (listed.function, listed.deployment) == (A, "a:3")
    assert directory.kind(Target("Thing", "poke", "k")) is Kind.EXCLUSIVE
    kept = Options(idempotency_retention=timedelta(days=30), journal_retention=timedelta(hours=1))
    assert directory.options(Target("Thing", "poke", "k")) == kept
    assert table.queries == 2  # two pages, once


async def test_what_services_take_and_give_is_kept_with_them(directory: Directory) -> None:
    await directory.register(Registry(Near, Thing), A, "a:1")
    documents = await directory.documents()
    assert list(documents) == ["Near", "Thing"]
    assert list(documents["Near"]["paths"]) == ["/Near/run", "/Near/run/send"]
    await directory.register(Registry(Thing), B, "b:1")
    await directory.register(Registry(Near), A, "a:2")
    assert list(await directory.documents()) == ["Near", "Thing"]
    await directory.withdraw(A)
    assert list(await directory.documents()) == ["Thing"]
    assert [(each.name, each.deployment) for each in await directory.listed()] == [("Thing", "b:1")]


async def test_it_is_read_again_when_it_is_old_or_lacks_something(
    directory: Directory, table: Table, clock: Clock
) -> None:
    await directory.register(Registry(Near), A, "a:1")
    assert await directory.find("Near")
    table.queries = 0
    clock.now = 0.5
    assert await directory.find("Thing") is None
    assert directory.kind(Target("Near", "new")) is None
    assert table.queries == 0  # as it was read a moment ago
    await directory.register(Registry(Thing), B, "b:1")
    clock.now, table.queries = 2.0, 0
    assert directory.kind(Target("Thing", "poke", "k")) is Kind.EXCLUSIVE
    clock.now = 50.0
    assert await directory.find("Near")
    assert table.queries == 2
    clock.now = 70.0
    assert await directory.find("Near")
    assert table.queries == 4


async def test_made_up_names_do_not_have_it_read_all_the_time(directory: Directory, table: Table, clock: Clock) -> None:
    await directory.register(Registry(Near), A, "a:1")
    assert await directory.find("Near")
    table.queries = 0
    for second in range(1, 61):
        clock.now = second * 1.1
        assert await directory.find(f"Nobody{second}") is None
        assert directory.kind(Target(f"Nothing{second}", "run")) is None
    assert table.queries < 10
    await directory.register(Registry(Thing), B, "b:1")
    clock.now += 15.1
    assert await directory.find("Thing")
    clock.now, table.queries = clock.now + 1.1, 0
    assert await directory.find("Other") is None
    assert table.queries == 2  # something new was deployed a moment ago: one page for each service


async def test_it_is_read_before_the_first_event(directory: Directory, table: Table, clock: Clock) -> None:
    await directory.register(Registry(Near), A, "a:1")
    await directory.prepare()
    table.queries = 0
    assert await directory.find("Near")
    assert table.queries == 0
    table.down = True
    await directory.prepare()  # no reason for the process not to start


async def test_a_service_that_moves_is_never_missing(directory: Directory, table: Table, clock: Clock) -> None:
    await directory.register(Registry(Near, Thing), A, "a:1")
    await directory.register(Registry(Near), A, "a:2")  # deployed without it, the other function is to come
    listed = await directory.lookup("Thing")
    assert listed is not None
    assert listed.function == A
    await directory.register(Registry(Thing), B, "b:1")
    await directory.register(Registry(Near), A, "a:2")
    clock.now = 100.0
    listed = await directory.lookup("Thing")
    assert listed is not None
    assert (listed.function, listed.gone) == (B, None)


async def test_a_service_that_is_gone_is_forgotten_after_a_while(
    directory: Directory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await directory.register(Registry(Near, Thing), A, "a:1")
    await directory.register(Registry(Near), A, "a:2")
    later = time.time() + GONE
    monkeypatch.setattr(time, "time", lambda: later)
    assert await directory.find("Thing") is None
    assert await directory.find("Near") is not None


async def test_a_function_that_is_deleted_takes_its_services_along(directory: Directory, table: Table) -> None:
    await directory.register(Registry(Near), A, "a:1")
    await directory.register(Registry(Thing), B, "b:1")
    await directory.withdraw(A)
    assert sorted(table.items) == [("openapi", "Thing"), ("registry", "Near"), ("registry", "Thing")]
    assert [each.name for each in await directory.listed()] == ["Thing"]
    assert await directory.find("Near") is None
    assert await directory.names() == ["Near", "Thing"], "it may have invocations"
    await directory.register(Registry(Near), A, "a:2")
    assert [each.name for each in await directory.listed()] == ["Near", "Thing"]


async def test_when_a_sweep_last_ended(directory: Directory) -> None:
    assert await directory.last_sweep() is None
    for at in (5, 7):
        await directory.note_sweep(at)
        assert await directory.last_sweep() == at


async def test_a_table_that_does_not_answer(directory: Directory, table: Table) -> None:
    table.down = True
    with pytest.raises(Unavailable):
        await directory.find("Near")
    with pytest.raises(Unavailable):
        directory.kind(Target("Near", "run"))


async def test_what_is_known_serves_on_while_the_table_does_not_answer(
    directory: Directory, table: Table, clock: Clock
) -> None:
    await directory.register(Registry(Near), A, "a:1")
    assert await directory.lookup("Near") is not None
    clock.now, table.down = 3600, True
    listed = await directory.lookup("Near")
    assert listed is not None
    assert listed.function == A
    with pytest.raises(Unavailable):
        await directory.lookup("Thing")
    table.down = False
    await directory.register(Registry(Near), B, "b:1")
    listed = await directory.lookup("Near")
    assert listed is not None
    assert listed.function == B


# --- dispatches ---


async def test_a_dispatch_goes_to_the_deployment_or_to_the_current_one(directory: Directory, table: Table) -> None:
    await directory.register(Registry(Thing), B, "b:2")
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client.api)
    table.queries = 0
    await dispatcher.dispatch(Ref("inv_1", "g"), "Near", "a:1", False)
    assert table.queries == 0
    await dispatcher.dispatch(Ref("inv_2", "g"), "Thing", "", True)
    assert client.invoked == [
        ("a:1", "Event", {"adapter": "dispatch", "id": "inv_1", "service": "Near", "fresh": False}),
        (B, "Event", {"adapter": "dispatch", "id": "inv_2", "service": "Thing", "fresh": True}),
    ]


async def test_dispatches_of_one_moment_share_events_within_their_batches(directory: Directory) -> None:
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client.api)
    sent = [dispatcher.dispatch(Ref(f"inv_{n}", "g"), "Near", "a:1", True, 2) for n in range(5)]
    alone = [dispatcher.dispatch(Ref(f"inv_{n}", "g"), "Near", "a:1", True, 1) for n in (7, 8)]
    await asyncio.gather(*sent, *alone)
    events = [event for _, _, event in client.invoked]
    assert sorted(event["ids"] for event in events if "ids" in event) == [["inv_0", "inv_1"], ["inv_2", "inv_3"]]
    assert sorted(event["id"] for event in events if "id" in event) == ["inv_4", "inv_7", "inv_8"]


async def test_code_that_is_older_than_batches_takes_one_message_at_a_time(directory: Directory, table: Table) -> None:
    await directory.register(Registry(Near, Thing), "arn:a", "a:1")
    handlers = json.loads(table.items["registry", "Near"]["handlers"]["S"])
    for each in handlers.values():
        del each["batch"]
    table.items["registry", "Near"]["handlers"]["S"] = json.dumps(handlers)
    old = open_directory(table, Clock())
    await old.find("Near")
    assert old.options(Target("Near", next(iter(handlers)))).batch == 1


@pytest.mark.parametrize(
    ("code", "exists"),
    [
        (None, True),
        ("ResourceNotFoundException", False),
        ("AccessDeniedException", False),
        ("ValidationException", False),
        ("TooManyRequestsException", None),
    ],
)
async def test_a_deployment_exists_if_it_can_be_invoked(
    directory: Directory, code: str | None, exists: bool | None
) -> None:
    api, transport = scripted("lambda", refusal(code) if code else Answer(204, {}, b""))
    asked = LambdaDispatcher(directory, api).exists("a:1")
    if exists is None:
        with pytest.raises(Unavailable):
            await asked
    else:
        assert await asked is exists
    (request,) = transport.asked
    assert request.target == "/base/2015-03-31/functions/a%3A1/invocations"
    assert request.headers["x-amz-invocation-type"] == "DryRun"
    assert await LambdaDispatcher(directory, api).exists("") is False


@pytest.mark.parametrize(
    ("code", "throttled"),
    [(None, False), ("TooManyRequestsException", True), ("ResourceNotFoundException", False)],
)
async def test_a_function_is_throttled_if_it_cannot_be_invoked_now(
    directory: Directory, code: str | None, throttled: bool
) -> None:
    answers = [refusal(code)] * 3 if code else [Answer(200, {}, b"{}")]
    api, transport = scripted("lambda", *answers)
    now = Clock()
    dispatcher = LambdaDispatcher(directory, api, now)
    assert await dispatcher.is_throttled("Near", "a:1") is throttled
    asked = len(transport.asked)
    assert transport.asked[0].headers["x-amz-invocation-type"] == "RequestResponse"
    assert await dispatcher.is_throttled("Near", "a:1") is throttled
    assert len(transport.asked) == asked, "each function is asked once a minute"
    assert await dispatcher.is_throttled("Nowhere", "") is False


async def test_a_backlog_is_shared_or_left_to_the_next_sweep(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client.api)
    await dispatcher.share("a:1", 3)
    client.fails = True
    await dispatcher.share("a:1", 4)
    assert client.invoked == [("a:1", "Event", {"adapter": "sweep", "shard": 3})]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the backlog of shard 4 is left to the next sweep"
    ]


async def test_dispatches_share_the_connection_that_was_prepared(directory: Directory) -> None:
    """To make another costs more than the request does."""
    async with loopback(saying(b"", status=202)) as server:
        api = Api("lambda", place=Place("us-east-1", f"http://127.0.0.1:{server.port}"), source=KEY)
        dispatcher = LambdaDispatcher(directory, api)
        await dispatcher.prepare()
        for n in range(5):
            await dispatcher.dispatch(Ref(f"inv_{n}", "g"), "Near", "a:1", False)
        assert (len(server.connections), len(server.visits)) == (1, 5)


async def test_a_process_starts_without_a_connection_to_lambda(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api("lambda", place=Place("us-east-1", "http://127.0.0.1:9"), source=KEY)
    await LambdaDispatcher(directory, api).prepare()
    assert "connected later" in caplog.text


async def test_a_dispatch_that_fails_is_left_to_the_sweeper(
    directory: Directory, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client.api)
    with caplog.at_level(logging.WARNING, "adapter"):
        await dispatcher.dispatch(Ref("inv_1", "g"), "Nobody", "", True)
        client.fails = True
        await dispatcher.dispatch(Ref("inv_2", "g"), "Near", "a:1", True)
        table.down = True
        await asyncio.sleep(0)
        await LambdaDispatcher(open_directory(table, Clock()), client.api).dispatch(Ref("inv_3", "g"), "Near", "", True)
    assert client.invoked == []
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no function hosts Nobody",
        "dispatch of 1 lost, the sweeper repeats it",
        "dispatch of 1 lost, the sweeper repeats it",
    ]
