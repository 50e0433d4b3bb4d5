"""What a function is invoked with: one module for each kind of event.

Each says whether it ``recognises`` an event, and how to ``handle`` it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from adapter.aws.events import deployment, http, ping, resume, sweep
from adapter.aws.host import Host
from adapter.aws.lambda_context import LambdaContext
from adapter.engine.engine import Engine
from adapter.errors import AdapterError

MARGIN: Final = 500
"""Milliseconds before Lambda ends the process at which work ends by itself."""


class UnknownEventError(AdapterError):
    """A function was invoked with something that it is not for."""


class Kind(Protocol):
    """A kind of event; the modules here are."""

    def recognises(self, event: Mapping[str, Any]) -> bool:
        """Whether the event is of this kind."""
        ...

    async def handle(self, event: Mapping[str, Any], host: Host) -> Any:
        """Handle the event. The result is the answer to the function's invoker."""
        ...


KINDS: Final = tuple(cast("Kind", module) for module in (http, resume, sweep, deployment, ping))


async def serve(event: object, context: LambdaContext, host: Host) -> Any:
    """Handle an event and all that comes of it in this process.

    Raises:
        UnknownEventError: If it is of no kind.
    """
    fields = cast("dict[str, Any]", event) if isinstance(event, dict) else {}
    kind = next((kind for kind in KINDS if kind.recognises(fields)), None)
    if kind is None:
        raise UnknownEventError(
            "neither a request by an HTTP API (payload format 2.0), nor a dispatch, a timer, a sweep or a deployment: "
            f"{json.dumps(event)[:200]}"
        )
    host.engine.process.deadline = host.engine.process.now() + context.get_remaining_time_in_millis() - MARGIN
    host.observed.begin(context.aws_request_id)
    try:
        return await kind.handle(fields, host)
    finally:
        await settle(host.engine)
        host.observed.end()


async def settle(engine: Engine) -> None:
    """Wait until nothing is under way: a process is frozen once it has answered, and would go on, out of date, at the
    next request.

    What does not end in time (a step that takes too long) is ended by Lambda with the process, and taken up again when
    its lease is over.
    """
    await engine.process.drain()
    while cancelled := [task for task in asyncio.all_tasks() if task.cancelling() and not task.done()]:
        await asyncio.wait(cancelled)
