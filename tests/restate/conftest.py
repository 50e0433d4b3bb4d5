"""The hostings of the conformance cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from adapter.restate.apps import AppEndpoint
from adapter.restate.endpoints import Endpoint
from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from tests.restate import node
from tests.restate.hosting import Hosted, hosted
from tests.restate.python_services import make_app

HOSTINGS = [
    "python app in process, v5",
    "python app in process, v6",
    "python app in process, v7",
    "typescript over http, v5",
    "typescript over http, v6",
    "typescript over http, v7",
    "typescript on lambda, v7",
]


@pytest.fixture(scope="session")
def typescript() -> Iterator[str]:
    """The URL of the TypeScript services."""
    with node.served() as url:
        yield url


@pytest.fixture(scope="session")
def sandbox() -> Iterator[node.LambdaSandbox]:
    """The Lambda handler of the TypeScript services."""
    with node.sandboxed() as sandbox:
        yield sandbox


@pytest.fixture(params=HOSTINGS)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    """Services on an engine: the SDK's language, how it is reached, and the version of the protocol."""
    how, version = request.param[:-4], int(request.param[-1])
    async with AsyncExitStack() as stack:
        endpoint: Endpoint
        if how == "python app in process":
            endpoint = AppEndpoint(make_app(), version=version)
        elif how == "typescript over http":
            url = request.getfixturevalue("typescript")
            endpoint = await stack.enter_async_context(HttpEndpoint(url, version=version))
        else:
            endpoint = LambdaEndpoint("sandbox", request.getfixturevalue("sandbox"), version=version)
        yield await stack.enter_async_context(hosted(endpoint))


@pytest.fixture
def keeps_metadata(request: pytest.FixtureRequest) -> bool:
    """Whether the version of the protocol has metadata of failures."""
    return not str(request.node.callspec.params["host"]).endswith("v5")
