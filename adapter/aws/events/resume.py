"""An invocation is to run here: a dispatch by another process, or a timer that EventBridge Scheduler fires.

``{"adapter": "dispatch", "id": …, "service": …, "fresh": …}``, or ``{"adapter": "dispatch", "ids": […], "service": …}``
for messages that are to begin together, or ``{"adapter": "wake", "id": …, "generation": …}``; the service is empty
where a timer's time had passed before there was a schedule for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from adapter.aws.host import Host

log = logging.getLogger("adapter")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a dispatch or a timer."""
    match event:
        case {"adapter": "dispatch", "id": str(), "service": str()} | {"adapter": "wake", "id": str()}:
            return True
        case {"adapter": "dispatch", "ids": [str(), *_], "service": str()}:
            return True
        case _:
            return False


async def handle(event: Mapping[str, Any], host: Host) -> None:
    """Resume the invocations that can run."""
    ids, service = event.get("ids") or [event["id"]], event.get("service")
    if service and service not in host.registry.services:
        # The sender does not know yet that the service has moved. The attempt would fail here, and forwarding could go
        # round in circles.
        log.warning("%s is not here any more; the sweeper dispatches anew", service, extra={"invocation_id": ids[0]})
        return
    if len(ids) > 1:
        await host.engine.resume_all(ids)
    else:
        await host.engine.resume(ids[0], fresh=event.get("fresh", False))
