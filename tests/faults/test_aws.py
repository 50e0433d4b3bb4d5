"""Faults as a function meets them: through the clients that the adapter uses."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from adapter.aws.store import DynamoStore
from adapter.aws.wire import Api, AwsError, Credentials, Fixed, Place
from adapter.engine.ports import Create, Delete, Dependent, Put, Unavailable
from adapter.engine.records import JournalSegment, Meta, Part, Ref, Status, Waiter
from adapter.engine.types import Kind, ObjectKey, Target
from tests.faults.aws import (
    Answer,
    Blow,
    Fault,
    FaultyAWS,
    Request,
    belated,
    cut,
    doubled,
    dropped,
    in_conflict,
    killed_after,
    killed_before,
    slow,
    throttled,
    unanswered,
    unheard,
)


@dataclass
class Stub:
    """An emulator that takes everything, and whose only worker is this process."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    """The paths of what was done."""
    killed: list[int] = field(default_factory=list)
    done: Event = field(default_factory=Event)

    async def until_done(self) -> None:
        """Wait until something was done."""
        assert await asyncio.to_thread(self.done.wait, 60), "no request came"

    def workers(self) -> set[int]:
        return {os.getpid()}

    def kill_worker(self, pid: int) -> None:
        self.killed.append(pid)


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            stub.requests.append(self.path)
            stub.done.set()
            schedules = self.path.startswith("/schedules/")
            body = json.dumps({"ScheduleArn": f"arn:{self.path}"} if schedules else {}).encode()
            self.send_response_only(202 if self.path.endswith("/invocations") else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.port = server.server_port
    Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    yield stub
    server.shutdown()
    server.server_close()


@pytest.fixture
def seen() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def aws(stub: Stub, seen: list[tuple[str, int]]) -> Iterator[FaultyAWS]:
    def watch(request: Request, answer: Answer) -> None:
        seen.append((request.operation, answer.status))

    with FaultyAWS(stub, watch) as aws:
        yield aws


@contextmanager
def opened(aws: FaultyAWS, patience: float) -> Iterator[DynamoStore]:
    """A store on the proxy, whose client waits so many seconds for an answer."""
    place = Place("us-east-1", aws.url)
    api = Api("dynamodb", patience=patience, place=place, source=Fixed(Credentials("test", "test")))
    yield DynamoStore("invocations", "objects", api=api)
    api.close()


@pytest.fixture
async def store(aws: FaultyAWS) -> AsyncIterator[DynamoStore]:
    with opened(aws, patience=60) as store:
        yield store


@pytest.fixture
async def hasty(aws: FaultyAWS) -> AsyncIterator[DynamoStore]:
    """A store whose client soon gives up."""
    with opened(aws, patience=1) as store:
        yield store


def once(fault: Fault) -> Callable[[Request], Fault | None]:
    """The plan in which this happens to the first request."""
    faults = [fault]
    return lambda request: faults.pop() if faults else None


SEGMENT = Put(JournalSegment("inv_a", "g", 1, "1.[]"))
META = Create(Meta("inv_a", "g", Target("S", "h"), Kind.SERVICE, Status.READY, 1), 1)


@pytest.mark.parametrize("changes", [[SEGMENT], [META, SEGMENT]], ids=["single", "transaction"])
@pytest.mark.parametrize("fault", [throttled, in_conflict])
async def test_refused_writes_are_not_done_and_known_to_pass(
    store: DynamoStore, aws: FaultyAWS, stub: Stub, fault: Fault, changes: list[Any]
) -> None:
    aws.plan = once(fault)
    with pytest.raises(Unavailable):
        await store.commit(changes, "nonce")
    assert stub.requests == []
    await store.commit(changes, "nonce")
    assert len(stub.requests) == 1


async def test_a_throttled_transaction_says_so_of_one_item(store: DynamoStore, aws: FaultyAWS) -> None:
    aws.plan = once(throttled)
    with pytest.raises(Unavailable, match=r"TransactionCanceled.*\[ThrottlingError, None\]"):
        await store.commit([META, SEGMENT], "nonce")


async def test_throttled_reads(store: DynamoStore, aws: FaultyAWS) -> None:
    aws.plan = once(throttled)
    with pytest.raises(Unavailable, match="ProvisionedThroughputExceededException"):
        await store.peek("inv_a")
    aws.plan = once(throttled)
    assert await store.heads([ObjectKey("S", "a"), ObjectKey("S", "b")]) == {}
    aws.plan = once(throttled)
    keys = [Dependent("inv_a", "g", "j#g#00000001")]
    assert await store.delete(keys) == keys
    parts = [Part("inv_a", "g", "output", index, b"\xff") for index in range(2)]
    aws.plan = once(throttled)
    assert await store.put(parts) == parts


@pytest.mark.parametrize("service", ["lambda", "scheduler", "sqs"])
async def test_throttled_services(aws: FaultyAWS, stub: Stub, service: str) -> None:
    aws.plan = lambda request: throttled
    with pytest.raises(AwsError, match=r"TooManyRequestsException|ThrottlingException"):
        await ask(service, aws, attempts=1)
    assert stub.requests == []


@pytest.mark.parametrize("fault", [unheard, cut])
async def test_a_write_whose_answer_breaks_off_is_done(
    store: DynamoStore, aws: FaultyAWS, stub: Stub, fault: Fault
) -> None:
    aws.plan = once(fault)
    with pytest.raises(Unavailable):
        await store.commit([SEGMENT], "nonce")
    assert len(stub.requests) == 1
    await store.commit([SEGMENT], "nonce")


async def test_half_an_answer_to_a_read_is_none(store: DynamoStore, aws: FaultyAWS) -> None:
    aws.plan = once(cut)
    with pytest.raises(Unavailable, match="closed the connection"):
        await store.peek("inv_a")
    assert await store.peek("inv_a") is None


@pytest.mark.parametrize("fault", [unanswered, belated, slow(3)])
async def test_a_write_that_is_not_answered_in_time_is_done(
    hasty: DynamoStore, aws: FaultyAWS, stub: Stub, fault: Fault
) -> None:
    """A belated one is done after the client has given up."""
    aws.plan = once(fault)
    with pytest.raises(Unavailable, match=r"did not answer within 1 s"):
        await hasty.commit([SEGMENT], "nonce")
    await stub.until_done()
    assert len(stub.requests) == 1


async def test_a_slow_answer_is_waited_for(store: DynamoStore, aws: FaultyAWS, stub: Stub) -> None:
    aws.plan = once(slow(0.1))
    await store.commit([SEGMENT], "nonce")
    assert len(stub.requests) == 1


@pytest.mark.parametrize("service", ["lambda", "scheduler", "sqs"])
@pytest.mark.parametrize(("fault", "times"), [(dropped, 0), (doubled, 2)])
async def test_dropped_and_doubled_look_fine(
    aws: FaultyAWS, stub: Stub, service: str, fault: Fault, times: int
) -> None:
    aws.plan = once(fault)
    answer = await ask(service, aws)
    assert answer.status == (202 if service == "lambda" else 200)
    if service == "scheduler":
        assert json.loads(answer.body)["ScheduleArn"].endswith("/name")
    assert len(stub.requests) == times
    if service == "scheduler":
        assert len(set(stub.requests)) == times  # the second schedule has a name of its own
    await ask(service, aws)
    assert len(stub.requests) == times + 1


@pytest.mark.parametrize(("fault", "done"), [(killed_before, 0), (killed_after, 1)])
def test_a_process_is_killed_around_its_nth_request(aws: FaultyAWS, stub: Stub, fault: Fault, done: int) -> None:
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    aws.plan = blow = Blow(2, fault, function)
    assert post(aws) == 200
    assert not blow.struck.is_set()
    with pytest.raises(http.client.RemoteDisconnected):
        post(aws)
    assert blow.struck.is_set()
    assert stub.killed == [os.getpid()]
    assert len(stub.requests) == 1 + done
    assert post(aws) == 200
    assert aws.requests[function] == 3


def test_other_functions_are_spared(aws: FaultyAWS, stub: Stub) -> None:
    aws.plan = Blow(1, killed_before, "another")
    assert post(aws) == 200
    assert stub.killed == []


async def test_what_is_done_is_watched(store: DynamoStore, aws: FaultyAWS, seen: list[tuple[str, int]]) -> None:
    await store.commit([SEGMENT], "nonce")
    aws.plan = once(throttled)
    with pytest.raises(Unavailable):
        await store.commit([SEGMENT], "nonce")
    aws.plan = once(unheard)
    with pytest.raises(Unavailable):
        await store.commit([Delete(Waiter("inv_a", "g", Ref("inv_b", "g"), 1)), SEGMENT], "nonce")
    await ask("lambda", aws)
    await ask("scheduler", aws)
    assert seen == [("PutItem", 200), ("TransactWriteItems", 200), ("Invoke", 202), ("CreateSchedule", 200)]


def post(aws: FaultyAWS, seconds: float = 60) -> int:
    """A request without a client that would repeat it."""
    connection = http.client.HTTPConnection(aws.url.removeprefix("http://"), timeout=seconds)
    try:
        connection.request("POST", "/", b"{}", {"x-amz-target": "DynamoDB_20120810.PutItem"})
        return connection.getresponse().status
    finally:
        connection.close()


async def ask(service: str, aws: FaultyAWS, attempts: int = 3) -> Answer:
    place, source = Place("us-east-1", aws.url), Fixed(Credentials("test", "test"))
    api = Api(service, attempts=attempts, patience=60, place=place, source=source)
    try:
        if service == "lambda":
            path, headers = "/2015-03-31/functions/f%3A1/invocations", {"x-amz-invocation-type": "Event"}
            return await api.send("Invoke", "POST", path, headers=headers, body=b'{"id": "inv_a"}')
        if service == "sqs":
            message = {"QueueUrl": f"{aws.url}/000000000000/q", "MessageBody": "{}", "DelaySeconds": 5}
            await api.call("SendMessage", message)
            return Answer(200)
        body = json.dumps({"GroupName": "g", "ScheduleExpression": "at(2030-01-01T00:00:00)"}).encode()
        answer = await api.send("CreateSchedule", "POST", "/schedules/name", body=body)
        return Answer(answer.status, (), answer.body)
    finally:
        api.close()
