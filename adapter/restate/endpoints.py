"""Ways to an SDK's endpoint: by HTTP, an app in this process, or a Lambda function; each in a module of its own.

A way is one method, which sends a request and returns the answer; discovery and exchanges are built on it. A way that
can have streams in both directions has another one, which opens them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from adapter.errors import AdapterError, DefinitionError
from adapter.registry import BoundService
from adapter.restate.answers import EndpointError, quoted, refusal
from adapter.restate.conversation import Stream
from adapter.restate.manifest import ABORT, ACCEPT, INACTIVITY, read_manifest, remote_services
from adapter.restate.messages import VERSIONS

if TYPE_CHECKING:
    from adapter.restate.identity import Identity


PATIENCE: Final = (INACTIVITY + ABORT).total_seconds()
"""Seconds of silence after which an exchange is given up, if its handler has no longer limits."""

DISCOVERY: Final = 10.0
"""Seconds for the answer to a discovery."""


class UnreachableError(AdapterError):
    """An endpoint cannot be discovered. The message says why and what to do."""


class Endpoint(ABC):
    """A way to an SDK's endpoint.

    Args:
        name: The endpoint's name in error messages: its URL, or the function.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
        duplex: False to use requests and responses only, also where both sides can have streams.
    """

    streams: ClassVar[bool] = False
    """Whether this way can have streams in both directions."""

    advice: ClassVar[str] = "start the endpoint, or correct its name"
    """What to do if the endpoint does not answer."""

    key: ClassVar[str] = "--identity-key"
    """Where the key is given that requests are signed with."""

    def __init__(
        self, name: str, *, version: int | None = None, identity: Identity | None = None, duplex: bool = True
    ) -> None:
        self.name = name
        self.duplex = self.silent = False
        self._may_stream = duplex
        self._identity = identity
        self._asked = version
        self._patience = {"/discover": DISCOVERY}
        self.version = version or VERSIONS[-1]

    @abstractmethod
    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of the answer.

        Raises:
            EndpointError: If there is no answer, or not a whole one.
        """

    async def discover(self) -> Mapping[str, BoundService]:
        """Ask the endpoint what it offers, and return its services.

        Raises:
            UnreachableError: If it does not answer, or answers with something else.
            DefinitionError: If it offers what cannot be served here.
        """
        return self.services(await self.manifest())

    async def manifest(self) -> bytes:
        """Return the endpoint's manifest, as JSON.

        Raises:
            UnreachableError: If it does not answer, or answers with something else.
        """
        try:
            status, body = await self.send("GET", "/discover", {"accept": ACCEPT, **self._signed("/discover")}, b"")
        except EndpointError as error:
            raise UnreachableError(f"{error}: {self.advice}") from error
        if status != 200:
            raise UnreachableError(
                f"{self.name}/discover answers {status} {quoted(body)}: this is not an SDK's endpoint, or it asks "
                f"for a signature by another identity key ({self.key})"
            )
        return body

    def services(self, manifest: bytes) -> Mapping[str, BoundService]:
        """Return the services of a manifest.

        Raises:
            DefinitionError: If it offers what cannot be served here.
        """
        try:
            offered = read_manifest(manifest)
        except DefinitionError as error:
            raise DefinitionError(f"{self.name}: {error}") from None
        if self._asked is None:
            self.version = offered.version
        elif not offered.min_protocol_version <= self._asked <= offered.max_protocol_version:
            raise DefinitionError(f"{self.name} does not speak version {self._asked} of the service protocol")
        self.duplex = self.streams and self._may_stream and offered.protocol_mode == "BIDI_STREAM"
        services = remote_services(offered, self)
        for service in services.values():
            for handler in service.handlers.values():
                options = handler.spec.options
                limit = options.abort_timeout or (options.inactivity_timeout and options.inactivity_timeout + ABORT)
                path = _invoke(service.name, handler.name)
                self._patience[path] = max(PATIENCE, limit.total_seconds()) if limit else PATIENCE
        return services

    def patience(self, path: str) -> float:
        """Return after how many seconds of silence a request to a path is given up."""
        return self._patience.get(path, PATIENCE)

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send an invocation's journal, and return the answer.

        Raises:
            EndpointError: If there is no answer.
        """
        path = _invoke(service, handler)
        status, answer = await self.send("POST", path, self._headers(path), body)
        if status != 200:
            raise refusal(self.name + path, status, answer)
        return answer

    async def open(self, service: str, handler: str) -> Stream:
        """Open a stream in both directions for an invocation.

        Raises:
            EndpointError: If the endpoint cannot be reached.
        """
        path = _invoke(service, handler)
        return await self.stream(path, self._headers(path))

    async def stream(self, path: str, headers: Mapping[str, str]) -> Stream:
        """Begin a request whose body and answer are under way at the same time. Only ways that `streams` have it.

        Raises:
            EndpointError: If the endpoint cannot be reached.
        """
        raise NotImplementedError

    def _headers(self, path: str) -> dict[str, str]:
        return {"content-type": f"application/vnd.restate.invocation.v{self.version}", **self._signed(path)}

    def _signed(self, path: str) -> dict[str, str]:
        return self._identity.headers(path) if self._identity is not None else {}


def _invoke(service: str, handler: str) -> str:
    return f"/invoke/{service}/{handler}"
