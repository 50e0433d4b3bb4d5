"""The registrar's requests at deployment (see `adapter.aws.registration`).

``{"adapter": "register", "function": …}`` or ``{"adapter": "withdraw", "function": …}``, with the ARN of the alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapter.aws import registration
from adapter.aws.host import Host


def recognises(event: Mapping[str, Any]) -> bool:
    """Return True if the event is the registrar's."""
    match event:
        case {"adapter": "register" | "withdraw", "function": str()}:
            return True
        case _:
            return False


async def handle(event: Mapping[str, Any], host: Host) -> dict[str, list[str]]:
    """Register or withdraw the function's services, and return their names."""
    function = event["function"]
    if event["adapter"] == "withdraw":
        await registration.withdraw(host.directory, function)
    else:
        deployment = host.engine.deployment.id
        await registration.register(host.registry, host.directory, function, deployment)
    return {"services": list(host.registry.services)}
