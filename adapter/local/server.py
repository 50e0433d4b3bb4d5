"""The development server: handlers and ingress in one process.

Everything is kept in memory, or, where ``AWS_ENDPOINT_URL`` is set, in DynamoDB there; then it survives a restart, and
what was under way goes on. ``adapter dev`` starts it as a process of its own, to start it anew when source changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.engine.engine import Engine
from adapter.engine.ports import Store
from adapter.http.admin import Admin, local
from adapter.http.ingress import create_ingress
from adapter.http.messages import ID, SOURCE
from adapter.http.services import is_admin
from adapter.local.discovery import DiscoveryError, discover
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers, SystemClock
from adapter.local.samples import curl_lines
from adapter.registry import Registry

log = logging.getLogger("adapter")

BROKEN: Final = 3
"""The exit code that says that there is nothing to serve."""

EXPOSED: Final = (ID, SOURCE, "preference-applied", "retry-after")
"""The response headers that a page of another origin may read. ``template.yaml`` has the same."""

CORS_MAX_AGE: Final = 3600
"""Seconds for which a browser remembers what a page of another origin may send."""

PATIENCE: Final = 10 * 60_000
"""How long a request may wait, in milliseconds."""

SWEEP_MEMORY: Final = 5.0
SWEEP_DYNAMODB: Final = 30.0
"""Seconds between sweeps. An emulator scans for each."""

SHUTDOWN: Final = 2.0
"""Seconds that what is under way gets when the server stops. The rest is taken up again, if it is stored."""


@asynccontextmanager
async def running(
    registry: Registry, store: Store, *, sweep: float = SWEEP_MEMORY, cors: Sequence[str] = ()
) -> AsyncGenerator[ASGIApp]:
    """An engine on this machine, and the ingress and the admin to it.

    Args:
        registry: What it runs.
        store: Where it keeps everything; what is past due there goes on at once.
        sweep: Seconds between sweeps.
        cors: The origins whose pages may call handlers; ``*`` stands for all. The admin is for none.
    """
    clock, dispatcher = SystemClock(), LocalDispatcher()
    timers = LocalTimers(clock)
    engine = Engine(store=store, timers=timers, dispatcher=dispatcher, clock=clock, handlers=registry.specs)
    dispatcher.engine = timers.engine = engine
    sweeper = asyncio.create_task(_sweep(engine, sweep))
    try:
        ingress = create_ingress(engine, registry, until=lambda: clock.now() + PATIENCE)
        yield _with_admin(_with_cors(ingress, cors) if cors else ingress, Admin(engine, local(registry)))
    finally:
        sweeper.cancel()
        timers.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(engine.drain(), SHUTDOWN)


def _with_cors(ingress: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of other origins call handlers, with any headers but without cookies."""
    return CORSMiddleware(
        ingress,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
        max_age=CORS_MAX_AGE,
    )


def _with_admin(ingress: ASGIApp, admin: ASGIApp) -> ASGIApp:
    """Both on one port; on this machine everybody may do everything."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (admin if is_admin(scope["path"]) else ingress)(scope, receive, send)

    return app


async def _sweep(engine: Engine, interval: float) -> None:
    while True:
        try:
            await engine.sweeper.sweep()
        except Exception:
            log.exception("a sweep failed")
        await asyncio.sleep(interval)


def serve(names: list[str], listener: socket.socket, cors: Sequence[str]) -> int:
    """Serve the definitions in modules until told to stop.

    Args:
        names: The modules, as `discover` takes them.
        listener: Bound already, so that requests wait while one server follows another.
        cors: The origins whose pages may call handlers.

    Returns:
        The exit code.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_name_invocation)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s%(about)s"))
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), handlers=[handler])
    for noisy in ("botocore", "pynamodb", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        registry = discover(names)
    except DiscoveryError as error:
        print(f"adapter dev: {error}", file=sys.stderr, flush=True)
        return BROKEN
    return asyncio.run(_serve(registry, listener, cors))


def _name_invocation(record: logging.LogRecord) -> bool:
    """Have a line say which invocation it is about."""
    id, target = getattr(record, "invocation_id", ""), getattr(record, "target", "")
    record.about = f": {target} ({id})" if target else f" ({id})" if id else ""
    return True


async def _serve(registry: Registry, listener: socket.socket, cors: Sequence[str]) -> int:
    host, port = listener.getsockname()[:2]
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    store: Store
    if endpoint:
        store, where = await asyncio.to_thread(_dynamodb), f"DynamoDB at {endpoint}"
    else:
        store, where = MemoryStore(), "memory, gone when this stops"
    async with running(registry, store, sweep=SWEEP_DYNAMODB if endpoint else SWEEP_MEMORY, cors=cors) as ingress:
        config = uvicorn.Config(
            ingress,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=int(SHUTDOWN),
        )
        server = uvicorn.Server(config)
        for each in (signal.SIGINT, signal.SIGTERM):  # from now on; uvicorn's own begins later and ends earlier
            signal.signal(each, server.handle_exit)
        orphaned = asyncio.create_task(_stop_with_parent(server))
        url = f"http://{host}:{port}"
        print(f"==> {', '.join(registry.services)} on {url} (state: {where})", flush=True)
        for line in curl_lines(registry, url):
            print(f"    {line}", flush=True)
        await server.serve(sockets=[listener])
        orphaned.cancel()
    return 0


def _dynamodb() -> Store:
    """The store at ``AWS_ENDPOINT_URL``, its tables created where there are none."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    from adapter.aws.store import DynamoStore, create_tables, make_client

    invocations = os.environ.get("ADAPTER_INVOCATIONS_TABLE", "adapter-dev-invocations")
    objects = os.environ.get("ADAPTER_OBJECTS_TABLE", "adapter-dev-objects")
    client = make_client()
    create_tables(client, invocations=invocations, objects=objects, history=False)
    return DynamoStore(invocations, objects, client=client)


async def _stop_with_parent(server: uvicorn.Server) -> None:
    """Stop when whoever started this process is no more."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing signals that
        await asyncio.sleep(1)
    server.should_exit = True


if __name__ == "__main__":
    fd, origins, *modules = sys.argv[1:]
    sys.exit(serve(modules, socket.socket(fileno=int(fd)), origins.split()))
