"""The ingress over the engine and a store in memory, all in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    RetryPolicy,
    Serde,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
)
from adapter.clock import SystemClock
from adapter.definitions import Definition
from adapter.engine.engine import Engine
from adapter.engine.ports import Clock, Unavailable
from adapter.engine.records import Meta, Status
from adapter.engine.types import Kind, Target
from adapter.http.ingress import create_ingress
from adapter.http.services import Endpoint, Endpoints
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.registry import Registry


class Item(BaseModel):
    sku: str
    amount: int


class Csv(Serde[list[str]]):
    content_type = "text/csv"

    def serialize(self, value: list[str], /) -> bytes:
        return ",".join(value).encode()

    def deserialize(self, data: bytes, /) -> list[str]:
        return data.decode().split(",")


class Greeter(Service):
    runs = 0

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return f"Hello {name}"

    @handler
    async def count(self, ctx: Context) -> int:
        Greeter.runs += 1
        return Greeter.runs

    @handler
    async def order(self, ctx: Context, items: list[Item]) -> int:
        return sum(item.amount for item in items)

    @handler
    async def nothing(self, ctx: Context) -> None:
        return None

    @handler
    async def any(self, ctx: Context, value: Any) -> Any:
        return value

    @handler
    async def echo(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler(output_serde=Csv())
    async def table(self, ctx: Context) -> list[str]:
        return ["a", "b"]

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)

    @handler
    async def fail(self, ctx: Context, code: int) -> None:
        raise TerminalError("as you wish", code=code)

    @handler
    async def wait(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(timedelta(seconds=seconds))
        return "waited"

    @handler(retry=RetryPolicy(initial=timedelta(milliseconds=1), maximum=timedelta(milliseconds=1), attempts=3))
    async def stumble(self, ctx: Context) -> None:
        raise ValueError("out of luck")

    @handler(private=True)
    async def secret(self, ctx: Context) -> str:
        return "secret"

    @handler
    async def tell(self, ctx: Context) -> str:
        return str(await ctx.generic_call(service="Greeter", method="secret", idempotency_key="told"))


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def key(self, ctx: ObjectSharedContext) -> str:
        return ctx.key

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("total", int) or 0


class Mailbox(VirtualObject):
    """Has a handler that is called like the suffix."""

    @handler
    async def send(self, ctx: ObjectSharedContext) -> str:
        return f"send to {ctx.key}"

    @handler
    async def add(self, ctx: ObjectSharedContext) -> str:
        return f"add to {ctx.key}"


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, name: str) -> str:
        return f"welcome {name}"

    @handler
    async def id(self, ctx: WorkflowSharedContext) -> str:
        return ctx.key


class Hidden(Service, private=True):
    @handler
    async def run_all(self, ctx: Context) -> int:
        return 1


class Elsewhere:
    """A service in another function, which nothing dispatches to."""

    async def find(self, service: str) -> Endpoints | None:
        if service == "Down":
            raise Unavailable("no directory")
        if service != "Far":
            return None
        return {
            "away": Endpoint(Kind.SERVICE),
            "idle": Endpoint(Kind.SERVICE, takes=None),
            "own": Endpoint(Kind.SERVICE, private=True),
        }

    async def documents(self) -> Mapping[str, dict[str, Any]]:
        return {"Far": {"paths": {"/Far/away": {}}, "components": {"schemas": {}}, "tags": []}}


class Stack:
    """What the tests look at: requests and responses, and what is stored."""

    def __init__(self, *definitions: type[Definition], clock: Clock | None = None) -> None:
        self.store = MemoryStore()
        self.clock = clock or SystemClock()
        self.patience = 60_000
        registry = Registry(*(definitions or (Greeter, Counter, Mailbox, SignUp, Hidden)))
        dispatcher = LocalDispatcher()
        self.timers = LocalTimers(self.clock)
        self.engine = Engine(
            store=self.store,
            timers=self.timers,
            dispatcher=dispatcher,
            clock=self.clock,
            handlers=registry.specs,
            kinds=self._kinds,
        )
        dispatcher.engine = self.timers.engine = self.engine
        self.app = create_ingress(
            self.engine, registry, until=lambda: self.clock.now() + self.patience, elsewhere=Elsewhere()
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    def _kinds(self, target: Target) -> Kind | None:
        return Kind.SERVICE if target.service == "Far" else None

    async def close(self) -> None:
        await self.http.aclose()
        self.timers.close()
        await self.engine.process.drain()

    async def decoded(self, method: str, path: str, *, body: bytes = b"") -> httpx.Response:
        """A request whose path arrives decoded, as API Gateway hands it over."""

        async def app(scope: dict[str, object], receive: object, send: object) -> None:
            scope = {**scope, "path": path, "raw_path": None}
            await self.app(scope, receive, send)  # type: ignore[arg-type]

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:  # type: ignore[arg-type]
            return await http.request(method, "/", content=body)

    async def at_rest(self) -> None:
        """Wait until each invocation waits for something, or has ended."""
        await self.until(lambda: all(each.status not in (Status.READY, Status.RUNNING) for each in self.invocations))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what is stored."""
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, self.invocations
            await asyncio.sleep(0.001)

    @property
    def invocations(self) -> list[Meta]:
        return [each for each in self.store.records() if isinstance(each, Meta)]

    @property
    def stored(self) -> int:
        return len(list(self.store.records()))


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    stack = Stack()
    yield stack
    await stack.close()


def error(response: httpx.Response) -> tuple[int, str]:
    """Return an error's code and message. Its code and its source each stand in two places, which agree."""
    assert response.headers["content-type"] == "application/json"
    body: Mapping[str, object] = response.json()
    assert set(body) == {"message", "code", "source"}
    assert body["code"] == response.status_code
    assert body["source"] == response.headers["x-restate-error-source"]
    return response.status_code, str(body["message"])
