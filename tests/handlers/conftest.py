"""Every test here runs twice: as handlers run, and with each of their awaits suspended and replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from adapter import Definition
from adapter.testing import Environment

Environments = Callable[..., Environment]


@pytest.fixture(params=["normal", "replay"])
async def environment(request: pytest.FixtureRequest) -> AsyncIterator[Environments]:
    """Makes an environment for some definitions."""
    async with AsyncExitStack() as stack:
        made: list[Environment] = []

        def make(*definitions: Definition | Callable[[], Definition]) -> Environment:
            made.append(Environment(*definitions, replay=request.param == "replay"))
            return made[-1]

        yield make
        for env in made:
            await stack.enter_async_context(env)
