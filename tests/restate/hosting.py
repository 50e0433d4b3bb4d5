"""Test services of Restate's SDKs, hosted on an engine in memory, and called over its ingress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from adapter.engine.ports import Store
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from adapter.restate.apps import AppEndpoint
from adapter.restate.conversation import Stream
from adapter.restate.endpoints import Endpoint


class CallError(Exception):
    """The ingress answered with an error."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.message: str = body.get("message", "")
        self.metadata: dict[str, str] = body.get("metadata", {})


@dataclass
class Hosted:
    """An engine that hosts services, and an HTTP client of its ingress and admin."""

    http: httpx.AsyncClient

    async def call(self, target: str, input: Any = None, **headers: str) -> Any:
        """Call a handler, as ``Counter/a/add``, and return its output."""
        return _result(await self._post(f"/{target}", input, headers))

    async def send(self, target: str, input: Any = None, *, delay: str = "", **headers: str) -> str:
        """Send a message, and return the invocation's id."""
        response = await self._post(f"/{target}/send" + (f"?delay={delay}" if delay else ""), input, headers)
        return _result(response)["invocationId"]

    async def attach(self, id: str) -> Any:
        """Wait for an invocation's output."""
        return _result(await self.http.get(f"/restate/invocation/{id}/attach"))

    async def admin(self, id: str, action: str = "") -> Any:
        """Show an invocation, or act on it."""
        if action:
            return _result(await self.http.post(f"/admin/invocations/{id}/{action}"))
        return _result(await self.http.get(f"/admin/invocations/{id}"))

    async def _post(self, path: str, input: Any, headers: dict[str, str]) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if input is None:
            return await self.http.post(path, headers=named)
        return await self.http.post(path, json=input, headers=named)


def _result(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise CallError(response.status_code, response.json())
    return response.json() if response.content else None


@asynccontextmanager
async def hosted(*endpoints: Endpoint, store: Store | None = None) -> AsyncIterator[Hosted]:
    """Host the services of endpoints."""
    registry = Registry()
    for endpoint in endpoints:
        registry.services.update(await endpoint.discover())
    async with running(registry, store or MemoryStore()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http:
            yield Hosted(http)


class Watched(AppEndpoint):
    """An app that keeps what it is told: for each invocation of it, the pieces that it was sent."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.told: list[list[bytes]] = []

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        self.told.append([body])
        return await super().exchange(service, handler, body)

    async def open(self, service: str, handler: str) -> Stream:
        stream, told = await super().open(service, handler), list[bytes]()
        self.told.append(told)
        write = stream.write

        async def watched(data: bytes) -> None:
            told.append(data)
            await write(data)

        stream.write = watched  # type: ignore[method-assign]
        return stream


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 240) -> None:
    """Wait until a check holds."""
    end = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)


async def until(host: Hosted, id: str, status: str) -> None:
    """Wait until an invocation has a status."""

    async def reached() -> bool:
        return bool((await host.admin(id))["status"] == status)

    await eventually(reached)


def new_key() -> str:
    """Return a key that no other test uses."""
    return uuid4().hex


def tables() -> dict[str, str]:
    """Return an environment with names of tables that no other test uses."""
    return {f"ADAPTER_{each}_TABLE": f"{each.lower()}-{new_key()}" for each in ("INVOCATIONS", "OBJECTS")}
