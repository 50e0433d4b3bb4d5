"""The hostings of the conformance cases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapter.restate.endpoints import HttpEndpoint
from tests.restate.hosting import Hosted, hosted
from tests.restate.python_services import make_app


@pytest.fixture(params=["python-v5", "python-v6", "python-v7"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    """Services on an engine: the SDK's language, how it is reached, and the version of the protocol."""
    version = int(request.param[-1])
    async with HttpEndpoint("http://python", app=make_app(), version=version) as endpoint, hosted(endpoint) as host:
        yield host


@pytest.fixture
def keeps_metadata(request: pytest.FixtureRequest) -> bool:
    """Whether the version of the protocol has metadata of failures."""
    return not str(request.node.callspec.params["host"]).endswith("v5")
