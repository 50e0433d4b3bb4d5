"""The admin keeps to its OpenAPI document, whatever is sent: schemathesis makes the requests and checks the answers.

Answers fit their schemas, and nothing is a 500. A request that fits the document may be refused all the same: for an
invocation that does not exist, or a filter that contradicts itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from schemathesis.checks import CHECKS

from adapter.http.admin.openapi import document
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.fuzz.bounds import EXAMPLES, bounded
from tests.fuzz.services import Cart, Delivery, Shop

schema = schemathesis.openapi.from_dict(
    document(),
    config=schemathesis.Config.from_dict({"generation": {"deterministic": not EXAMPLES, "database": "none"}}),
)


@pytest.fixture(scope="module")
def send() -> Iterator[Any]:
    """Sends a prepared request to the development server."""
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


@schema.parametrize()
@bounded(4)
def test_an_operation(case: schemathesis.Case, send: Any) -> None:
    request = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    response = send(request)
    assert response.status_code < 500, response.text
    excluded = ("positive_data_acceptance", "missing_required_header", "unsupported_method")
    case.validate_response(response, excluded_checks=[CHECKS.get_one(name) for name in excluded])
