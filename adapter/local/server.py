"""The development server: handlers, ingress and admin in one process.

State is in memory, in a file (``--persist``), or in the DynamoDB at ``AWS_ENDPOINT_URL``. A file or DynamoDB keeps it
when the server stops, and invocations that were under way continue at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.clock import SystemClock
from adapter.console.pages import Pages, is_console
from adapter.engine.engine import Engine
from adapter.engine.ids import DUE_SHARDS
from adapter.engine.ports import Place, Store, Unavailable
from adapter.garbage import settle
from adapter.http.admin import Admin, LocalServices
from adapter.http.admin import models as m
from adapter.http.ingress import create_ingress
from adapter.http.messages import ID, SOURCE, refuse
from adapter.http.services import is_admin
from adapter.local.console import log_to_console
from adapter.local.discovery import discover
from adapter.local.frames import imported
from adapter.local.guard import Guard
from adapter.local.lines import RecentLines
from adapter.local.memory import MemoryStore
from adapter.local.options import Options, UnservableError
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.local.rates import Rates
from adapter.local.registrations import Registrations
from adapter.local.requests import RequestLog
from adapter.local.samples import curl_lines
from adapter.local.sqlite import SqliteStore
from adapter.local.store import LocalStore
from adapter.local.supervisor import Loaded, Supervisor
from adapter.local.watchdog import Watchdog
from adapter.observed import observe, observe_app
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.local.endpoints import Endpoints

log = logging.getLogger("adapter")

EXPOSED: Final = (ID, SOURCE, "preference-applied", "retry-after")
"""The response headers that a page of another origin may read. ``template.yaml`` has the same."""

CORS_MAX_AGE: Final = 3600
"""Seconds for which a browser remembers what a page of another origin may send."""

DEFAULT_PORT: Final = 8080
"""The port of ``adapter dev``, which the command line calls where no URL is given."""

PATIENCE: Final = 10 * 60_000
"""How long a request may wait, in milliseconds."""

Logs = Callable[[str], list[m.LogLine]]

SWEEP_LOCAL: Final = 5.0
SWEEP_DYNAMODB: Final = 30.0
"""Seconds between sweeps. An emulator scans for each."""

EXPIRY: Final = 3600 * 1000
"""Milliseconds between deletions of what a store on this machine need not keep any longer."""

GOODBYE: Final = 0.5
"""Seconds that requests under way get when the server stops."""

SHUTDOWN: Final = 2.0
"""Seconds that handlers get to end or to be suspended. The rest is taken up again, if it is stored."""

LOST: Final = "adapter dev is stopping, and state in memory is lost: send the request again"
KEPT: Final = (
    "adapter dev is stopping. The invocation goes on at the next start: send the request again only if it has an "
    "idempotency key"
)


class LocalApp:
    """An ASGI app: an engine's ingress, and the admin to it. On this machine everybody may do everything.

    Args:
        engine: Runs the handlers.
        registry: The services that it runs.
        cors: The origins whose pages may call handlers; ``*`` stands for all. The admin is for none.
        logs: Returns the latest log lines of an invocation.
        endpoints: Returns the endpoints of SDKs, to which the admin may add others; ``None`` if it may not.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        cors: Sequence[str] = (),
        logs: Logs | None = None,
        endpoints: Callable[[], Endpoints] | None = None,
    ) -> None:
        self._engine = engine
        self._requests: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._cors = cors
        self._logs = logs
        self._registrations = Registrations(endpoints, self.host) if endpoints is not None else None
        self._console = Pages(_options)
        self._serve(registry)

    def host(self, registry: Registry) -> None:
        """Run other services from now on. What is under way keeps its own."""
        self._engine.deployment.host(map(observe, registry.specs))
        self._serve(registry)

    def _serve(self, registry: Registry) -> None:
        engine = self._engine
        ingress: ASGIApp = observe_app(create_ingress(engine, registry, until=lambda: engine.process.now() + PATIENCE))
        if self._cors:
            ingress = _with_cors(ingress, self._cors)
        self._ingress = rates = Rates(ingress)
        services = LocalServices(registry)
        self._admin = Admin(engine, services, requests=rates.requests, logs=self._logs, endpoints=self._registrations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_console(scope["path"]):
            return await self._console(scope, receive, send)
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await (self._admin if is_admin(scope["path"]) else self._ingress)(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            lost = isinstance(self._engine.storage.store, MemoryStore)
            refusal = refuse(503, LOST, {"retry-after": "1"}) if lost else refuse(504, KEPT)
            await refusal(scope, receive, send)
        finally:
            self._requests.discard(task)

    def stop(self) -> None:
        """Suspend or end the requests under way before the process ends.

        Handlers that wait are suspended: else their leases would have to run out. Requests that wait are answered.
        """
        self._stopping = True
        self._engine.process.deadline = self._engine.process.now()
        for id, session in list(self._engine.process.active.items()):
            session.wake(id)  # so that it sees the deadline
        asyncio.get_running_loop().call_later(GOODBYE, self._dismiss)

    def _dismiss(self) -> None:
        for task in self._requests:
            task.cancel()


def _options(request: Request) -> str:
    """Return the options by which a command reaches this server."""
    return "" if request.url.port == DEFAULT_PORT else f"--url {request.url.scheme}://{request.url.netloc}"


def _with_cors(ingress: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of other origins call handlers, with any headers but without cookies."""
    return CORSMiddleware(
        ingress,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=EXPOSED,
        max_age=CORS_MAX_AGE,
    )


@asynccontextmanager
async def running(
    registry: Registry,
    store: Store,
    *,
    sweep: float = SWEEP_LOCAL,
    cors: Sequence[str] = (),
    logs: Logs | None = None,
    endpoints: Callable[[], Endpoints] | None = None,
) -> AsyncGenerator[LocalApp]:
    """Run an engine on this machine.

    Args:
        registry: What it runs.
        store: The store of its records. Overdue invocations continue at once, the others when they are due.
        sweep: Seconds between sweeps.
        cors: The origins whose pages may call handlers; ``*`` stands for all.
        logs: Returns the latest log lines of an invocation.
        endpoints: Returns the endpoints of SDKs, to which the admin may add others; ``None`` if it may not.
    """
    clock, dispatcher = SystemClock(), LocalDispatcher()
    if isinstance(store, SqliteStore):
        store.end_leases(clock.now())
    timers = LocalTimers(clock)
    handlers = map(observe, registry.specs)
    engine = Engine(store=store, timers=timers, dispatcher=dispatcher, clock=clock, handlers=handlers)
    dispatcher.engine = timers.engine = engine
    app = LocalApp(engine, registry, cors, logs, endpoints)
    recovery = asyncio.create_task(_recover(engine, sweep))
    try:
        yield app
    finally:
        recovery.cancel()
        app.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(engine.process.drain(), SHUTDOWN)
        timers.close()


async def _recover(engine: Engine, interval: float) -> None:
    """Arm the timers that a former process had, then sweep from time to time."""
    armed, next_expiry = False, 0
    while True:
        try:
            if not armed:
                await _arm(engine)
                armed = True
            await engine.sweeper.sweep()
            store, now = engine.storage.store, engine.process.now()
            if isinstance(store, LocalStore) and now >= next_expiry:
                store.expire(now)
                next_expiry = now + EXPIRY
        except Unavailable as error:
            log.warning("the store does not answer: %s", error)
        except Exception:
            log.exception("a sweep failed")
        await asyncio.sleep(interval)


async def _arm(engine: Engine) -> None:
    """Set a timer for each invocation that is due later."""
    await asyncio.gather(*(_arm_shard(engine, shard) for shard in range(DUE_SHARDS)))


async def _arm_shard(engine: Engine, shard: int) -> None:
    after: Place | None = None
    while True:
        found, after = await engine.storage.read(lambda: engine.storage.store.active(shard, 1000, after=after))  # noqa: B023
        for entry in found:
            meta = await engine.storage.find(entry.id)
            if meta is not None and meta.live and meta.due is not None and meta.due > engine.process.now():
                engine.runtime.wakeups.schedule(meta)
        if after is None:
            return


def serve(options: Options, listener: socket.socket, supervisor: Supervisor | None = None) -> int:
    """Serve the definitions in modules until told to stop.

    Under a supervisor, modules that break after the first time are answered for with a 503 that says why.

    Args:
        options: What to serve, and to whom.
        listener: Bound already, so that requests wait while one server follows another.
        supervisor: Starts this process anew when source changes.

    Returns:
        The exit code.
    """
    log_to_console(replays=options.replays)
    lines = RecentLines(replays=options.replays)
    logging.getLogger().addHandler(lines)
    try:
        registry = discover(options.modules)
        store = _store(options)
    except UnservableError as error:
        print(f"adapter dev: {error}", file=sys.stderr, flush=True)
        if supervisor is None or supervisor.first:
            return 1
        supervisor.tell(Loaded(imported() | error.files, broken=True))
        broken = refuse(503, f"adapter dev: {error}")
        return asyncio.run(_serve(broken, options, listener, supervisor))
    settle()
    return asyncio.run(_run(registry, store, options, listener, supervisor, lines.of))


def _store(options: Options) -> Store:
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if options.persist is not None:
        if endpoint:
            raise UnservableError("--persist keeps state in a file: unset AWS_ENDPOINT_URL, or leave it out")
        return SqliteStore(options.persist)
    if not endpoint:
        return MemoryStore()
    from adapter.local.dynamodb import open_dynamodb  # boto3's parts take a while to import

    return open_dynamodb(endpoint)


async def _run(
    registry: Registry,
    store: Store,
    options: Options,
    listener: socket.socket,
    supervisor: Supervisor | None,
    logs: Logs,
) -> int:
    own, endpoints = registry, None
    if options.endpoints:
        try:
            endpoints = _endpoints(options, own, supervisor)
            registry = await endpoints.discover() or own
        except UnservableError as error:
            print(f"adapter dev: {error}", file=sys.stderr, flush=True)
            return 1
    if supervisor is not None:
        supervisor.tell(Loaded(imported()))
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    match store:
        case MemoryStore():
            where = "memory, gone when this stops"
        case SqliteStore():
            where = str(options.persist)
        case _:
            where = f"DynamoDB at {os.environ['AWS_ENDPOINT_URL']}"
    banner = f"==> {', '.join(registry.services) or 'no services yet'} on {url} (state: {where})"
    lines = [banner, f"    console: {url}/console", *(f"    {line}" for line in curl_lines(registry, url))]
    sweep = SWEEP_LOCAL if isinstance(store, LocalStore) else SWEEP_DYNAMODB
    async with AsyncExitStack() as background:
        if isinstance(store, SqliteStore):
            background.callback(store.close)  # last, when the engine has stopped

        async def close() -> None:
            if endpoints is not None:
                await endpoints.close()

        def loaded() -> Endpoints:
            nonlocal endpoints
            if endpoints is None:
                endpoints = _endpoints(options, own, supervisor)
                _beside(background, endpoints.follow(app.host))
            return endpoints

        background.push_async_callback(close)
        # A registration would be forgotten before the state that a file or DynamoDB keeps.
        more = loaded if isinstance(store, MemoryStore) else None
        app = await background.enter_async_context(
            running(registry, store, sweep=sweep, cors=options.cors, logs=logs, endpoints=more)
        )
        if supervisor is not None:
            _beside(background, _tell_imports(supervisor))
        if endpoints is not None:
            _beside(background, endpoints.follow(app.host))
        with Watchdog(asyncio.get_running_loop()):
            return await _serve(app, options, listener, supervisor, lines, on_stop=app.stop)


def _endpoints(options: Options, registry: Registry, supervisor: Supervisor | None) -> Endpoints:
    try:
        from adapter.local.endpoints import Endpoints  # httpx takes a while to import
    except ModuleNotFoundError as error:
        raise UnservableError(f"{error.name} is not installed: pip install 'serverless-adapter[restate]'") from None

    def tell(line: str) -> None:
        print(line, flush=True)

    keep = supervisor.keep if supervisor is not None else None
    return Endpoints(options.endpoints, registry, tell, key=options.identity, keep=keep)


def _beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Do some work until the stack ends."""
    stack.callback(asyncio.create_task(work).cancel)


async def _serve(
    app: ASGIApp,
    options: Options,
    listener: socket.socket,
    supervisor: Supervisor | None,
    banner: Iterable[str] = (),
    on_stop: Callable[[], None] = lambda: None,
) -> int:
    config = uvicorn.Config(
        RequestLog(Guard(app, hosts=options.hosts, origins=options.cors)),
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=round(SHUTDOWN),
    )
    server = _Server(config, on_stop)
    for each in (signal.SIGINT, signal.SIGTERM):  # from now on; uvicorn's own begins later and ends earlier
        signal.signal(each, server.handle_exit)
    print(*banner, sep="\n", end="\n" if banner else "", flush=True)
    if supervisor is not None:
        supervisor.on_stop(server.stop)
    await server.serve(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def stop(self) -> None:
        """Have it shut down, from any thread."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


async def _tell_imports(supervisor: Supervisor) -> None:
    """Tell the supervisor of modules that handlers import when they run."""
    count = len(sys.modules)
    while True:
        await asyncio.sleep(1)
        if len(sys.modules) != count:
            count = len(sys.modules)
            supervisor.tell(Loaded(imported()))
