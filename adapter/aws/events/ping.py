"""``{"adapter": "ping"}``: asks whether the function is throttled (see `LambdaDispatcher.is_throttled`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapter.aws.host import Host


def recognises(event: Mapping[str, Any]) -> bool:
    """Return True if it is a ping."""
    return event.get("adapter") == "ping"


async def handle(event: Mapping[str, Any], host: Host) -> dict[str, str]:
    """Answer."""
    return {}
