"""An SDK's endpoint that is reached by HTTP/2, or by HTTP/1.1 where it speaks only that."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

import httpx
from h2.exceptions import H2Error

from adapter.restate.answers import MAX_ANSWER, EndpointError
from adapter.restate.conversation import Stream
from adapter.restate.endpoints import Endpoint, UnreachableError
from adapter.restate.http1 import Http1
from adapter.restate.http2 import CONNECT, Connection, Http2Stream, NoHttp2Error

if TYPE_CHECKING:
    from adapter.registry import BoundService
    from adapter.restate.identity import Identity

MANIFEST: Final = 30.0
"""Seconds for a whole manifest. `adapter dev` asks none of its endpoints again before it has the answer of each."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class HttpEndpoint(Endpoint):
    """An endpoint that is reached by HTTP, such as ``http://localhost:9080``.

    HTTP/2 is tried first: by prior knowledge, or as TLS agrees on it. Its requests and streams share connections. A
    connection takes a request beside those that are under way, however many the endpoint allows, because an exchange
    lasts as long as the steps in it. An endpoint that answers by HTTP/1.1 gets requests by that, and has no streams.

    Args:
        url: The endpoint's URL; its path is a prefix of the protocol's paths. A name and a password in the URL are
            sent with each request.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
        duplex: False to use requests and responses only, also where the endpoint offers streams.
    """

    streams = True

    def __init__(
        self, url: str, *, version: int | None = None, identity: Identity | None = None, duplex: bool = True
    ) -> None:
        parts = urlsplit(url)
        credentials, _, self._authority = parts.netloc.rpartition("@")
        self._prefix = parts.path.rstrip("/")
        super().__init__(
            f"{parts.scheme}://{self._authority}{self._prefix}", version=version, identity=identity, duplex=duplex
        )
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
        self._own = (
            {"authorization": f"Basic {b64encode(unquote(credentials).encode()).decode()}"} if credentials else {}
        )
        self._connections: list[Connection] = []
        self._connecting = asyncio.Lock()
        self._tls = _tls() if parts.scheme == "https" else None
        self._http1: Http1 | None = None
        self._speaks_http1 = False
        """Whether the last connection was refused HTTP/2, and no request has failed since."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        while self._connections:
            await self._connections.pop().close()
        if self._http1 is not None:
            await self._http1.close()

    async def manifest(self) -> bytes:
        try:
            async with asyncio.timeout(MANIFEST):
                return await super().manifest()
        except TimeoutError:
            raise UnreachableError(
                f"{self.name}/discover does not answer (not with a whole manifest within {MANIFEST:g} s): {self.advice}"
            ) from None

    def services(self, manifest: bytes) -> Mapping[str, BoundService]:
        services = super().services(manifest)
        self.duplex = self.duplex and not self._speaks_http1
        return services

    async def stream(self, path: str, headers: Mapping[str, str]) -> Stream:
        try:
            return await self._request("POST", path, headers)
        except NoHttp2Error:
            self.duplex = False
            raise EndpointError(f"{self.name}{path} has no streams any more: it now speaks HTTP/1.1 only") from None

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            # Nothing follows the last byte: Hypercorn closes the connection if something comes after its answer.
            stream = await self._request(method, path, {**headers, "content-length": str(len(body))}, whole=not body)
        except NoHttp2Error:
            return await self._send_by_http1(method, path, headers, body)
        answer = bytearray()
        try:
            await stream.write(body, last=True)
            while True:
                if not await stream.heard(stream.silence):
                    raise EndpointError(f"{self.name}{path} does not answer (silent for {stream.silence:g} s)")
                piece = stream.take()
                if not piece:
                    return stream.status, bytes(answer)
                answer += piece
                if len(answer) > MAX_ANSWER:
                    raise EndpointError(f"{self.name}{path} answers with more than {MAX_ANSWER} bytes")
        finally:
            stream.abort()

    async def _request(self, method: str, path: str, headers: Mapping[str, str], *, whole: bool = False) -> Http2Stream:
        place, headers = self.name + path, {**self._own, **headers}
        try:
            async with self._connecting:
                connection = await self._connection()
                silence = self.patience(path)
                return connection.request(place, method, self._prefix + path, headers, silence=silence, whole=whole)
        except (OSError, H2Error) as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EndpointError(f"{place} does not answer ({reason})") from error

    async def _send_by_http1(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        self._speaks_http1 = True
        self._http1 = self._http1 or Http1()
        try:
            url, headers = self.name + path, {**self._own, **headers}
            return await self._http1.send(method, url, headers, body, silence=self.patience(path))
        except EndpointError:
            self._speaks_http1 = False  # another server may be there the next time
            raise

    async def _connection(self) -> Connection:
        """Return a connection with room for another stream.

        Raises:
            NoHttp2Error: If the endpoint speaks HTTP/1.1 only.
        """
        if self._speaks_http1:
            raise NoHttp2Error
        self._connections = [each for each in self._connections if not each.ended]
        for connection in self._connections:
            if connection.has_room and await connection.is_alive(CONNECT):
                return connection
        connection = await Connection.open(self._host, self._port, self._authority, self._tls)
        self._connections.append(connection)
        return connection


def _tls() -> ssl.SSLContext:
    context = httpx.create_ssl_context()  # takes a while
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
