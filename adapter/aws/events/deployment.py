"""CloudFormation's request to register a deployment (see `adapter.aws.registration`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from adapter.aws import registration
from adapter.aws.host import Host


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a custom resource's request."""
    return "RequestType" in event and "ResponseURL" in event


async def handle(event: Mapping[str, Any], host: Host) -> None:
    """Register or withdraw, and answer."""
    await asyncio.to_thread(registration.run, event, host.registry, host.directory, host.engine.deployment)
