"""Starts invocations in other processes: by an asynchronous Lambda invoke that carries little more than the id.

A dispatch may be lost. The invocation is due again soon, and the sweeper sees to it; so nothing is raised here.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from adapter.aws.clients import Remote
from adapter.aws.directory import Directory
from adapter.engine.ports import Unavailable
from adapter.engine.records import Ref

ABSENT: Final = frozenset({
    "AccessDeniedException", "InvalidParameterValueException", "ResourceNotFoundException", "ValidationException",
})  # fmt: skip
"""Lambda's error codes for a function or version that is not there, is not of this stack, or cannot have that name."""

log = logging.getLogger("adapter")


class LambdaDispatcher:
    """The `Dispatcher` port.

    Args:
        directory: Says which function hosts a service now.
        client: A Lambda client; by default one is made at the first dispatch, or by `prepare`.
    """

    def __init__(self, directory: Directory, client: Any = None) -> None:
        self._directory = directory
        self._lambda = Remote("lambda", connections=16, attempts=3, client=client)

    def prepare(self) -> Future[Any]:
        """Make the client in a thread: while Lambda initialises the process there is CPU to spare, later a request
        waits. Return what to wait for."""
        return self._lambda.prepare()

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool) -> None:
        """`Invoke <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>`_ the version that the invocation
        began on, or, where that is empty, what hosts the service now; Lambda queues the event."""
        try:
            function = deployment or await self._function(service)
            if function is None:
                log.warning("no function hosts %s", service, extra={"invocation_id": ref.id})
                return
            await self._send(function, {"adapter": "dispatch", "id": ref.id, "service": service, "fresh": fresh})
        except (Unavailable, ClientError, BotoCoreError) as error:
            log.warning("dispatch lost, the sweeper repeats it: %s", error, extra={"invocation_id": ref.id})

    async def exists(self, deployment: str) -> bool:
        """Return whether there is a version that invocations can be dispatched to.

        Raises:
            Unavailable: If Lambda does not tell.
        """
        try:
            # Lambda looks whether there is such a version, and whether this function may invoke it.
            await self._invoke(FunctionName=deployment, InvocationType="DryRun")
        except ParamValidationError:
            return False
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ABSENT:
                return False
            raise Unavailable(f"Lambda: {error}") from error
        except BotoCoreError as error:
            raise Unavailable(f"Lambda: {error}") from error
        return True

    async def share(self, function: str, shard: int) -> None:
        """Have another process of a function clear a shard of the due index (see `adapter.aws.events.sweep`)."""
        try:
            await self._send(function, {"adapter": "sweep", "shard": shard})
        except (ClientError, BotoCoreError) as error:
            log.warning("the backlog of shard %d is left to the next sweep: %s", shard, error)

    async def _send(self, function: str, event: dict[str, Any]) -> None:
        await self._invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())

    async def _invoke(self, **request: Any) -> None:
        # The payload of the answer is empty, but until its end is read the connection serves no other request.
        await self._lambda.run(lambda client: client.invoke(**request)["Payload"].read())

    async def _function(self, service: str) -> str | None:
        listed = await self._directory.lookup(service)
        return listed.function if listed else None
