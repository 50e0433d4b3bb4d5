"""Requests to an endpoint by HTTP/1.1, over httpx's transport."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

import httpx

from adapter.restate.answers import MAX_ANSWER, EndpointError
from adapter.restate.http2 import ASK, CONNECT, PONG, TAKES

KEEP: Final = 2.0
"""Seconds for which a connection is kept for the next request. Uvicorn and Node.js close one after 5 s, and a request
that is sent at that moment fails."""

PROBES: Final = 4
"""How often the system asks a silent peer, before it takes the connection for lost."""

_PATIENCE: Final = {
    "TCP_KEEPIDLE": int(ASK),
    "TCP_KEEPALIVE": int(ASK),  # the same on macOS
    "TCP_KEEPINTVL": int(PONG) // PROBES,
    "TCP_KEEPCNT": PROBES,
}

ALIVE: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _PATIENCE.items() if hasattr(socket, name)),
]
"""Options of a socket that finds out if its peer is lost without a word: HTTP/1.1 has no ping."""


class Http1:
    """Connections to an endpoint, each of which has one request at a time."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP)
        self._transport = httpx.AsyncHTTPTransport(limits=limits, socket_options=ALIVE)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, silence: float
    ) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of the answer.

        Args:
            method: The method.
            url: The URL.
            headers: The headers.
            body: The body.
            silence: Seconds of silence after which the request is given up.

        Raises:
            EndpointError: If there is no answer, or not a whole one, or a too large one.
        """
        limits = httpx.Timeout(silence, connect=CONNECT, write=TAKES).as_dict()
        request = httpx.Request(method, url, headers=dict(headers), content=body, extensions={"timeout": limits})
        answer = bytearray()
        try:
            response = await self._transport.handle_async_request(request)
            try:
                async for piece in response.aiter_raw():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise EndpointError(f"{url} answers with more than {MAX_ANSWER} bytes")
            finally:
                await response.aclose()
        except httpx.ReadTimeout:
            raise EndpointError(f"{url} does not answer (silent for {silence:g} s)") from None
        except httpx.WriteTimeout:
            raise EndpointError(f"{url} does not answer (it takes nothing for {TAKES:g} s)") from None
        except httpx.TransportError as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EndpointError(f"{url} does not answer ({reason})") from error
        return response.status_code, bytes(answer)
