"""The program in Go that the conformance cases, and others, run as one of the hostings."""

from __future__ import annotations

from adapter.restate.http import HttpEndpoint
from tests.restate import golang
from tests.restate.hosting import hosted, new_key


async def test_services_in_go_are_served() -> None:
    """Tell why the other cases in Go are left out, where there is no Go or its modules cannot be had."""
    with golang.served() as served:
        async with HttpEndpoint(served.url) as endpoint, hosted(endpoint) as host:
            assert await host.call(f"Counter/{new_key()}/add", 1) == {"oldValue": 0, "newValue": 1}
