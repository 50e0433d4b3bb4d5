"""Starts invocations in other processes: by an asynchronous Lambda invoke that carries little more than the id.

A dispatch may be lost. The invocation is due again soon, and the sweeper sees to it; so nothing is raised here.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final
from urllib.parse import quote

from adapter.aws.directory import Directory
from adapter.aws.wire import Api, AwsError, WireError
from adapter.engine.ports import Unavailable
from adapter.engine.records import Ref

CONNECTIONS: Final = 16
"""How many dispatches are under way at a time; more wait."""

ABSENT: Final = frozenset({
    "AccessDeniedException", "InvalidParameterValueException", "ResourceNotFoundException", "ValidationException",
})  # fmt: skip
"""Lambda's error codes for a function or version that is not there, is not of this stack, or cannot have that name."""

log = logging.getLogger("adapter")


class LambdaDispatcher:
    """The `Dispatcher` port.

    Args:
        directory: Says which function hosts a service now.
        api: Lambda's API; by default where the environment says.
    """

    def __init__(self, directory: Directory, api: Api | None = None) -> None:
        self._directory = directory
        self._api = api or Api("lambda", connections=CONNECTIONS, attempts=3)

    async def prepare(self) -> None:
        """Connect to Lambda now, before the first event; a failure is left to the first dispatch."""
        try:
            await self._api.open()
        except WireError as error:
            log.warning("connected later: %s", error)

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool) -> None:
        """`Invoke <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>`_ the version that the invocation
        began on, or, where that is empty, what hosts the service now; Lambda queues the event."""
        try:
            function = deployment or await self._function(service)
            if function is None:
                log.warning("no function hosts %s", service, extra={"invocation_id": ref.id})
                return
            await self._send(function, {"adapter": "dispatch", "id": ref.id, "service": service, "fresh": fresh})
        except (Unavailable, WireError) as error:
            log.warning("dispatch lost, the sweeper repeats it: %s", error, extra={"invocation_id": ref.id})

    async def exists(self, deployment: str) -> bool:
        """Return whether there is a version that invocations can be dispatched to.

        Raises:
            Unavailable: If Lambda does not tell.
        """
        if not deployment:
            return False
        try:
            # Lambda looks whether there is such a version, and whether this function may invoke it.
            await self._invoke(deployment, "DryRun")
        except WireError as error:
            if isinstance(error, AwsError) and error.code in ABSENT:
                return False
            raise Unavailable(f"Lambda: {error}") from error
        return True

    async def share(self, function: str, shard: int) -> None:
        """Have another process of a function clear a shard of the due index (see `adapter.aws.events.sweep`)."""
        try:
            await self._send(function, {"adapter": "sweep", "shard": shard})
        except WireError as error:
            log.warning("the backlog of shard %d is left to the next sweep: %s", shard, error)

    async def _send(self, function: str, event: dict[str, Any]) -> None:
        await self._invoke(function, "Event", json.dumps(event).encode())

    async def _invoke(self, function: str, kind: str, payload: bytes = b"") -> None:
        path = f"/2015-03-31/functions/{quote(function, safe='')}/invocations"
        await self._api.send("Invoke", "POST", path, headers={"x-amz-invocation-type": kind}, body=payload)

    async def _function(self, service: str) -> str | None:
        listed = await self._directory.lookup(service)
        return listed.function if listed else None
