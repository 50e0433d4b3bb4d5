"""A server in memory for requests that schemathesis prepares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests

from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.fuzz.services import Cart, Delivery, Shop


@pytest.fixture(scope="module")
def send() -> Iterator[Any]:
    """Send a prepared request to the server, which runs only while a request is under way."""
    with asyncio.Runner() as runner:
        server = running(Registry(Shop, Cart, Delivery), MemoryStore())
        app = runner.run(server.__aenter__())
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

        def send(request: requests.PreparedRequest) -> httpx.Response:
            headers = [(_bytes(name), _bytes(value)) for name, value in request.headers.items()]
            body = request.body or b""
            return runner.run(http.request(str(request.method), str(request.url), content=body, headers=headers))

        yield send
        runner.run(http.aclose())
        runner.run(server.__aexit__(None, None, None))


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
