"""Registers a deployment: which services it has, and on which function and version.

The shared stack's registrar asks for it at each deployment (see `adapter.project.registrar`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from adapter.aws.directory import Directory
from adapter.engine.ports import Unavailable
from adapter.registry import Registry

PAUSES: Final = (0.1, 0.5, 2.0)
"""Seconds between the tries to register."""

log = logging.getLogger("adapter")


async def register(registry: Registry, directory: Directory, function: str, deployment: str) -> None:
    """List a function's services; try again if DynamoDB does not answer, as a failure rolls the deployment back.

    Args:
        function: The ARN of the alias, where dispatches go.
        deployment: The version.

    Raises:
        Unavailable: If DynamoDB does not answer several times.
    """
    for pause in PAUSES:
        try:
            await directory.register(registry, function, deployment)
        except Unavailable as error:
            log.warning("registration is tried again: %s", error)
            await asyncio.sleep(pause)
        else:
            break
    else:
        await directory.register(registry, function, deployment)
    log.info("registered: %s on %s", ", ".join(registry.services), deployment)


async def withdraw(directory: Directory, function: str) -> None:
    """Remove a function's services from the list.

    Raises:
        Unavailable: If DynamoDB does not answer.
    """
    await directory.withdraw(function)
    log.info("withdrawn: %s", function)
