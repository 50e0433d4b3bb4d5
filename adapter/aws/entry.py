"""The Lambda entry point.

Importing this is cheap: what runs on AWS is imported when there is AWS to run on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from adapter.codec import Codec
from adapter.definitions import Definition
from adapter.errors import DefinitionError
from adapter.garbage import settle
from adapter.hosting import hosting
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.aws.host import Host
    from adapter.restate.apps import AsgiApp


class LambdaContext(Protocol):
    """What Lambda says of an invocation: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


class LambdaEntry:
    """What Lambda calls; `lambda_handler` makes it.

    Attributes:
        registry: The services in it.
    """

    def __init__(self, registry: Registry, connect: Callable[[Registry], Host] | None = None) -> None:
        self.registry = registry
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._host: Host | None = None
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self._start()  # now, while Lambda initialises the process: then it has CPU to spare, later a request waits

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """Handle an event, to its end: when this returns, nothing is under way any more.

        Raises:
            UnknownEventError: If it is of no kind that is known here.
        """
        from adapter.aws.events import serve

        loop, host = self._start()
        return loop.run_until_complete(serve(event, context, host))

    def _start(self) -> tuple[asyncio.AbstractEventLoop, Host]:
        if self._loop is None or self._host is None:
            host = (self._connect or _connect)(self.registry)
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(host.prepare())
            self._host = host
            settle()
        return self._loop, self._host


def _connect(registry: Registry) -> Host:
    import adapter.aws.events  # noqa: F401  # pyright: ignore[reportUnusedImport] - now, not at the first event
    from adapter.aws.host import connect

    return connect(registry)


def lambda_handler(
    *definitions: Definition | Callable[[], Definition] | AsgiApp, codec: Codec | None = None
) -> LambdaEntry:
    """Make a Lambda function of services, virtual objects and workflows.

    It serves API Gateway, EventBridge Scheduler, the courier and the registrar of the shared stack, and its like in
    other functions. It reads its surroundings (tables, queues, schedule group) from the variable ``ADAPTER_STACK``.

    Args:
        *definitions: Classes, or instances, which may carry dependencies; or ``restate.app(...)`` of Restate's Python
            SDK, whose handlers then run here.
        codec: Encodes what the handlers store, for example to encrypt it. All functions of a stack that call each
            other need the same.

    Raises:
        DefinitionError: If one makes no sense, or two have one name.

    >>> from adapter import Context, Service, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> entry = lambda_handler(Greeter)
    >>> list(entry.registry.services)
    ['Greeter']
    """
    if not definitions:
        raise DefinitionError("lambda_handler() was given no definition: pass the classes that it serves, one by one")
    registry = hosting(*definitions)
    registry.codec = codec
    return LambdaEntry(registry)
