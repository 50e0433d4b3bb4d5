"""Ways to an SDK's endpoint: over HTTP/2, an ASGI app in this process, or a function (`adapter.restate.lambdas`).

A way is one method, which sends a request and returns the answer; discovery and exchanges are built on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

from adapter.errors import AdapterError, DefinitionError
from adapter.registry import BoundService
from adapter.restate.answers import EndpointError
from adapter.restate.manifest import ACCEPT, read_manifest, remote_services
from adapter.restate.messages import VERSIONS

CONNECT: Final = 5.0
"""Seconds for a connection to an endpoint."""

SILENCE: Final = 120.0
"""Seconds within which an endpoint has to send something. A handler's own limit is its ``abort_timeout``."""

MAX_ANSWER: Final = 32 * 1024 * 1024
"""The largest answer that is read, in bytes."""

SAYS: Final = 300
"""Bytes that are quoted of an endpoint's error page."""

AsgiApp = Any
"""An ASGI app, such as ``restate.app(...)`` of Restate's Python SDK."""


class UnreachableError(AdapterError):
    """An endpoint cannot be discovered. The message says why and what to do."""


class Endpoint(ABC):
    """A way to an SDK's endpoint.

    Args:
        name: The endpoint's name in error messages: its URL, or the function.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
    """

    def __init__(self, name: str, *, version: int | None = None) -> None:
        self.name = name
        self._asked = version
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
            status, body = await self.send("GET", "/discover", {"accept": ACCEPT}, b"")
        except EndpointError as error:
            raise UnreachableError(f"{error}: start the endpoint, or correct its name") from error
        if status != 200:
            raise UnreachableError(
                f"{self.name}/discover answers {status} {_quoted(body)}: this is not an SDK's endpoint, or it asks "
                "for a signature (give its identity key)"
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
        return remote_services(offered, self.exchange)

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send an invocation's journal, and return the answer.

        Raises:
            EndpointError: If there is no answer, or not one of the protocol.
        """
        path = f"/invoke/{service}/{handler}"
        kind = f"application/vnd.restate.invocation.v{self.version}"
        status, answer = await self.send("POST", path, {"content-type": kind}, body)
        if status != 200:
            raise EndpointError(f"{self.name}{path} answers {status} {_quoted(answer)}{_HINTS.get(status, '')}")
        return answer


_HINTS: Final[Mapping[int, str]] = {
    401: ": its identity key is another",
    404: ": it has no such handler any more",
    415: ": it does not speak this version of the service protocol",
}


def _quoted(body: bytes) -> str:
    return repr(body[:SAYS].decode(errors="replace"))


class HttpEndpoint(Endpoint):
    """An endpoint that is reached by HTTP: ``http://localhost:9080``, or an ASGI app in this process.

    Args:
        url: The endpoint's URL; its path is a prefix of the protocol's paths.
        app: The ASGI app to call in place of a server.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
    """

    def __init__(self, url: str, *, app: AsgiApp = None, version: int | None = None) -> None:
        super().__init__(url.rstrip("/"), version=version)
        # Servers of SDKs speak HTTP/2 without TLS by prior knowledge.
        transport = httpx.ASGITransport(app) if app is not None else httpx.AsyncHTTPTransport(http1=False, http2=True)
        self._client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(SILENCE, connect=CONNECT))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        answer = bytearray()
        try:
            async with self._client.stream(method, self.name + path, content=body, headers=headers) as response:
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise EndpointError(f"{self.name}{path} answers with more than {MAX_ANSWER} bytes")
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EndpointError(f"{self.name}{path} does not answer ({reason})") from error
        return response.status_code, bytes(answer)
