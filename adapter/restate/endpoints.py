"""Ways to an SDK's endpoint: over HTTP/2, or an ASGI app in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

from adapter.errors import AdapterError, DefinitionError
from adapter.registry import BoundService
from adapter.restate.answers import EndpointError
from adapter.restate.manifest import ACCEPT, Manifest, read_manifest, remote_services
from adapter.restate.messages import VERSIONS

CONNECT: Final = 5.0
"""Seconds for a connection to an endpoint."""

SILENCE: Final = 120.0
"""Seconds within which an endpoint has to send something. A handler's own limit is its ``abort_timeout``."""

MAX_ANSWER: Final = 32 * 1024 * 1024
"""The largest answer that is read, in bytes."""

SAYS: Final = 300
"""Characters that are quoted of an endpoint's error page."""

AsgiApp = Any
"""An ASGI app, such as ``restate.app(...)`` of Restate's Python SDK."""


class UnreachableError(AdapterError):
    """An endpoint cannot be discovered. The message says why and what to do."""


class HttpEndpoint:
    """An endpoint that is reached by HTTP: ``http://localhost:9080``, or an ASGI app in this process.

    Args:
        url: The endpoint's URL; its path is a prefix of the protocol's paths.
        app: The ASGI app to call in place of a server.
        version: The version of the protocol to speak; the highest that the manifest offers, if not given.
    """

    def __init__(self, url: str, *, app: AsgiApp = None, version: int | None = None) -> None:
        self.url = url.rstrip("/")
        self._asked = version
        self.version = version or VERSIONS[-1]
        # Servers of SDKs speak HTTP/2 without TLS by prior knowledge.
        transport = httpx.ASGITransport(app) if app is not None else httpx.AsyncHTTPTransport(http1=False, http2=True)
        self._client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(SILENCE, connect=CONNECT))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def discover(self) -> Mapping[str, BoundService]:
        """Ask the endpoint what it offers, and return its services.

        Raises:
            UnreachableError: If it does not answer, or answers with something else.
            DefinitionError: If it offers what cannot be served here.
        """
        manifest = await self._manifest()
        if self._asked is None:
            self.version = manifest.version
        elif not manifest.min_protocol_version <= self._asked <= manifest.max_protocol_version:
            raise DefinitionError(f"{self.url} does not speak version {self._asked} of the service protocol")
        return remote_services(manifest, self)

    async def _manifest(self) -> Manifest:
        try:
            response = await self._client.get(f"{self.url}/discover", headers={"accept": ACCEPT})
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"no endpoint answers at {self.url} ({_reason(error)}): start it, or correct the URL"
            ) from error
        if response.status_code != 200:
            raise UnreachableError(
                f"{self.url}/discover answers {response.status_code} {response.text[:SAYS]!r}: this is not an SDK's "
                "endpoint, or it asks for a signature (give its identity key)"
            )
        try:
            return read_manifest(response.content)
        except DefinitionError as error:
            raise DefinitionError(f"{self.url}: {error}") from None

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send an invocation's journal, and return the answer.

        Raises:
            EndpointError: If there is no answer, or not a whole one.
        """
        kind = f"application/vnd.restate.invocation.v{self.version}"
        url, answer = f"{self.url}/invoke/{service}/{handler}", bytearray()
        try:
            async with self._client.stream("POST", url, content=body, headers={"content-type": kind}) as response:
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise EndpointError(f"{url} answers with more than {MAX_ANSWER} bytes")
        except httpx.HTTPError as error:
            raise EndpointError(f"{url} does not answer: {_reason(error)}") from error
        if response.status_code != 200:
            said = answer[:SAYS].decode(errors="replace")
            raise EndpointError(f"{url} answers {response.status_code} {said!r}{_HINTS.get(response.status_code, '')}")
        return bytes(answer)


_HINTS: Final[Mapping[int, str]] = {
    401: ": its identity key is another",
    404: ": it has no such handler any more",
    415: ": it does not speak this version of the service protocol",
}


def _reason(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
