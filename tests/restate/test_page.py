"""A TypeScript program that communicates in every way, on an engine with no server of Restate's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from adapter.restate.endpoints import Endpoint
from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from infra.emulator import free_port
from tests.restate import node
from tests.restate.hosting import CallError, Hosted, eventually, hosted, new_key, tables, until
from tests.restate.sandbox import LambdaSandbox
from tests.restate.test_identity import new_identity
from tests.unit.dev import Dev


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with node.served("page.ts") as served:
        yield served.url


@pytest.fixture(scope="module")
def sandboxed_page() -> Iterator[LambdaSandbox]:
    with node.sandboxed("page.ts") as sandbox:
        yield sandbox


@pytest.fixture(
    params=[
        "in process",
        "on lambda",
        "adapter dev, in memory",
        pytest.param("adapter dev, on dynamodb", marks=pytest.mark.dynamodb),
    ]
)
async def host(request: pytest.FixtureRequest, page: str, tmp_path: Path) -> AsyncIterator[Hosted]:
    async with AsyncExitStack() as stack:
        if request.param.startswith("adapter dev"):
            environment, store = {}, "memory"
            if request.param.endswith("on dynamodb"):
                environment = {"AWS_ENDPOINT_URL": request.getfixturevalue("emulated"), **tables()}
                store = "DynamoDB"
            dev = Dev(tmp_path, "--no-reload", "--endpoint", page, environment=environment)
            stack.callback(dev.stop)
            url = dev.url
            assert store in dev.said[-1]
            dev.drain()
            yield Hosted(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=120)))
            return
        endpoint: Endpoint
        if request.param == "on lambda":
            endpoint = LambdaEndpoint("sandbox", request.getfixturevalue("sandboxed_page"))
        else:
            endpoint = await stack.enter_async_context(HttpEndpoint(page))
        yield await stack.enter_async_context(hosted(endpoint))


async def test_handlers_call_each_other(host: Hosted) -> None:
    name = new_key()
    answers = await host.call("Caller/requestResponse", name)
    assert answers == [f"Hello {name}", f"Mary came 1 times to {name}", "May I?: yes"]
    assert await host.call("Caller/generic", name) == f"John came 2 times to {name}"


async def test_messages_arrive_at_once_and_delayed(host: Hosted) -> None:
    name = new_key()
    await host.call("Caller/messages", name)

    async def three() -> bool:
        return await host.call(f"MyObject/{name}/count") == 3

    await eventually(three)


async def test_messages_with_one_idempotency_key_are_one_invocation(host: Hosted) -> None:
    name = new_key()
    assert await host.call("Caller/idempotent", name) == f"Mary came 1 times to {name}"
    assert await host.call(f"MyObject/{name}/count") == 1


async def test_a_workflow_is_cancelled(host: Hosted) -> None:
    id = await host.call("Caller/cancels", new_key())
    with pytest.raises(CallError, match=r"(?i)cancelled") as raised:
        await host.attach(id)
    assert raised.value.status == 409


async def test_a_cross_deadlock_is_reported_and_broken(host: Hosted) -> None:
    one, two = new_key(), new_key()
    ids = [await host.send(f"Account/{own}/transfer", other) for own, other in ((one, two), (two, one))]
    for id in ids:
        await until(host, id, "suspended")  # it has its own key
    for id in ids:
        (await host.http.post(f"/restate/invocation/{id}/signals/go", json="now")).raise_for_status()
    answers = await asyncio.gather(*(host.attach(id) for id in ids), return_exceptions=True)
    failures = [answer for answer in answers if isinstance(answer, CallError)]
    assert len(failures) == 1
    assert f"Account/{one} → " in failures[0].message
    assert any(isinstance(answer, str) for answer in answers)


async def test_adapter_dev_waits_for_an_endpoint_and_discovers_it_when_it_restarts(tmp_path: Path) -> None:
    port, key = free_port(), new_identity(tmp_path / "identity.pem")
    dev = Dev(tmp_path, "--endpoint", f"http://127.0.0.1:{port}", "--identity-key", "identity.pem")
    try:
        async with httpx.AsyncClient(base_url=dev.url, timeout=120) as http:
            assert any("start the endpoint" in line for line in dev.said)
            assert any("==> no services yet on http" in line for line in dev.said)
            assert f"==> the identity key for endpoints: {key}\n" in dev.said
            with node.served("page.ts", port=port, identity=key):
                dev.until("answers again")
                dev.until("MyService")
                assert await Hosted(http).call("MyService/myHandler", "Mary") == "Hello Mary"
            dev.until("does not answer")
            with node.served("services.ts", port=port, identity=new_identity(tmp_path / "another.pem")):
                dev.until("asks for a signature by another identity key")
            with node.served("services.ts", port=port):
                dev.until("TestUtilsService")
                assert await Hosted(http).call("TestUtilsService/echo", "Mary") == "Mary"
                with pytest.raises(CallError, match="MyService"):
                    await Hosted(http).call("MyService/myHandler", "Mary")
    finally:
        dev.stop()
