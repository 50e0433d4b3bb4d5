"""The hostings of the conformance cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from adapter.restate.apps import AppEndpoint
from adapter.restate.endpoints import Endpoint
from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from infra import emulator
from tests.restate import golang, jvm, node
from tests.restate.hosting import Hosted, hosted
from tests.restate.python_services import app
from tests.restate.sandbox import LambdaSandbox, sandboxed_python
from tests.restate.serving import served_python

HOSTINGS = [
    *(f"python app in process, {mode}, v{version}" for mode in ("requests", "duplex") for version in (5, 6, 7)),
    *(f"typescript over http, {mode}, v{version}" for mode in ("requests", "duplex") for version in (5, 6, 7)),
    *(f"python over http, {mode}, v{version}" for mode in ("requests", "duplex") for version in (5, 6, 7)),
    *(f"python over http/1.1, requests, v{version}" for version in (5, 6, 7)),
    "typescript over http/1.1, requests, v7",
    *(f"typescript on lambda, requests, v{version}" for version in (5, 6, 7)),
    *(f"python on lambda, requests, v{version}" for version in (5, 6, 7)),
]

if golang.GO:
    HOSTINGS += [
        *(f"go over http, {mode}, v{version}" for mode in ("requests", "duplex") for version in (5, 6, 7)),
        *(f"go over http/1.1, requests, v{version}" for version in (5, 6, 7)),
        *(f"go on lambda, requests, v{version}" for version in (5, 6, 7)),
    ]

if jvm.CLASSPATH:
    HOSTINGS += [f"java on lambda, requests, v{version}" for version in jvm.VERSIONS]


@pytest.fixture(scope="session")
def typescript() -> Iterator[str]:
    """The URL of the TypeScript services."""
    with node.served() as served:
        yield served.url


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """The URL of the Python services."""
    with served_python("tests.restate.python_services:app") as served:
        yield served.url


@pytest.fixture(scope="session")
def typescript_http1() -> Iterator[str]:
    """The URL of the TypeScript services on a server that speaks HTTP/1.1 only."""
    with node.served(port="http1") as served:
        yield served.url


@pytest.fixture(scope="session")
def python_http1() -> Iterator[str]:
    """The URL of the Python services on a server that speaks HTTP/1.1 only."""
    with served_python("tests.restate.python_services:app", server="uvicorn") as served:
        yield served.url


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LambdaSandbox]:
    """The Lambda handler of the TypeScript services."""
    with node.sandboxed() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def python_sandbox() -> Iterator[LambdaSandbox]:
    """The Lambda handler of the Python services."""
    with sandboxed_python("tests.restate.python_services:app") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def go() -> Iterator[str]:
    """The URL of the Go services."""
    with golang.served() as served:
        yield served.url


@pytest.fixture(scope="session")
def go_http1() -> Iterator[str]:
    """The URL of the Go services on a server that speaks HTTP/1.1 only."""
    with golang.served(port="http1") as served:
        yield served.url


@pytest.fixture(scope="session")
def go_sandbox() -> Iterator[LambdaSandbox]:
    """The Lambda handler of the Go services."""
    with golang.sandboxed() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def java_sandbox() -> Iterator[LambdaSandbox]:
    """The Lambda handler of the Java services."""
    with jvm.sandboxed() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an emulator of DynamoDB."""
    with emulator.running(tmp_path_factory.mktemp("emulator")) as process:
        yield process.url


@pytest.fixture(params=HOSTINGS)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    """Services on an engine: the SDK's language, how it is reached, the mode, and the protocol's version."""
    how, mode, version = request.param.split(", ")
    options: Any = {"version": int(version[1:]), "duplex": mode == "duplex"}
    async with AsyncExitStack() as stack:
        endpoint: Endpoint
        if how == "python app in process":
            endpoint = AppEndpoint(app, **options)
        elif "over http" in how:
            language, _, over = how.split()
            url = request.getfixturevalue(f"{language}_http1" if over == "http/1.1" else language)
            endpoint = await stack.enter_async_context(HttpEndpoint(url, **options))
        else:
            language = how.split()[0]
            sandbox = request.getfixturevalue("sandbox" if language == "typescript" else f"{language}_sandbox")
            endpoint = LambdaEndpoint("sandbox", sandbox, version=options["version"])
        yield await stack.enter_async_context(hosted(endpoint))


@pytest.fixture
def keeps_metadata(request: pytest.FixtureRequest) -> bool:
    """Whether the version of the protocol has metadata of failures."""
    return not str(request.node.callspec.params["host"]).endswith("v5")


@pytest.fixture
def tells_idempotency_keys(request: pytest.FixtureRequest) -> bool:
    """Whether the SDK reads an invocation's idempotency key from this version of the protocol."""
    return str(request.node.callspec.params["host"]).endswith("v7")


@pytest.fixture
def keeps_streams(request: pytest.FixtureRequest) -> bool:
    """Whether a handler's code goes on where it is after a step."""
    return "duplex" in str(request.node.callspec.params["host"])


@pytest.fixture
def waits_on_streams(request: pytest.FixtureRequest) -> bool:
    """Whether a handler's code goes on where it is after what it awaited."""
    return str(request.node.callspec.params["host"]) in ("typescript over http, duplex, v7", "go over http, duplex, v7")
