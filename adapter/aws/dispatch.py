"""Starts invocations in other processes: by an asynchronous Lambda invoke that carries little more than the ids.

A dispatch may be lost. The invocation is due again soon, and the sweeper sees to it; so nothing is raised here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

from adapter.aws.directory import Directory
from adapter.aws.wire import Api, AwsError, WireError
from adapter.engine.piles import Piles
from adapter.engine.ports import Unavailable
from adapter.engine.records import Ref

CONNECTIONS: Final = 16
"""How many dispatches are under way at a time; more wait."""

ABSENT: Final = frozenset({
    "AccessDeniedException", "InvalidParameterValueException", "ResourceNotFoundException", "ValidationException",
})  # fmt: skip
"""Lambda's error codes for a function or version that is not there, is not of this stack, or cannot have that name."""

THROTTLED: Final = frozenset({"TooManyRequestsException", "EC2ThrottledException"})
"""Lambda's error codes for a function that has no concurrency left, or no network to run in."""

ASKED_EVERY: Final = 60.0
"""Seconds for which it is remembered whether a function is throttled."""

log = logging.getLogger("adapter")


class LambdaDispatcher:
    """The `Dispatcher` port.

    Args:
        directory: Says which function hosts a service now.
        api: Lambda's API; by default where the environment says.
        clock: Seconds.
    """

    def __init__(
        self, directory: Directory, api: Api | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._throttled: dict[str, tuple[float, bool]] = {}
        self._directory = directory
        self._piles: Piles[tuple[str, str, int]] = Piles()
        self._api = api or Api("lambda", connections=CONNECTIONS, attempts=3)

    async def prepare(self) -> None:
        """Connect to Lambda now, before the first event; a failure is left to the first dispatch."""
        try:
            await self._api.open()
        except WireError as error:
            log.warning("connected later: %s", error)

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        """`Invoke <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>`_ the version that the invocation
        began on, or, where that is empty, what hosts the service now; Lambda queues the event. Invocations that are
        dispatched at the same time share events, within their batches."""
        batches = await self._piles.add((service, deployment, batch), ref.id, batch)
        await asyncio.gather(*(self._dispatch(ids, service, deployment, fresh) for ids in batches))

    async def _dispatch(self, ids: Sequence[str], service: str, deployment: str, fresh: bool) -> None:
        event: dict[str, Any] = {"adapter": "dispatch", "service": service}
        event |= {"id": ids[0], "fresh": fresh} if len(ids) == 1 else {"ids": ids}
        about = {"invocation_id": ids[0]}
        try:
            function = deployment or await self._function(service)
            if function is None:
                log.warning("no function hosts %s", service, extra=about)
                return
            await self._send(function, event)
        except (Unavailable, WireError) as error:
            log.warning("dispatch of %d lost, the sweeper repeats it: %s", len(ids), error, extra=about)

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

    async def is_throttled(self, service: str, deployment: str) -> bool:
        """Return True if Lambda refuses to run what hosts a service, or a version of it, for want of concurrency.

        Lambda accepts asynchronous events in any case, so this invokes the function and waits. Each function is asked
        once a minute at most.
        """
        try:
            function = deployment or await self._function(service)
        except Unavailable:
            return False
        if function is None:
            return False
        at, answer = self._throttled.get(function, (-ASKED_EVERY, False))
        if self._clock() - at >= ASKED_EVERY:
            try:
                await self._invoke(function, "RequestResponse", b'{"adapter": "ping"}')
                answer = False
            except WireError as error:
                answer = isinstance(error, AwsError) and error.code in THROTTLED
            self._throttled[function] = self._clock(), answer
        return answer

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
