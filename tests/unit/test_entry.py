"""The Lambda entry, over a store in memory: every kind of event, and that nothing is under way when it returns."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast
from urllib.parse import unquote

import httpx
import pytest

from adapter import Client, Context, ObjectContext, RetryPolicy, Service, VirtualObject, handler
from adapter.aws.directory import Directory, Listed
from adapter.aws.entry import LambdaEntry
from adapter.aws.events import MARGIN, UnknownEventError
from adapter.aws.host import Host, connect
from adapter.aws.observability import CountedReports, Observed
from adapter.aws.settings import ConfigurationError
from adapter.aws.wire import Api
from adapter.clock import SystemClock
from adapter.engine.engine import Engine
from adapter.engine.ids import due_shard
from adapter.engine.ports import Unavailable
from adapter.engine.records import Meta, Ref, Status
from adapter.engine.types import Kind, Target
from adapter.http.services import Endpoints
from adapter.local.memory import MemoryStore
from adapter.observed import observe
from adapter.registry import Registry

log = logging.getLogger("adapter.test")


class Shop(Service):
    gate: threading.Event
    steps: threading.Semaphore
    fails = 0

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"Hello {name}"

    @handler
    async def look_up(self, ctx: Context, name: str) -> None:
        log.warning("greeting %s", name)
        await ctx.run("look up", log.warning, "looking %s up", name)

    @handler
    async def echo(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler
    async def quotes(self, ctx: Context, count: int) -> str:
        return '"' * count

    @handler
    async def sleep(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(timedelta(seconds=seconds))
        return "slept"

    @handler
    async def step(self, ctx: Context) -> str:
        return await ctx.run("step", self._step)

    def _step(self) -> str:
        Shop.steps.release()
        Shop.gate.wait(60)
        return "stepped"

    @handler
    async def later(self, ctx: Context) -> None:
        ctx.generic_send(service="Far", method="away", delay=timedelta(milliseconds=1))

    @handler
    async def tell(self, ctx: Context, name: str) -> None:
        ctx.service_send_client(Shop).greet(name)
        ctx.object_send_client(Cart, name).put(1)

    @handler(retry=RetryPolicy(initial=timedelta(milliseconds=1)))
    async def flaky(self, ctx: Context) -> int:
        Shop.fails += 1
        if Shop.fails < 3:
            raise OSError("not yet")
        return Shop.fails


class Cart(VirtualObject):
    @handler
    async def put(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def key(self, ctx: ObjectContext) -> str:
        return ctx.key


class Elsewhere:
    """A directory of nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    async def find(self, service: str) -> Endpoints | None:
        return None

    async def listed(self) -> list[Listed]:
        return []

    async def documents(self) -> dict[str, dict[str, Any]]:
        return {}

    async def note_sweep(self, at: int) -> None:
        self.calls.append(("note sweep",))
        raise Unavailable("the table is gone")

    async def register(self, registry: Registry, function: str, deployment: str) -> None:
        self.calls.append(("register", *registry.services, function, deployment))

    async def withdraw(self, function: str) -> None:
        self.calls.append(("withdraw", function))
        raise Unavailable("the table is gone")


class Recorded:
    """Timers and a dispatcher that only take note."""

    def __init__(self) -> None:
        self.dispatched: list[tuple[str, str, str, bool]] = []
        self.scheduled: list[tuple[str, int]] = []

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        await asyncio.sleep(0.01)  # still under way when the answer is there
        self.dispatched.append((ref.id, service, deployment, fresh))

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        self.scheduled.append((ref.id, at))

    async def unschedule(self, ref: Ref, name: str) -> None: ...


class FakeContext:
    aws_request_id = "request-1"

    def __init__(self, remaining: int = 10_000) -> None:
        self.remaining = remaining

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining


class Function:
    """A deployed function, as far as these tests need one."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.ports = Recorded()
        self.directory = Elsewhere()
        self.entry = LambdaEntry(Registry(Shop, Cart), self._connect)

    def _connect(self, registry: Registry) -> Host:
        self.observed = Observed()
        self.engine = Engine(
            store=self.store,
            timers=self.ports,
            dispatcher=self.ports,
            clock=SystemClock(),
            handlers=[observe(spec) for spec in registry.specs],
            deployment="shop:7",
            kinds=lambda target: Kind.SERVICE if target.service == "Far" else None,
            reports=CountedReports(self.observed),
        )
        return Host(registry, self.engine, cast(Directory, self.directory), self.observed)

    def __call__(self, event: Any, remaining: int = 10_000) -> Any:
        try:
            return self.entry(event, FakeContext(remaining))
        finally:
            assert self.entry._loop is not None
            assert asyncio.all_tasks(self.entry._loop) == set(), "something is under way at return"

    def http(
        self, path: str, body: Any = None, method: str = "POST", remaining: int = 10_000, **more: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        answer = self(http_event(path, body, method, **more), remaining)
        content = answer["body"]
        if answer["isBase64Encoded"]:
            content = base64.b64decode(content)
        elif answer["headers"]["content-type"] == "application/json" and content:
            content = json.loads(content)
        return answer["statusCode"], content, answer["headers"]

    def records(self) -> dict[str, Meta]:
        return {record.id: record for record in self.store.records() if isinstance(record, Meta)}


def http_event(
    path: str, body: Any = None, method: str = "POST", query: str = "", age: int = 0, authorizer: Any = None
) -> dict[str, Any]:
    event = {
        "version": "2.0",
        "routeKey": "ANY /Shop/{proxy+}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", "host": "id.execute-api.eu-central-1.amazonaws.com"},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "1.2.3.4"},
            "timeEpoch": time.time_ns() // 1_000_000 - age,
            **({"authorizer": authorizer} if authorizer else {}),
        },
        "isBase64Encoded": isinstance(body, bytes),
    }
    if body is not None:
        event["body"] = base64.b64encode(body).decode() if isinstance(body, bytes) else json.dumps(body)
    return event


@pytest.fixture
def function() -> Iterator[Function]:
    function = Function()
    Shop.gate, Shop.steps, Shop.fails = threading.Event(), threading.Semaphore(0), 0
    yield function
    Shop.gate.set()
    if function.entry._loop is not None:
        function.entry._loop.close()


# --- HTTP ---


def test_a_request(function: Function) -> None:
    code, body, headers = function.http("/Shop/greet", "Mary")
    assert (code, body) == (200, "Hello Mary")
    assert headers["x-restate-id"] in function.records()


@pytest.mark.parametrize("prefer", ["respond-async", "wait=1"])
def test_a_client_that_prefers_not_to_wait_is_not_kept_by_a_long_step(function: Function, prefer: str) -> None:
    """A process ends what it has begun before it answers, so another one has to run the step."""
    event = http_event("/Shop/step")
    event["headers"]["prefer"] = prefer
    began = time.monotonic()
    answer = function(event)
    assert time.monotonic() - began < 30
    assert (answer["statusCode"], answer["headers"]["preference-applied"]) == (202, prefer)
    id = json.loads(answer["body"])["invocationId"]
    assert [dispatched[:2] for dispatched in function.ports.dispatched] == [(id, "Shop")]
    assert function.records()[id].live


def test_a_client_that_leaves_what_is_suspended_keeps_no_process(function: Function) -> None:
    event = http_event("/Shop/sleep", 3600)
    event["headers"]["prefer"] = "respond-suspended"
    answer = function(event)
    assert (answer["statusCode"], answer["headers"]["preference-applied"]) == (202, "respond-suspended")
    assert 3580 < int(answer["headers"]["retry-after"]) <= 3600  # a request may wait for 28 seconds
    id = json.loads(answer["body"])["invocationId"]
    assert [timer for timer, _ in function.ports.scheduled] == [id]
    assert function.records()[id].status is Status.SUSPENDED
    event = http_event("/Shop/greet", "Mary")
    event["headers"]["prefer"] = "respond-suspended"
    assert (function(event)["statusCode"], function.ports.dispatched) == (200, [])


def test_a_client_that_leaves_waits_for_what_the_process_does(function: Function) -> None:
    event = http_event("/Shop/step")
    event["headers"]["prefer"] = "respond-suspended"
    threading.Timer(1.5, Shop.gate.set).start()
    answer = function(event)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, "stepped")


def test_a_request_is_refused(function: Function) -> None:
    assert function.http("/Shop/greet", 7)[0] == 400
    assert function.http("/Shop/nothing", 7)[:2] == (
        404,
        {
            "message": "service 'Shop' has no handler 'nothing'; "
            "it has echo, flaky, greet, later, look_up, quotes, sleep, step, tell",
            "code": 404,
            "source": "ingress",
        },
    )
    assert function.records() == {}


def test_the_admin_is_for_signed_requests(function: Function) -> None:
    id = function.http("/Shop/greet", "Mary")[2]["x-restate-id"]
    path = f"/admin/invocations/{id}"
    signed = {"iam": {"userArn": "arn:aws:iam::1:user/operator", "accountId": "1"}}
    assert function.http(path, method="GET")[0] == 403
    assert function.http(path, method="GET", authorizer={"jwt": {"claims": {}}})[0] == 403
    assert function.http(path, method="GET", authorizer=signed)[1]["status"] == "completed"
    assert function.http("/admin/services", method="GET", authorizer=signed)[1] == {"services": []}
    assert function.http("/admin", method="GET", authorizer=signed)[0] == 404
    assert function.http("/administration/x", "y", authorizer=signed)[1]["message"].startswith("there is no service")


@pytest.mark.parametrize("key", ["a/b", "a?b", "100%", "100%25", "%2F", "zoë 漢字", "a+b"])
def test_keys(function: Function, key: str) -> None:
    """Those that a path carries, as far as API Gateway leaves them alone."""
    assert function.http(f"/Cart/{key.replace('%', '%25')}/key")[:2] == (200, key)


def as_api_gateway_hands_it_on(path: str) -> str | None:
    """The ``rawPath`` of a path as it was sent, by what was captured on AWS: it is decoded, cut at a question mark that
    came of that, and decoded once more; ``None`` where API Gateway refuses it.
    """
    once = unquote(path).partition("?")[0]
    return None if re.search("%(?![0-9A-Fa-f]{2})", once) else unquote(once)


@pytest.mark.parametrize(
    "key", ["Mary", "a.b", "a/b", "a?b", "x/key?", "100%", "100%25", "%2F", "zoë 漢字", "a+b", ".."]
)
def test_a_client_reaches_every_key_by_api_gateway(function: Function, key: str) -> None:
    class Gateway(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            path, _, query = request.url.raw_path.decode().partition("?")
            raw_path = as_api_gateway_hands_it_on(path)
            if raw_path is None:
                return httpx.Response(400, json={"message": "Bad Request"})
            answer = await asyncio.to_thread(function, http_event(raw_path, query=query))
            return httpx.Response(answer["statusCode"], content=answer["body"], headers=answer["headers"])

    async def ask() -> str:
        async with Client("https://id.execute-api", http=httpx.AsyncClient(transport=Gateway())) as client:
            return await client.object_client(Cart, key).key()

    assert asyncio.run(ask()) == key


def test_bodies_of_bytes_and_large_ones(function: Function) -> None:
    assert function.http("/Shop/echo", b"\x00\xff")[:2] == (200, b"\x00\xff")
    code, body, _ = function.http("/Shop/quotes", 2_000_000)
    assert (code, len(json.loads(body))) == (200, 2_000_000)


def test_a_body_that_is_not_utf_8(function: Function) -> None:
    """API Gateway hands text over as a string, with replacement characters where it was none."""
    event = http_event("/Shop/greet", "M\ufffdry")
    event["body"] = '"M\ufffdry"'
    event["headers"]["content-length"] = "6"
    assert json.loads(function(event)["body"]) == {
        "message": "invalid input: Invalid JSON: the body is not UTF-8",
        "code": 400,
        "source": "ingress",
    }
    event["headers"]["content-length"] = str(len(event["body"].encode()))  # the client did send that character
    assert json.loads(function(event)["body"]) == "Hello M\ufffdry"


def test_what_a_request_sends_is_dispatched_before_the_answer(function: Function) -> None:
    assert function.http("/Shop/tell", "Mary")[0] == 200
    assert sorted((service, deployment, fresh) for _, service, deployment, fresh in function.ports.dispatched) == [
        ("Cart", "", True),
        ("Shop", "", True),
    ]


def test_a_request_that_waits_too_long_is_suspended_and_goes_on_later(function: Function) -> None:
    began = time.monotonic()
    code, body, headers = function.http("/Shop/sleep", 60, age=28_300)
    assert time.monotonic() - began < 30
    id = headers["x-restate-id"]
    assert code == 504
    assert body["message"].endswith(f"attach with GET /restate/invocation/{id}/attach")
    record = function.records()[id]
    assert record.status is Status.SUSPENDED
    assert function.ports.scheduled == [(id, record.due)]
    assert function.http(f"/restate/invocation/{id}/output", method="GET")[0] == 470


def test_a_request_is_answered_before_lambda_ends_the_process(function: Function) -> None:
    began = time.monotonic()
    code, _, headers = function.http("/Shop/sleep", 60, remaining=MARGIN + 1_200)
    assert (code, function.records()[headers["x-restate-id"]].status) == (504, Status.SUSPENDED)
    assert time.monotonic() - began < 30


def test_a_step_under_way_keeps_its_process(function: Function) -> None:
    def end() -> None:
        Shop.steps.acquire(timeout=60)
        time.sleep(0.5)  # longer than the request may wait
        Shop.gate.set()

    threading.Thread(target=end, daemon=True).start()
    code, _, headers = function.http("/Shop/step", age=28_300)
    assert code == 504
    assert function.records()[headers["x-restate-id"]].status is Status.COMPLETED
    assert function.http(f"/restate/invocation/{headers['x-restate-id']}/output", method="GET")[1] == "stepped"


def test_a_retry_is_waited_out(function: Function) -> None:
    assert function.http("/Shop/flaky")[:2] == (200, 3)


# --- dispatches, timers, sweeps ---


def test_a_dispatch(function: Function) -> None:
    _, body, _ = function.http("/Shop/greet/send", "Mary")
    id = body["invocationId"]
    assert function.ports.dispatched == [(id, "Shop", "shop:7", True)]
    function({"adapter": "dispatch", "id": id, "service": "Shop", "fresh": True})
    assert function.records()[id].status is Status.COMPLETED
    function({"adapter": "dispatch", "id": id, "service": "Shop", "fresh": True})  # it may come twice


def test_a_dispatch_of_several(function: Function) -> None:
    ids = [function.http("/Shop/greet/send", name)[1]["invocationId"] for name in ("Mary", "John", "Ann")]
    function({"adapter": "dispatch", "ids": ids, "service": "Shop"})
    function({"adapter": "dispatch", "ids": ids, "service": "Shop"})  # it may come twice
    assert [function.records()[id].status for id in ids] == [Status.COMPLETED] * 3


def test_a_dispatch_that_follows_a_service_that_has_moved(function: Function) -> None:
    function.http("/Shop/greet/send", "Mary")
    [id] = function.records()
    function({"adapter": "dispatch", "id": id, "service": "Moved", "fresh": True})
    assert function.records()[id].status is Status.READY


def test_a_timer(function: Function) -> None:
    _, _, headers = function.http("/Shop/sleep", 0.5, age=28_400)
    id = headers["x-restate-id"]
    function({"adapter": "wake", "id": id, "generation": function.records()[id].generation})
    assert function.records()[id].status is Status.COMPLETED


def test_a_timer_whose_time_had_passed_is_a_dispatch_that_names_no_service(function: Function) -> None:
    function.http("/Shop/greet/send", "Mary", query="delay=1ms")
    [id] = function.records()
    time.sleep(0.01)
    function({"adapter": "dispatch", "id": id, "service": "", "fresh": False})
    assert function.records()[id].status is Status.COMPLETED


def test_a_timer_for_another_function(function: Function) -> None:
    """A delayed message is timed by who sends it, and runs where its service is."""
    function.http("/Shop/later")
    [(id, _)] = function.ports.scheduled
    time.sleep(0.01)
    function({"adapter": "wake", "id": id, "generation": function.records()[id].generation})
    assert function.ports.dispatched == [(id, "Far", "", False)]
    assert function.records()[id].status is Status.SCHEDULED


def test_a_sweep(function: Function) -> None:
    function.http("/Shop/greet/send", "Mary", query="delay=1ms")
    time.sleep(0.01)
    function.ports.dispatched.clear()
    assert function({"adapter": "sweep"}) == {"swept": 1}
    assert len(function.ports.dispatched) == 1


def test_a_sweep_of_a_shard(function: Function) -> None:
    ids = [function.http("/Shop/greet/send", "Mary", query="delay=1ms")[1]["invocationId"] for _ in range(20)]
    time.sleep(0.01)
    here = [id for id in ids if due_shard(id) == 3]
    function.ports.dispatched.clear()
    assert function({"adapter": "sweep", "shard": 3}) == {"swept": len(here)}
    assert sorted(id for id, *_ in function.ports.dispatched) == sorted(here)


def test_a_sweep_that_runs_out_of_time_is_counted(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    function({"adapter": "sweep"})
    out = capsys.readouterr().out
    assert "SweepsUnfinished" not in out
    assert "SweepsCompleted" in out
    function({"adapter": "sweep", "shard": 3})
    assert "SweepsCompleted" not in capsys.readouterr().out
    function({"adapter": "sweep"}, remaining=1_000)
    assert "SweepsUnfinished" in capsys.readouterr().out


@pytest.mark.parametrize("event", [None, [], "x", {}, {"adapter": "dance"}, {"Records": []}, {"version": "1.0"}])
def test_what_it_is_not_for(function: Function, event: Any) -> None:
    with pytest.raises(UnknownEventError, match="neither a request by an HTTP API"):
        function(event)


# --- deployment ---


ALIAS = "arn:aws:lambda:eu-central-1:1:function:shop:live"


def test_a_deployment_is_registered(function: Function) -> None:
    assert function({"adapter": "register", "function": ALIAS}) == {"services": ["Shop", "Cart"]}
    assert function.directory.calls == [("register", "Shop", "Cart", ALIAS, "shop:7")]


def test_a_registration_that_fails_says_so(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("no table")

    monkeypatch.setattr(function.directory, "register", fail)
    monkeypatch.setattr("adapter.aws.registration.PAUSES", (0.0, 0.0))
    with pytest.raises(Unavailable, match="no table"):
        function({"adapter": "register", "function": ALIAS})


def test_a_registration_outlasts_a_request_without_an_answer(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, fails = function.directory.register, [Unavailable("slow"), Unavailable("slow")]

    async def sometimes(*arguments: Any) -> None:
        if fails:
            raise fails.pop()
        await register(*arguments)

    monkeypatch.setattr(function.directory, "register", sometimes)
    monkeypatch.setattr("adapter.aws.registration.PAUSES", (0.0, 0.0))
    function({"adapter": "register", "function": ALIAS})
    assert len(function.directory.calls) == 1


def test_a_function_withdraws_its_services(function: Function) -> None:
    with pytest.raises(Unavailable, match="the table is gone"):
        function({"adapter": "withdraw", "function": ALIAS})


# --- observability ---


def test_metrics(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    function.http("/Shop/flaky")
    function.http("/Shop/sleep", 5, age=28_400)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    assert [{name: line.get(name) for name in METRICS} for line in lines] == [
        dict(zip(METRICS, ([1.0], [1.0], None, [1.0, 1.0]), strict=True)),
        dict(zip(METRICS, (None, None, [1.0], None), strict=True)),
    ]


@pytest.mark.parametrize("by_handler", [True, False])
def test_metrics_of_handlers(by_handler: bool, capsys: pytest.CaptureFixture[str]) -> None:
    observed = Observed("shop", by_handler=by_handler)
    observed.completed(Target("Shop", "order", "key"), 12, failed=False)
    observed.completed(Target("Shop", "order", "other key"), 30, failed=True)
    observed.end()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    if not by_handler:
        assert lines == []
        return
    [line] = lines
    assert {name: value for name, value in line.items() if name != "_aws"} == {
        "service": "shop", "definition": "Shop", "handler": "order", "Duration": [12.0, 30.0], "Failures": [0.0, 1.0],
    }  # fmt: skip


METRICS = ("ColdStarts", "InvocationsCompleted", "InvocationsSuspended", "AttemptsFailed")


def test_logs_say_in_which_attempt(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        function.entry._start()
        function.observed.take_over_logs()
        root.handlers[0].setStream(sys.stdout)  # type: ignore[attr-defined]
        _, _, headers = function.http("/Shop/look_up", "Mary")
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = {"target": "Shop/look_up", "attempt": 1, "replaying": False, "request_id": "request-1"}
    for message in ("greeting Mary", "looking Mary up"):
        (line,) = (line for line in lines if line.get("message") == message)
        assert {name: line[name] for name in expected} == expected
        assert line["invocation_id"] == headers["x-restate-id"]
    (ended,) = (line for line in lines if str(line.get("message")).startswith("completed after "))
    expected = {"level": "INFO", "target": "Shop/look_up", "outcome": "completed", "attempts": 1}
    assert {name: ended[name] for name in expected} == expected
    assert ended["invocation_id"] == headers["x-restate-id"]
    assert ended["duration_ms"] >= 0


# --- configuration ---


def test_an_environment_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_VERSION", raising=False)
    with pytest.raises(ConfigurationError, match="AWS_LAMBDA_FUNCTION_VERSION is not set"):
        connect(Registry(Shop, Cart))


@pytest.mark.parametrize("told", ["", "[]", '{"invocations": "table"}', '{"invocations": 1, "secret": "s3cr3t"}'])
def test_settings_that_lack_something(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    monkeypatch.setenv("ADAPTER_STACK", told)
    with pytest.raises(ConfigurationError, match="ADAPTER_STACK is not a JSON object with name, inv") as info:
        connect(Registry(Shop, Cart))
    assert "s3cr3t" not in str(info.value)


SETTINGS = {
    "name": "app",
    "invocations": "invocations",
    "objects": "objects",
    "schedules": "app-timers",
    "schedule_role": "arn:aws:iam::1:role/schedules",
    "dead_letters": "arn:aws:sqs:eu-central-1:1:dead",
    "delays": "https://sqs.eu-central-1.amazonaws.com/1/delays",
    "longest_delay": 60,
}


def test_a_process_connects_before_its_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is CPU to spare."""
    for name, value in {
        "AWS_LAMBDA_FUNCTION_NAME": "app_shop",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "ADAPTER_STACK": json.dumps(SETTINGS),
    }.items():
        monkeypatch.setenv(name, value)
    opened: list[str] = []

    async def opening(self: Api) -> None:
        opened.append(self.service)

    monkeypatch.setattr(Api, "open", opening)
    read: list[str] = []

    async def query(self: Directory, api: Api, partition: str) -> list[Any]:
        read.append(partition)
        return []

    monkeypatch.setattr(Directory, "_query", query)
    monkeypatch.setattr(Observed, "take_over_logs", lambda self: None)
    host = connect(Registry(Shop, Cart))
    asyncio.run(host.prepare())
    assert opened == ["lambda"]
    assert read == ["registry"]
    assert host.engine.deployment.id == "app_shop:7"
