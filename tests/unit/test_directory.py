"""The directory of deployed services, and dispatches that go by it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from adapter import Context, ObjectContext, Service, VirtualObject, handler
from adapter.aws.clients import make_client
from adapter.aws.directory import GONE, Directory
from adapter.aws.dispatch import LambdaDispatcher
from adapter.engine.ports import Unavailable
from adapter.engine.records import Ref
from adapter.engine.types import Kind, Options, Target
from adapter.registry import Registry

A = "arn:aws:lambda:eu-central-1:1:function:a:live"
B = "arn:aws:lambda:eu-central-1:1:function:b:live"

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-central-1"}


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
    """What the directory uses of a DynamoDB client."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.queries = 0
        self.down = False

    def query(self, **request: Any) -> dict[str, Any]:
        self.queries += 1
        if self.down:
            raise EndpointConnectionError(endpoint_url="http://localhost")
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
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "x")
        return name

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.items[self._own(request)].setdefault("gone", request["ExpressionAttributeValues"][":now"])
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
    """What the dispatcher uses of a Lambda client."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, str, dict[str, Any]]] = []
        self.fails = False

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        if self.fails:
            raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")
        self.invoked.append((FunctionName, InvocationType, json.loads(Payload)))
        return {"Payload": io.BytesIO()}


class _Accepts(BaseHTTPRequestHandler):
    """Lambda's API, as far as it accepts events. Each connection is one of these."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        super().setup()
        _Accepts.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(table: Table, clock: Clock) -> Directory:
    return Directory("objects", table, clock)


async def test_what_is_registered_is_found(directory: Directory, table: Table) -> None:
    directory.register(Registry(Near, Thing), A, "a:3")
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
    directory.register(Registry(Near, Thing), A, "a:1")
    documents = await directory.documents()
    assert list(documents) == ["Near", "Thing"]
    assert list(documents["Near"]["paths"]) == ["/Near/run", "/Near/run/send"]
    directory.register(Registry(Thing), B, "b:1")
    directory.register(Registry(Near), A, "a:2")
    assert list(await directory.documents()) == ["Near", "Thing"]
    directory.withdraw(A)
    assert list(await directory.documents()) == ["Thing"]
    assert [(each.name, each.deployment) for each in await directory.listed()] == [("Thing", "b:1")]


async def test_it_is_read_again_when_it_is_old_or_lacks_something(
    directory: Directory, table: Table, clock: Clock
) -> None:
    directory.register(Registry(Near), A, "a:1")
    assert await directory.find("Near")
    table.queries = 0
    clock.now = 0.5
    assert await directory.find("Thing") is None
    assert directory.kind(Target("Near", "new")) is None
    assert table.queries == 0  # as it was read a moment ago
    directory.register(Registry(Thing), B, "b:1")
    clock.now, table.queries = 2.0, 0
    assert directory.kind(Target("Thing", "poke", "k")) is Kind.EXCLUSIVE
    clock.now = 50.0
    assert await directory.find("Near")
    assert table.queries == 2
    clock.now = 70.0
    assert await directory.find("Near")
    assert table.queries == 4


async def test_made_up_names_do_not_have_it_read_all_the_time(directory: Directory, table: Table, clock: Clock) -> None:
    directory.register(Registry(Near), A, "a:1")
    assert await directory.find("Near")
    table.queries = 0
    for second in range(1, 61):
        clock.now = second * 1.1
        assert await directory.find(f"Nobody{second}") is None
        assert directory.kind(Target(f"Nothing{second}", "run")) is None
    assert table.queries < 10
    directory.register(Registry(Thing), B, "b:1")
    clock.now += 15.1
    assert await directory.find("Thing")
    clock.now, table.queries = clock.now + 1.1, 0
    assert await directory.find("Other") is None
    assert table.queries == 2  # something new was deployed a moment ago: one page for each service


async def test_it_is_read_before_the_first_event(directory: Directory, table: Table, clock: Clock) -> None:
    directory.register(Registry(Near), A, "a:1")
    directory.prepare()
    table.queries = 0
    assert await directory.find("Near")
    assert table.queries == 0
    table.down = True
    directory.prepare()  # no reason for the process not to start


async def test_a_service_that_moves_is_never_missing(directory: Directory, table: Table, clock: Clock) -> None:
    directory.register(Registry(Near, Thing), A, "a:1")
    directory.register(Registry(Near), A, "a:2")  # deployed without it, the other function is to come
    listed = await directory.lookup("Thing")
    assert listed is not None
    assert listed.function == A
    directory.register(Registry(Thing), B, "b:1")
    directory.register(Registry(Near), A, "a:2")
    clock.now = 100.0
    listed = await directory.lookup("Thing")
    assert listed is not None
    assert (listed.function, listed.gone) == (B, None)


async def test_a_service_that_is_gone_is_forgotten_after_a_while(
    directory: Directory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.register(Registry(Near, Thing), A, "a:1")
    directory.register(Registry(Near), A, "a:2")
    later = time.time() + GONE
    monkeypatch.setattr(time, "time", lambda: later)
    assert await directory.find("Thing") is None
    assert await directory.find("Near") is not None


async def test_a_function_that_is_deleted_takes_its_services_along(directory: Directory, table: Table) -> None:
    directory.register(Registry(Near), A, "a:1")
    directory.register(Registry(Thing), B, "b:1")
    directory.withdraw(A)
    assert sorted(table.items) == [("openapi", "Thing"), ("registry", "Thing")]


async def test_a_table_that_does_not_answer(directory: Directory, table: Table) -> None:
    table.down = True
    with pytest.raises(Unavailable):
        await directory.find("Near")
    with pytest.raises(Unavailable):
        directory.kind(Target("Near", "run"))


async def test_what_is_known_serves_on_while_the_table_does_not_answer(
    directory: Directory, table: Table, clock: Clock
) -> None:
    directory.register(Registry(Near), A, "a:1")
    assert await directory.lookup("Near") is not None
    clock.now, table.down = 3600, True
    listed = await directory.lookup("Near")
    assert listed is not None
    assert listed.function == A
    with pytest.raises(Unavailable):
        await directory.lookup("Thing")
    table.down = False
    directory.register(Registry(Near), B, "b:1")
    listed = await directory.lookup("Near")
    assert listed is not None
    assert listed.function == B


# --- dispatches ---


async def test_a_dispatch_goes_to_the_deployment_or_to_the_current_one(directory: Directory, table: Table) -> None:
    directory.register(Registry(Thing), B, "b:2")
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client)
    table.queries = 0
    await dispatcher.dispatch(Ref("inv_1", "g"), "Near", "a:1", False)
    assert table.queries == 0
    await dispatcher.dispatch(Ref("inv_2", "g"), "Thing", "", True)
    assert client.invoked == [
        ("a:1", "Event", {"adapter": "dispatch", "id": "inv_1", "service": "Near", "fresh": False}),
        (B, "Event", {"adapter": "dispatch", "id": "inv_2", "service": "Thing", "fresh": True}),
    ]


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
    client = make_client("lambda", connections=1, attempts=1, **CREDENTIALS)
    with Stubber(client) as stubber:
        request = {"FunctionName": "a:1", "InvocationType": "DryRun"}
        if code is None:
            stubber.add_response("invoke", {"StatusCode": 204, "Payload": StreamingBody(io.BytesIO(), 0)}, request)
        else:
            stubber.add_client_error("invoke", code, expected_params=request)
        asked = LambdaDispatcher(directory, client).exists("a:1")
        if exists is None:
            with pytest.raises(Unavailable):
                await asked
        else:
            assert await asked is exists
    assert await LambdaDispatcher(directory, client).exists("") is False


async def test_a_backlog_is_shared_or_left_to_the_next_sweep(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client)
    await dispatcher.share("a:1", 3)
    client.fails = True
    await dispatcher.share("a:1", 4)
    assert client.invoked == [("a:1", "Event", {"adapter": "sweep", "shard": 3})]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the backlog of shard 4 is left to the next sweep"
    ]


async def test_dispatches_share_a_connection(directory: Directory) -> None:
    """To make another costs more than the request does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Accepts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    client = make_client("lambda", connections=1, attempts=1, endpoint_url=url, **CREDENTIALS)
    try:
        for n in range(5):
            await LambdaDispatcher(directory, client).dispatch(Ref(f"inv_{n}", "g"), "Near", "a:1", False)
    finally:
        client.close()
        server.shutdown()
        server.server_close()
    assert _Accepts.connections == 1


async def test_a_dispatch_that_fails_is_left_to_the_sweeper(
    directory: Directory, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    client = Lambda()
    dispatcher = LambdaDispatcher(directory, client)
    with caplog.at_level(logging.WARNING, "adapter"):
        await dispatcher.dispatch(Ref("inv_1", "g"), "Nobody", "", True)
        client.fails = True
        await dispatcher.dispatch(Ref("inv_2", "g"), "Near", "a:1", True)
        table.down = True
        await asyncio.sleep(0)
        await LambdaDispatcher(Directory("objects", table), client).dispatch(Ref("inv_3", "g"), "Near", "", True)
    assert client.invoked == []
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no function hosts Nobody",
        "dispatch lost, the sweeper repeats it",
        "dispatch lost, the sweeper repeats it",
    ]
