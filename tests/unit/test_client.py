from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import tenacity

from adapter import (
    Client,
    Context,
    ObjectContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Target

URL = "https://example.com/base/path/"


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        return amount


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return name

    @handler
    async def raw(self, ctx: Context, data: bytes) -> None: ...


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> bool:
        return True


Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        response = answer if isinstance(answer, httpx.Response) else answer(request)
        if response.is_success:
            response.headers.setdefault("x-restate-id", "inv_x")
        return response

    def client(self, **options: Any) -> Client:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return Client(URL, http=http, **options)

    @property
    def paths(self) -> list[str]:
        return [request.url.raw_path.decode() for request in self.requests]


ACCEPTED = httpx.Response(202, json={"invocationId": "inv_x", "status": "Accepted"})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.client.retrying.BACKOFF", tenacity.wait_fixed(0.001))


def refused(status: int, message: str, source: str = "ingress", **headers: str) -> httpx.Response:
    """An error as the adapter sends it."""
    body = {"message": message, "code": status, "source": source}
    return httpx.Response(status, json=body, headers={"x-restate-error-source": source, **headers})


async def test_a_call() -> None:
    server = Server(httpx.Response(200, content=b"3"))
    async with server.client() as client:
        call = client.object_client(Counter, "Mary").add(1, idempotency_key="x", headers={"Trace": "1"})
        assert call.id == idempotent_id(Target("Counter", "add", "Mary"), "x")
        assert await call == 3
        assert await call == 3
    [request] = server.requests
    assert (request.method, server.paths, request.content) == ("POST", ["/base/path/Counter/Mary/add"], b"1")
    assert {"idempotency-key": "x", "trace": "1", "content-type": "application/json"}.items() <= request.headers.items()


async def test_calls_without_a_key_get_one_each() -> None:
    server = Server(httpx.Response(200, content=b'"x"'))
    async with server.client() as client:
        calls = [client.service_client(Greeter).greet("x") for _ in range(2)]
        ids = [call.id for call in calls]
        assert await asyncio.gather(*calls) == ["x", "x"]
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(set(keys)) == 2
    assert ids == [idempotent_id(Target("Greeter", "greet"), key) for key in keys]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("Mary", "Mary/add"),
        ("a.b-c_7~", "a.b-c_7~/add"),
        ("a/b?c#d", "add?key=a%2Fb%3Fc%23d"),
        ("é ü", "add?key=%C3%A9%20%C3%BC"),
        ("..", "add?key=.."),
        ("a&b=c+d", "add?key=a%26b%3Dc%2Bd"),
        ("100%", "add?key=100%25"),
        ("\n", "add?key=%0A"),
    ],
)
async def test_keys_that_a_path_would_not_carry_unharmed_are_in_the_query(key: str, path: str) -> None:
    server = Server(httpx.Response(200, content=b"1"))
    async with server.client() as client:
        await client.object_client(Counter, key).add(1)
    assert server.paths == [f"/base/path/Counter/{path}"]


async def test_bytes_go_as_they_are() -> None:
    server = Server(httpx.Response(200))
    async with server.client() as client:
        await client.service_client(Greeter).raw(b"\xff")
    assert server.requests[0].content == b"\xff"
    assert server.requests[0].headers["content-type"] == "application/octet-stream"


async def test_a_workflow_run_is_identified_by_its_id() -> None:
    server = Server(httpx.Response(200, content=b"true"))
    async with server.client() as client:
        run = client.workflow_client(SignUp, "Mary").run("mary@example.com")
        assert run.id == workflow_id("SignUp", "Mary")
        assert await run is True
    assert server.paths == ["/base/path/SignUp/Mary/run"]
    assert "idempotency-key" not in server.requests[0].headers


async def test_a_workflow_that_an_earlier_try_started_is_attached_to() -> None:
    server = Server(httpx.ReadTimeout("lost"), refused(409, "ran already"), httpx.Response(200, content=b"true"))
    async with server.client() as client:
        assert await client.workflow_client(SignUp, "Mary").run("mary@example.com") is True
    assert server.paths[2] == f"/base/path/restate/invocation/{workflow_id('SignUp', 'Mary')}/attach"
    assert server.requests[2].method == "GET"


async def test_a_workflow_that_ran_already_is_refused() -> None:
    server = Server(refused(409, "ran already"))
    async with server.client() as client:
        with pytest.raises(TerminalError, match="ran already") as caught:
            await client.workflow_client(SignUp, "Mary").run("mary@example.com")
    assert caught.value.code == 409


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(429, json={"message": "Too Many Requests"}),
        httpx.Response(500, json={"message": "Internal Server Error"}),  # API Gateway's, of a function that crashed
        httpx.Response(502, text="Bad Gateway"),
        httpx.Response(503, json={"message": "Service Unavailable"}),
        refused(504, "still running"),
        refused(503, "the store is unavailable"),
        refused(429, "overloaded"),
        httpx.Response(504, json={"message": "still running", "code": 504}),  # without a source: an older one's
    ],
)
async def test_what_may_have_been_lost_is_repeated_under_the_same_key(lost: Answer) -> None:
    server = Server(lost, lost, httpx.Response(200, content=b"3"))
    async with server.client() as client:
        assert await client.object_client(Counter, "Mary").add(1) == 3
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 404, 409, 418, 429, 470, 500, 503, 504])
async def test_a_terminal_error_of_the_handler_is_not_repeated(code: int) -> None:
    server = Server(httpx.ReadTimeout("lost"), refused(code, "declined", "invocation"))
    async with server.client() as client:
        for call in (
            client.object_client(Counter, "Mary").add(1),
            client.workflow_client(SignUp, "Mary").run("mary@example.com"),
            client.generic_call(service="SignUp", method="run", key="Mary"),
            client.output("inv_x"),
            client.attach("inv_x"),
        ):
            with pytest.raises(TerminalError, match="declined") as caught:
                await call
            assert (type(caught.value), caught.value.code) == (TerminalError, code)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "answer",
    [
        refused(400, "invalid input: x"),
        refused(404, "no such handler"),
        refused(413, "too large"),
        refused(500, "internal error"),
        httpx.Response(400, json={"message": "an older one's", "code": 400}),
    ],
)
async def test_what_the_adapter_refuses_is_not_repeated(answer: httpx.Response) -> None:
    server = Server(answer)
    async with server.client() as client:
        with pytest.raises(TerminalError) as caught:
            await client.object_client(Counter, "Mary").add(1)
    assert (caught.value.code, caught.value.message) == (answer.status_code, answer.json()["message"])
    assert len(server.requests) == 1


async def test_repeating_ends(caplog: pytest.LogCaptureFixture, later: Callable[[float], None]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        later(900)
        raise httpx.ConnectError("refused")

    server = Server(refuse)
    async with server.client(timeout=3600) as client:
        call = client.object_client(Counter, "Mary").add(1)
        with pytest.raises(TimeoutError, match=f"no answer in 3600 s, last ConnectError refused; {call.id}"):
            await call
    assert len(server.requests) == 4
    (warning,) = caplog.messages
    assert re.search(rf"ConnectError refused; {call.id} is repeated for up to 3[56]\d\d s$", warning)


async def test_the_server_says_when_to_try_again() -> None:
    server = Server(refused(503, "the store is unavailable", **{"retry-after": "60"}))
    async with server.client(timeout=30) as client:
        with pytest.raises(TimeoutError, match="no answer in 30 s, last 503 the store is unavailable"):
            await client.object_client(Counter, "Mary").add(1)  # a try after a minute would be too late
    assert len(server.requests) == 1


async def test_sends() -> None:
    server = Server(ACCEPTED)
    async with server.client() as client:
        client.object_send_client(Counter, "Mary").add(1)
        client.service_send_client(Greeter).greet("x", delay=timedelta(seconds=1.5))
        client.workflow_send_client(SignUp, "Mary").run("x")
        client.generic_send(service="Greeter", method="greet", parameter="x", delay=timedelta(hours=1))
        await client.flush()
        assert sorted(server.paths) == [
            "/base/path/Counter/Mary/add/send",
            "/base/path/Greeter/greet/send?delay=1500ms",
            "/base/path/Greeter/greet/send?delay=3600000ms",
            "/base/path/SignUp/Mary/run/send",
        ]


async def test_leaving_the_block_waits_until_all_is_stored() -> None:
    server = Server(ACCEPTED)
    async with server.client() as client:
        client.object_send_client(Counter, "Mary").add(1)
        assert server.requests == []
    assert len(server.requests) == 1


async def test_a_send_that_is_refused_is_told_of_by_flush() -> None:
    server = Server(refused(404, "unknown service"))
    client = server.client()
    client.object_send_client(Counter, "Mary").add(1)
    await asyncio.sleep(0.01)
    with pytest.raises(TerminalError, match="unknown service"):
        await client.flush()
    await client.flush()
    with pytest.raises(TerminalError, match="unknown service"):
        async with client:
            client.object_send_client(Counter, "Mary").add(1)


async def test_a_send_is_awaited_by_attaching() -> None:
    server = Server(
        httpx.Response(202, json={"invocationId": "inv_x", "status": "Accepted"}, headers={"x-restate-id": "inv_x"}),
        refused(504, "still running"),
        httpx.Response(200, content=b"3"),
    )
    async with server.client() as client:
        sent = client.object_send_client(Counter, "Mary").add(1)
        first, second = await asyncio.gather(sent, sent)
        assert (first, second) == (3, 3)
        assert sent.id == "inv_x"
    assert server.paths[1:] == ["/base/path/restate/invocation/inv_x/attach"] * 2


async def test_a_generic_call_may_be_to_a_workflows_run() -> None:
    """The ingress takes no idempotency key for it. Only the ingress knows what it is."""
    id = workflow_id("SignUp", "Mary")

    def ingress(request: httpx.Request) -> httpx.Response:
        if "idempotency-key" in request.headers:
            return refused(400, "SignUp.run takes no Idempotency-Key")
        sent = request.url.path.endswith("/send")
        return httpx.Response(200, json={"invocationId": id} if sent else True, headers={"x-restate-id": id})

    server = Server(ingress)
    async with server.client() as client:
        for make in (client.generic_call, client.generic_send):
            call = make(service="SignUp", method="run", key="Mary", parameter="x")
            assert await call is True
            assert call.id == id
        with pytest.raises(TerminalError, match="takes no Idempotency-Key"):
            await client.generic_call(service="SignUp", method="run", key="Mary", idempotency_key="k")


async def test_invocations_are_cancelled_by_the_admin() -> None:
    accepted = httpx.Response(202, json={"invocationId": "inv_x", "status": "accepted"})
    already = httpx.Response(200, json={"invocationId": "inv_x", "status": "already"})
    server = Server(
        accepted, already, refused(409, "inv_x has completed"), refused(404, "there is no invocation inv_x")
    )
    async with server.client() as client:
        assert [await client.cancel("inv_x") for _ in range(4)] == [True, False, False, False]
    assert set(server.paths) == {"/base/path/admin/invocations/inv_x/cancel"}
    assert {request.method for request in server.requests} == {"POST"}


async def test_a_call_is_cancelled_once_it_has_arrived() -> None:
    tries, cancelled = 0, asyncio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        if not request.url.path.endswith("/cancel"):
            await cancelled.wait()
            return refused(409, "cancelled", "invocation")
        tries += 1
        if tries < 3:
            return refused(404, "there is no invocation")
        cancelled.set()
        return httpx.Response(202, json={"invocationId": "inv_x", "status": "accepted"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http, Client(URL, http=http) as client:
        call = client.object_client(Counter, "Mary").add(1)
        assert await call.cancel() is True
        with pytest.raises(TerminalError, match="cancelled"):
            await call
        tries = 0
        assert await call.cancel() is False  # it is over: nothing is to arrive any more
        assert tries == 1


async def test_what_was_sent_is_cancelled_once_it_is_stored() -> None:
    stored = asyncio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/send"):
            await stored.wait()
            return httpx.Response(202, json={"invocationId": "inv_x"}, headers={"x-restate-id": "inv_x"})
        assert stored.is_set()
        assert request.url.path == "/base/path/admin/invocations/inv_x/cancel"
        return httpx.Response(202, json={"invocationId": "inv_x", "status": "accepted"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http, Client(URL, http=http) as client:
        cancelled = client.object_send_client(Counter, "Mary").add(1).cancel()
        await asyncio.sleep(0)
        stored.set()
        assert await cancelled is True


async def test_giving_up_waiting_does_not_give_up_the_call() -> None:
    release = asyncio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200, content=b"3", headers={"x-restate-id": "inv_x"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        client = Client(URL, http=http)
        call = client.object_client(Counter, "Mary").add(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.01)
        release.set()
        assert await call == 3


async def test_leaving_drops_calls_that_nobody_awaited() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with Client(URL, http=httpx.AsyncClient(transport=httpx.MockTransport(never))) as client:
        call = client.object_client(Counter, "Mary").add(1)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await call


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Client(URL).object_client(Counter, "Mary").add(1)


async def test_output_is_decoded_by_the_handlers_annotation() -> None:
    server = Server(httpx.Response(200, content=json.dumps("é").encode()))
    async with server.client() as client:
        assert await client.service_client(Greeter).greet("x") == "é"
