"""An SDK's endpoint that is reached by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import httpx
from h2.exceptions import H2Error

from adapter.restate.answers import MAX_ANSWER, EndpointError
from adapter.restate.conversation import SILENCE, Stream
from adapter.restate.endpoints import Endpoint
from adapter.restate.http2 import CONNECT, Connection

if TYPE_CHECKING:
    from adapter.restate.identity import Identity


class HttpEndpoint(Endpoint):
    """An endpoint that is reached by HTTP, such as ``http://localhost:9080``.

    Args:
        url: The endpoint's URL; its path is a prefix of the protocol's paths.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
        duplex: False to use requests and responses only, also where the endpoint offers streams.
    """

    streams = True

    def __init__(
        self, url: str, *, version: int | None = None, identity: Identity | None = None, duplex: bool = True
    ) -> None:
        parts = urlsplit(url)
        # A name and a password in the URL are sent with requests only.
        super().__init__(url.rstrip("/"), version=version, identity=identity, duplex=duplex and parts.username is None)
        self._prefix = parts.path.rstrip("/")
        self._connections: list[Connection] = []
        self._connecting = asyncio.Lock()
        self._tls = httpx.create_ssl_context()
        self._tls.set_alpn_protocols(["h2"])
        # Servers of SDKs speak HTTP/2 without TLS by prior knowledge.
        transport = httpx.AsyncHTTPTransport(verify=self._tls, http1=False, http2=True)
        self._client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(SILENCE, connect=CONNECT))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        while self._connections:
            await self._connections.pop().close()

    async def stream(self, path: str, headers: Mapping[str, str]) -> Stream:
        place = self.name + path
        try:
            async with self._connecting:
                connection = await self._connection()
                return connection.request(place, self._prefix + path, headers)
        except (OSError, H2Error) as error:
            raise _silent(place, error) from error

    async def _connection(self) -> Connection:
        """Return a connection with room for another stream."""
        self._connections = [each for each in self._connections if not each.ended]
        for connection in self._connections:
            if connection.has_room and await connection.is_alive():
                return connection
        connection = await Connection.open(self.name, self._tls)
        self._connections.append(connection)
        return connection

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        answer = bytearray()
        try:
            async with self._client.stream(method, self.name + path, content=body, headers=headers) as response:
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise EndpointError(f"{self.name}{path} answers with more than {MAX_ANSWER} bytes")
        except httpx.HTTPError as error:
            raise _silent(self.name + path, error) from error
        return response.status_code, bytes(answer)


def _silent(place: str, error: Exception) -> EndpointError:
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return EndpointError(f"{place} does not answer ({reason})")
