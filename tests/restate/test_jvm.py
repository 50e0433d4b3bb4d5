"""The program in Java that the conformance cases run as one of the hostings."""

from __future__ import annotations

from adapter.restate.lambdas import LambdaEndpoint
from tests.restate import jvm
from tests.restate.hosting import hosted, new_key


async def test_services_in_java_are_served() -> None:
    """Tell why the other cases in Java are left out, where there is no SDK."""
    with jvm.sandboxed() as sandbox:
        async with hosted(LambdaEndpoint("sandbox", sandbox)) as host:
            assert await host.call(f"Counter/{new_key()}/add", 1) == {"oldValue": 0, "newValue": 1}
