"""What the admin's operations work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from adapter.engine.engine import Engine
from adapter.errors import TerminalError
from adapter.http.admin import models as m
from adapter.http.admin.ports import DeadLetters, Endpoints, Services, Versions
from adapter.http.services import Deployed


class Stack:
    """What the operations work with.

    Args:
        engine: Acts on what its store has, wherever that runs.
        services: The services of the stack.
        versions: The versions of its functions; ``None`` if there is one process and nothing else.
        dead_letters: The messages that could not be delivered; ``None`` if nothing can get lost.
        last_sweep: Returns when a sweep last ended, in milliseconds; by default, when one began in this process.
        requests: Returns the requests of the last minute; ``None`` if they are not counted.
        logs: Returns the latest log lines of an invocation; ``None`` if the process does not keep them.
        endpoints: Serves further endpoints of SDKs; ``None`` if services are deployed.
    """

    def __init__(
        self,
        engine: Engine,
        services: Services,
        versions: Versions | None = None,
        dead_letters: DeadLetters | None = None,
        last_sweep: Callable[[], Awaitable[int | None]] | None = None,
        requests: Callable[[], m.Requests] | None = None,
        logs: Callable[[str], list[m.LogLine]] | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        self.engine = engine
        self.services = services
        self.versions = versions
        self.dead_letters = dead_letters
        self.last_sweep = last_sweep
        self.requests = requests
        self.logs = logs
        self.endpoints = endpoints

    async def service(self, name: str) -> Deployed:
        """Return a service.

        Raises:
            TerminalError: If there is none.
        """
        for each in await self.services.listed():
            if each.name == name:
                return each
        raise TerminalError(f"there is no service {name[:100]!r}: `adapter services list` lists them", code=404)

    async def service_names(self, wanted: Collection[str] = ()) -> list[str]:
        """Return the names of the services whose invocations are listed: those wanted, or all."""
        return sorted(wanted) or list(await self.services.names())

    async def has_deployment(self, name: str) -> bool:
        """Return True if invocations can continue on a deployment."""
        return name == self.engine.deployment.id or (self.versions is not None and await self.versions.exists(name))
