"""The HTTP client and the ingress together: results, awakeables and signals by id."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from adapter import (
    Client,
    Context,
    Ready,
    Service,
    TerminalError,
    Unready,
    Workflow,
    WorkflowContext,
    handler,
    invocation_id,
)
from adapter.clock import SystemClock
from adapter.engine.engine import Engine
from adapter.http.ingress import create_ingress
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.registry import Registry


class Listener(Service):
    def __init__(self) -> None:
        self.ids: list[str] = []

    @handler
    async def wait(self, ctx: Context) -> int:
        awakeable = ctx.awakeable(int)
        await ctx.run("tell", self.ids.append, awakeable.id)
        return await awakeable

    @handler
    async def listen(self, ctx: Context) -> list[str]:
        return [await ctx.signal("a/b c", str), await ctx.signal("a/b c", str)]


class Once(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, value: int) -> int:
        if value < 0:
            raise TerminalError("negative", code=418)
        return value


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[Client]:
    clock, dispatcher, registry = SystemClock(), LocalDispatcher(), Registry(listener, Once)
    timers = LocalTimers(clock)
    engine = Engine(store=MemoryStore(), timers=timers, dispatcher=dispatcher, clock=clock, handlers=registry.specs)
    dispatcher.engine = timers.engine = engine
    app = create_ingress(engine, registry, until=lambda: clock.now() + 10_000)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http,
        Client("http://test", http=http) as client,
    ):
        yield client
    timers.close()
    await engine.process.drain()


async def test_output_and_attach(client: Client) -> None:
    id = invocation_id(Once, "run", "x")
    assert await client.output(id, int) is Unready.NOT_FOUND
    with pytest.raises(TerminalError) as unknown:
        await client.attach(id)
    assert unknown.value.code == 404
    assert await client.workflow_client(Once, "x").run(5) == 5
    output = client.output(id, int)
    assert await output == Ready(5)
    assert output.done
    assert await client.attach(id, int) == 5
    failed = client.workflow_client(Once, "y").run(-1)
    with pytest.raises(TerminalError, match="negative"):
        await failed
    with pytest.raises(TerminalError, match="negative"):
        await client.output(failed.id, int)


async def test_awakeables(client: Client, listener: Listener) -> None:
    for give in (1, None):
        sent = client.service_send_client(Listener).wait()
        await client.flush()
        while not listener.ids:
            await client.output(sent.id, int)
        assert await client.output(sent.id, int) is Unready.NOT_READY
        id = listener.ids.pop()
        if give is not None:
            assert await client.resolve_awakeable(id, give)
            assert await sent == give
        else:
            assert await client.reject_awakeable(id, "declined", code=402, metadata={"card": "7"})
            with pytest.raises(TerminalError, match="declined") as error:
                await sent
            assert (error.value.code, error.value.metadata) == (402, {"card": "7"})
        assert not await client.resolve_awakeable(id, 2)


async def test_a_rejected_signal_and_a_cancellation_keep_their_types(client: Client) -> None:
    sent = client.service_send_client(Listener).listen()
    await client.flush()
    assert await client.reject_signal(sent.id, "a/b c", "gone", code=410, metadata={"why": "ü"})
    with pytest.raises(TerminalError, match="gone") as error:
        await sent
    assert (error.value.code, error.value.metadata) == (410, {"why": "ü"})
    waiting = client.service_send_client(Listener).listen()
    await client.flush()
    assert await client.reject_signal(waiting.id, "a/b c", "cancelled", code=409)
    with pytest.raises(TerminalError) as other:
        await waiting
    assert type(other.value) is TerminalError


async def test_signals(client: Client) -> None:
    sent = client.service_send_client(Listener).listen()
    await client.flush()
    assert await client.send_signal(sent.id, "a/b c", "one")
    assert await client.send_signal(sent.id, "a/b c", "two")
    assert sorted(await sent) == ["one", "two"]
    assert not await client.send_signal(sent.id, "a/b c", "three")
