"""A server in a thread of this process: several deployments of the drills' application on one store in memory."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.clock import SystemClock
from adapter.console.pages import Pages, is_console
from adapter.definitions import Definition
from adapter.engine.engine import Engine
from adapter.engine.process import Repeat
from adapter.engine.records import Ref
from adapter.http import openapi
from adapter.http.admin import Admin
from adapter.http.admin.ports import Letter, Version
from adapter.http.ingress import create_ingress
from adapter.http.services import Deployed, endpoints, is_admin
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalTimers
from adapter.registry import Registry
from tests.drills.app import FIRST, VERSIONS

T = TypeVar("T")

PATIENCE = 60
"""Seconds until a test gives up waiting for what has to come."""


class Current:
    """The services of the current deployment, as the admin asks for them."""

    def __init__(self, registry: Registry, deployment: str) -> None:
        self._registry = registry
        self._deployed = [
            Deployed(name, deployment.partition(":")[0], deployment, endpoints(service))
            for name, service in registry.services.items()
        ]

    async def listed(self) -> Sequence[Deployed]:
        return self._deployed

    async def names(self) -> Sequence[str]:
        return [each.name for each in self._deployed]

    async def documents(self) -> dict[str, dict[str, Any]]:
        return openapi.documents(self._registry)


class Versions:
    """The fleet's deployments, as the admin asks for them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def exists(self, deployment: str) -> bool:
        return deployment in self._fleet.engines

    async def listed(self) -> list[Version]:
        return [
            Version(name, name.partition(":")[0], current=name == self._fleet.current) for name in self._fleet.engines
        ]

    async def remove(self, deployment: str) -> bool:
        engine = self._fleet.engines.pop(deployment, None)
        if engine is not None:
            self._fleet.removed.append(engine)
        return engine is not None


class Queue:
    """The messages that could not be delivered, as the admin asks for them."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    async def sample(self) -> tuple[list[Letter], int]:
        return self.letters[:10], len(self.letters)

    async def purge(self) -> None:
        self.letters.clear()


class Fleet:
    """The deployments, as a dispatcher: an invocation runs on its own, or on the current one if it has none yet."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.engines: dict[str, Engine] = {}
        self.apps: dict[str, ASGIApp] = {}
        self.current = ""
        self.dead_letters = Queue()
        self._timers: list[LocalTimers] = []
        self.removed: list[Engine] = []

    def deploy(self, deployment: str, definitions: Sequence[type[Definition]]) -> None:
        clock = SystemClock()
        timers = LocalTimers(clock)
        registry = Registry(*definitions)
        engine = Engine(
            store=self.store,
            timers=timers,
            dispatcher=self,
            clock=clock,
            handlers=registry.specs,
            deployment=deployment,
        )
        timers.engine = engine
        self._timers.append(timers)
        ingress = create_ingress(engine, registry, until=lambda: clock.now() + PATIENCE * 1000)
        admin = Admin(engine, Current(registry, deployment), versions=Versions(self), dead_letters=self.dead_letters)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"]
            await (pages if is_console(path) else admin if is_admin(path) else ingress)(scope, receive, send)

        pages = Pages(lambda _: "")
        self.engines[deployment] = engine
        self.apps[deployment] = app
        self.current = deployment

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        engine = self.engines[deployment or self.current]
        engine.process.spawn(engine.resume(ref.id, fresh=fresh), repeated_by=Repeat.DISPATCH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.apps[self.current](scope, receive, send)

    async def close(self) -> None:
        for timers in self._timers:
            timers.close()
        for engine in (*self.engines.values(), *self.removed):
            engine.process.deadline = 0
            with suppress(TimeoutError):
                await asyncio.wait_for(engine.process.drain(), 2)


class World:
    """What a drill has: the server's URL, requests to it, and its deployments."""

    def __init__(self, fleet: Fleet, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self._fleet = fleet
        self._loop = loop
        self.http = httpx.Client(base_url=url, timeout=PATIENCE * 2)

    def deploy(self, deployment: str, definitions: Sequence[type[Definition]] | None = None) -> None:
        """Make a deployment the current one."""
        chosen = VERSIONS[deployment] if definitions is None else definitions
        done = threading.Event()

        def deploy() -> None:
            self._fleet.deploy(deployment, chosen)
            done.set()

        self._loop.call_soon_threadsafe(deploy)
        assert done.wait(PATIENCE)

    @property
    def store(self) -> MemoryStore:
        """What has the records."""
        return self._fleet.store

    @property
    def dead_letters(self) -> list[Letter]:
        """The messages that could not be delivered."""
        return self._fleet.dead_letters.letters

    def call(self, path: str, input: Any = None) -> Any:
        """Call a handler, and return what it gives."""
        response = self.http.post(f"/{path}", json=input)
        assert response.is_success, response.text
        return response.json()

    def send(self, path: str, input: Any = None) -> str:
        """Send a message, and return its invocation's id."""
        response = self.http.post(f"/restate/send/{path}", **({} if input is None else {"json": input}))
        assert response.is_success, response.text
        return str(response.json()["invocationId"])

    def signal(self, id: str, name: str, value: Any) -> None:
        assert self.http.post(f"/restate/invocation/{id}/signals/{name}", json=value).is_success

    def shown(self, id: str) -> Mapping[str, Any]:
        """What the admin says of an invocation."""
        response = self.http.get(f"/admin/invocations/{id}")
        assert response.is_success, response.text
        return dict(response.json())

    def until_status(self, id: str, *statuses: str) -> Mapping[str, Any]:
        return until(f"{id} is {' or '.join(statuses)}", lambda: self._with_status(id, statuses))

    def _with_status(self, id: str, statuses: Sequence[str]) -> Mapping[str, Any] | None:
        shown = self.shown(id)
        return shown if shown["status"] in statuses else None


def until(what: str, look: Callable[[], T | None]) -> T:
    """Look until there is something."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"in {PATIENCE} s it was never true that {what}")


@contextmanager
def world(
    deployment: str = FIRST,
    definitions: Sequence[type[Definition]] | None = None,
    store: MemoryStore | None = None,
    port: int = 0,
) -> Iterator[World]:
    """Serve until the end of the block, what is in a store. Port 0 stands for a free one."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        fleet = Fleet(store or MemoryStore())
        config = uvicorn.Config(
            fleet, lifespan="off", log_config=None, log_level="warning", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            fleet.deploy(deployment, VERSIONS[deployment] if definitions is None else definitions)
            await server.serve(sockets=[listener])
            await fleet.close()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        url = "http://{}:{}".format(*listener.getsockname()[:2])
        world = World(fleet, url, loop)
        try:
            yield world
        finally:
            world.http.close()
            server.should_exit = True
            thread.join(PATIENCE)
            loop.close()
