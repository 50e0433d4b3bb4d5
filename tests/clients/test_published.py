"""Restate's published JavaScript client on `adapter dev`. The Python one is in tests/ingress/test_restate.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import uvicorn

from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from handlers.greeter.app import Counter, Greeter, Mailer
from handlers.signup.app import SignUp
from tests.clients import node
from tests.integration.probe.app import Board, Clerk, Till


@pytest.fixture(scope="session")
def modules() -> Path:
    return node.install()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    registry = Registry(Greeter, Counter, Mailer, SignUp, Board, Clerk, Till)
    listener = socket.create_server(("127.0.0.1", 0))
    async with running(registry, MemoryStore()) as app:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.mark.parametrize("scenario", [*node.SCENARIOS, *node.PROBE_SCENARIOS])
async def test_the_javascript_client(modules: Path, url: str, scenario: str) -> None:
    await asyncio.to_thread(node.run, modules, url, scenario, uuid4().hex[:10])
