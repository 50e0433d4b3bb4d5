"""HTTP/1.1 for AWS's endpoints: pooled connections on the running event loop, with h11 for the protocol itself.

A request is sent once. It is sent on another connection only if the first one was found closed before a byte of it was
written. A process of Lambda's stands still between its events, so that connections close without its notice: one that
was idle gets a chance to say so before it is used, and one that was idle for long is not used at all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, cast

import h11

from adapter.aws.wire import proxy
from adapter.frozen import frozen

CONNECT_SECONDS: Final = 2.0
"""How long a connection may take, with its TLS handshake."""

ANSWER_SECONDS: Final = 3.0
"""How long an answer may take, to its last byte."""

IDLE_SECONDS: Final = 30.0
"""How long a connection may be idle and be used again. By then the other side, or a gateway between, may have dropped
it without a word that reaches a process that stood still."""

QUIET_SECONDS: Final = 0.05
"""How long a connection may be idle and be used without a look at whether the other side closed it."""

MAX_HEAD: Final = 64 * 1024
"""Bytes that the head of an answer may have."""


class WireError(Exception):
    """A request did not succeed."""


class NoAnswerError(WireError):
    """No answer came, or none that can be read: the request was carried out, or not, or is yet to be."""


@frozen
class Request:
    """A request.

    Attributes:
        method: Such as ``POST``.
        target: The path and query, encoded.
        headers: The headers by their names, except ``Host`` and ``Content-Length``.
        body: The content.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@frozen
class Answer:
    """An answer; its headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests to one endpoint; a `Pool` is one, and tests have others."""

    async def send(self, request: Request) -> Answer:
        """Send a request once.

        Raises:
            NoAnswerError: If there is no answer.
        """
        ...

    async def open(self) -> None:
        """Make a connection for the first request.

        Raises:
            NoAnswerError: If there is none.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Pool:
    """Connections to one endpoint, kept open between requests.

    Args:
        host: The endpoint's host.
        port: Its port.
        tls: Makes the TLS context for the first connection; ``None`` for plain HTTP.
        connections: How many requests are under way at a time; more wait.
        patience: How many seconds an answer may take.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
        *,
        connections: int = 32,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._patience = patience
        self._host = host
        self._port = port
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._authority = _authority(host, port, tls is not None).encode()
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(connections)

    async def send(self, request: Request) -> Answer:
        """See `Transport`."""
        async with self._slots:
            connection = await self._reuse() or await self._connect()
            try:
                async with asyncio.timeout(self._patience):
                    answer = await connection.exchange(request, self._authority)
            except TimeoutError:
                raise NoAnswerError(f"{self._host} did not answer within {self._patience:g} s") from None
            except ClosedError as error:
                # If this process stood still for long, so did the others: no request has to find out by itself.
                self.close()
                raise NoAnswerError(f"{self._host} closed the connection: {error}") from error
            except h11.RemoteProtocolError as error:
                raise NoAnswerError(f"{self._host} did not answer in HTTP: {error}") from error
            finally:
                if connection.is_reusable():
                    self._idle.append(connection)
                else:
                    connection.abort()
            return answer

    async def open(self) -> None:
        """See `Transport`."""
        async with self._slots:
            self._idle.append(await self._reuse() or await self._connect())

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().abort()

    async def _reuse(self) -> Connection | None:
        """Return the connection that was used last, if it is still open."""
        while self._idle:
            connection = self._idle.pop()
            idle = time.time() - connection.used
            if idle > QUIET_SECONDS:
                # What has arrived meanwhile, such as the other side's farewell, is read in the loop's next two passes.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            if 0 <= idle < IDLE_SECONDS and connection.is_reusable():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._make_tls is not None and self._tls is None:
            self._tls = self._make_tls()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._tls is not None and (through := proxy.find(self._host)):
                    connection = Connection()
                    await proxy.connect(through, self._host, self._port, self._tls, connection)
                else:
                    _, connection = await asyncio.get_running_loop().create_connection(
                        Connection, self._host, self._port, ssl=self._tls
                    )
        except TimeoutError:
            raise NoAnswerError(f"no connection to {self._host} within {CONNECT_SECONDS:g} s") from None
        except OSError as error:
            raise NoAnswerError(f"no connection to {self._host}: {error}") from error
        return connection


class ClosedError(Exception):
    """The other side closed the connection before its answer was complete."""


class Connection(asyncio.Protocol):
    """One connection, with one request at a time on it.

    Attributes:
        used: When it was last used, in seconds since the epoch. A process that stands still misses no second of these.
    """

    def __init__(self) -> None:
        self.used = time.time()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Answer] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()

    async def exchange(self, request: Request, authority: bytes) -> Answer:
        """Send a request and return its answer.

        Raises:
            ClosedError: If the connection closed meanwhile.
            h11.RemoteProtocolError: If the answer is not HTTP.
        """
        self._answer = asyncio.get_running_loop().create_future()
        headers = [
            (b"host", authority),
            (b"content-length", b"%d" % len(request.body)),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"serverless-adapter"),
            *((name.encode(), value.encode()) for name, value in request.headers.items()),
        ]
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        parts = [self._http.send(head), self._http.send(h11.Data(request.body)), self._http.send(h11.EndOfMessage())]
        self._transport.write(b"".join(cast("Sequence[bytes]", parts)))
        return await self._answer

    def is_reusable(self) -> bool:
        """Return True if the connection is open and no request is under way on it."""
        return self._http.our_state is h11.IDLE and not self._transport.is_closing()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # --- what the loop calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self._transport.abort()  # nothing was asked: it would be taken for the answer to the next request
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._transport.abort()
            self._fail(error)

    def eof_received(self) -> None:
        try:
            self._http.receive_data(b"")
            self._read()  # an answer of no stated length ends here
        except h11.RemoteProtocolError:
            self._fail(ClosedError("before the answer was complete"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ClosedError(str(exc or "before the answer")))

    def _read(self) -> None:
        while True:
            match self._http.next_event():
                case h11.Response() as head:
                    self._head = head
                case h11.Data(data=data):
                    self._body += data
                case h11.EndOfMessage():
                    self._complete()
                    return
                case h11.InformationalResponse():
                    continue
                case h11.ConnectionClosed():
                    self._transport.close()
                    return
                case _:
                    return

    def _complete(self) -> None:
        assert self._head is not None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._head.headers}
        answer = Answer(self._head.status_code, headers, bytes(self._body))
        self._head, self._body = None, bytearray()
        more, _ = self._http.trailing_data
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not more:
            self._http.start_next_cycle()
        self.used = time.time()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _authority(host: str, port: int, tls: bool) -> str:
    return host if port == (443 if tls else 80) else f"{host}:{port}"
