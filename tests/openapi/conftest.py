"""The services of `tests.openapi.catalogue`, served in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.http import openapi
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.openapi.catalogue import Basket, Catalogue, Delivery, Internal


@pytest.fixture
def registry() -> Registry:
    return Registry(Catalogue, Basket, Delivery, Internal)


@pytest.fixture
def document(registry: Registry) -> dict[str, Any]:
    return openapi.merge(openapi.documents(registry))


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(registry, MemoryStore()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        yield http
