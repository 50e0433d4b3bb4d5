"""Restate's own Python client, and its documented HTTP API, on our ingress."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
import restate
import uvicorn
from restate.client_types import HttpError, RestateClient

from tests.ingress.conftest import Greeter, Stack, error
from tests.ingress.waiting import Box, Rite, Slow

greeter = restate.Service("Greeter")
counter = restate.VirtualObject("Counter")
sign_up = restate.Workflow("SignUp")


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str: ...  # type: ignore[empty-body]


@greeter.handler()
async def count(ctx: restate.Context) -> int: ...  # type: ignore[empty-body]


@greeter.handler()
async def headers(ctx: restate.Context) -> dict[str, str]: ...  # type: ignore[empty-body]


@greeter.handler()
async def fail(ctx: restate.Context, code: int) -> None: ...


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int: ...  # type: ignore[empty-body]


@counter.handler(kind="shared")
async def total(ctx: restate.ObjectSharedContext) -> int: ...  # type: ignore[empty-body]


@sign_up.main()
async def run(ctx: restate.WorkflowContext, name: str) -> str: ...  # type: ignore[empty-body]


@sign_up.handler()
async def id(ctx: restate.WorkflowSharedContext) -> str: ...  # type: ignore[empty-body]


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[RestateClient]:
    """The client over HTTP, just as its users make it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(stack.app, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with restate.create_client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        cast(Any, client).client.timeout = httpx.Timeout(60)  # five seconds are few on a busy machine
        yield client
    server.should_exit = True
    await serving


async def attached(stack: Stack, id: str) -> Any:
    response = await stack.http.get(f"/restate/attach/{id}")
    assert response.status_code == 200, response.text
    return response.json()


async def test_calls(client: RestateClient) -> None:
    assert await client.service_call(greet, "Mary") == "Hello Mary"
    assert await client.object_call(add, "a/b", 2) == 2
    assert await client.object_call(total, "a/b", None) == 2
    assert await client.workflow_call(run, "Mary", "Mary") == "welcome Mary"
    assert await client.workflow_call(id, "Mary", None) == "Mary"
    assert await client.generic_call("Counter", "add", b"3", key="a/b") == b"5"
    assert await client.generic_call("Greeter", "echo", b"\xff\x00") == b"\xff\x00"


async def test_sends(client: RestateClient, stack: Stack) -> None:
    sent = [
        await client.service_send(greet, "Mary"),
        await client.object_send(add, "Mary", 2),
        await client.workflow_send(run, "Mary", "Mary"),
        await client.generic_send("Counter", "add", b"3", key="John"),
    ]
    assert [await attached(stack, each.invocation_id) for each in sent] == ["Hello Mary", 2, "welcome Mary", 3]


async def test_delays(client: RestateClient, stack: Stack) -> None:
    async def delayed(delay: timedelta) -> list[Any]:
        return [
            await client.service_send(greet, "Mary", send_delay=delay),
            await client.object_send(add, "Mary", 2, send_delay=delay),
            await client.generic_send("Counter", "add", b"3", key="John", send_delay=delay),
        ]

    for each in await delayed(timedelta(hours=1)):
        assert (await stack.http.get(f"/restate/output/{each.invocation_id}")).status_code == 470
    began = stack.clock.now()
    sent = await delayed(timedelta(milliseconds=300))
    assert [await attached(stack, each.invocation_id) for each in sent] == ["Hello Mary", 2, 3]
    assert stack.clock.now() - began >= 300


async def test_idempotency_keys(client: RestateClient) -> None:
    Greeter.runs = 0
    assert [await client.service_call(count, None, idempotency_key="k") for _ in range(2)] == [1, 1]
    sent = [await client.object_send(add, "Mary", 2, idempotency_key="k") for _ in range(2)]
    assert len({each.invocation_id for each in sent}) == 1
    assert await client.object_call(add, "Mary", 2, idempotency_key="k") == 2
    assert await client.object_call(total, "Mary", None) == 2


async def test_headers(client: RestateClient) -> None:
    assert (await client.service_call(headers, None, headers={"X-Tenant": "a"}))["x-tenant"] == "a"


async def test_failures(client: RestateClient) -> None:
    with pytest.raises(HttpError) as raised:
        await client.service_call(fail, 418)
    assert raised.value.status_code == 418
    assert json.loads(raised.value.body or "") == {"message": "as you wish", "code": 418, "source": "invocation"}
    await client.workflow_call(run, "Mary", "Mary")
    with pytest.raises(HttpError) as raised:
        await client.workflow_call(run, "Mary", "Mary")
    assert raised.value.status_code == 409


async def test_scopes_and_limit_keys_are_refused(client: RestateClient, stack: Stack) -> None:
    Greeter.runs = 0
    scoped = client.scope("t")
    for asked in (
        scoped.service_call(count, None),
        scoped.service_call(count, None, limit_key="k"),
        scoped.service_send(count, None, send_delay=timedelta(seconds=1)),
        scoped.object_call(add, "Mary", 2),
        scoped.object_send(add, "Mary", 2),
        scoped.workflow_call(run, "Mary", "Mary"),
        client.generic_call("Greeter", "count", b"", limit_key="k"),
        client.generic_send("Counter", "add", b"3", key="Mary", limit_key="k"),
        client.generic_send("Greeter", "count", b"", send_delay=timedelta(seconds=1), limit_key="k"),
    ):
        with pytest.raises(HttpError) as raised:
            await asked
        said = json.loads(raised.value.body or "")
        assert (raised.value.status_code, said["source"]) == (501, "ingress")
        assert said["message"] == "scopes and limit keys are not supported: there is no flow control yet"
    assert Greeter.runs == 0
    assert (await client.object_call(total, "Mary", None)) == 0
    assert error(await stack.http.get("/restate/scope/t/workflow/SignUp/Mary/attach"))[0] == 501


# --- what the client does not have: results by all that tells an invocation, in both families of paths ---

TOLD: dict[str, tuple[str, dict[str, str]]] = {
    "workflow": ("workflow/Rite/a%2Fb", {"target": "workflow", "workflowName": "Rite", "workflowKey": "a/b"}),
    "service": (
        "invocation/Slow/wait/k",
        {"target": "idempotentInvocation", "service": "Slow", "handler": "wait", "idempotencyKey": "k"},
    ),
    "object": (
        "invocation/Box/a%2Fb/wait/k",
        {"target": "idempotentInvocation", "service": "Box", "key": "a/b", "handler": "wait", "idempotencyKey": "k"},
    ),
}
"""A path, and a body, for the invocation that a request to the handler makes."""

REQUESTS = {
    "workflow": "/restate/send/Rite/a%2Fb/run",
    "service": "/Slow/wait/send",
    "object": "/restate/send/Box/a%2Fb/wait",
}


def forms(told: str, id: str, what: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The requests that ask for an invocation's result."""
    path, body = TOLD[told]
    return [
        ("GET", f"/restate/{path}/{what}", {}),
        ("POST", f"/restate/{what}", {"json": body}),
        ("GET", f"/restate/invocation/{id}/{what}", {}),
        ("GET", f"/restate/{what}/{id}", {}),
        ("POST", f"/restate/{what}", {"json": {"target": "invocation", "invocationId": id}}),
    ]


@pytest.fixture
async def slow() -> AsyncIterator[Stack]:
    stack = Stack(Slow, Box, Rite)
    yield stack
    await stack.close()


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize(("name", "result"), [("Mary", (200, "Mary")), ("nobody", (410, "nobody is gone"))])
async def test_results(slow: Stack, told: str, name: str, result: tuple[int, str]) -> None:
    looked_up = await slow.http.post("/restate/lookup", json=TOLD[told][1])
    id = looked_up.json()["invocationId"]
    assert (looked_up.status_code, looked_up.json()) == (200, {"invocationId": id})

    async def statuses(what: str) -> set[int]:
        responses = [await slow.http.request(method, url, **more) for method, url, more in forms(told, id, what)]
        assert {response.headers["x-restate-id"] for response in responses} == {id}
        return {response.status_code for response in responses}

    assert await statuses("attach") == await statuses("output") == {404}
    key = {} if told == "workflow" else {"idempotency-key": "k"}
    sent = await slow.http.post(REQUESTS[told], json=name, headers=key)
    assert (sent.status_code, sent.json()) == (202, {"invocationId": id, "status": "Accepted"})
    assert await statuses("output") == {470}

    waiting = [slow.http.request(method, url, **more) for method, url, more in forms(told, id, "attach")]
    attaching = asyncio.gather(*waiting)
    assert (await slow.http.post(f"/restate/invocation/{id}/signals/go", json=None)).status_code == 202
    responses: list[httpx.Response] = await attaching
    responses += [await slow.http.request(method, url, **more) for method, url, more in forms(told, id, "output")]
    for response in responses:
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-restate-id"] == id
        said = error(response) if response.is_error else (response.status_code, response.json())
        assert said == result


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"target": "workflow", "workflowName": "Greeter", "workflowKey": "a"}, 404, "'Greeter' is not a workflow"),
        ({"target": "workflow", "workflowName": "Nobody", "workflowKey": "a"}, 404, "there is no service 'Nobody'"),
        ({"target": "workflow", "workflowName": "SignUp", "workflowKey": ""}, 400, "'SignUp' needs a key"),
        ({"target": "workflow", "workflowName": "SignUp"}, 400, "the body is "),
        ({"target": "workflow", "workflowName": "SignUp", "workflowKey": 7}, 400, "the body is "),
        (
            {"target": "workflow", "workflowName": "SignUp", "workflowKey": "a", "scope": "b"},
            501,
            "scopes and limit keys are not supported",
        ),
        ({"target": "invocation", "invocationId": "inv_1"}, 400, "'inv_1' is not an invocation id"),
        ({"target": "awakeable"}, 400, "the body is "),
        ([], 400, "the body is "),
        (
            {"target": "idempotentInvocation", "service": "Hidden", "handler": "run_all", "idempotencyKey": "k"},
            404,
            "there is no service 'Hidden'",
        ),
        (
            {"target": "idempotentInvocation", "service": "Greeter", "handler": "secret", "idempotencyKey": "k"},
            404,
            "service 'Greeter' has no handler 'secret'",
        ),
        (
            {"target": "idempotentInvocation", "service": "Greeter", "handler": "greet", "idempotencyKey": ""},
            400,
            "an idempotency key has 1 to 512 bytes",
        ),
        (
            {"target": "idempotentInvocation", "service": "Counter", "handler": "add", "idempotencyKey": "k"},
            400,
            "'Counter' needs a key",
        ),
        (
            {"target": "idempotentInvocation", "service": "Counter", "handler": "add", "idempotencyKey": "k", "key": 7},
            400,
            "the body is ",
        ),
    ],
)
@pytest.mark.parametrize("what", ["lookup", "attach", "output"])
async def test_what_tells_no_invocation(stack: Stack, what: str, body: Any, status: int, message: str) -> None:
    code, said = error(await stack.http.post(f"/restate/{what}", json=body))
    assert (code, said[: len(message)]) == (status, message)


async def test_what_is_no_description(stack: Stack) -> None:
    assert error(await stack.http.post("/restate/lookup", content=b"{"))[0] == 400
    for what in ("lookup", "attach", "output"):
        assert error(await stack.http.get(f"/restate/{what}"))[0] == 405
    assert error(await stack.http.post(f"/restate/attach/inv_{'a' * 32}"))[0] == 405
    assert error(await stack.http.get("/restate/lookup/x"))[0] == 404
