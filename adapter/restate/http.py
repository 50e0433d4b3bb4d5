"""An SDK's endpoint that is reached by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

import httpx

from adapter.restate.answers import MAX_ANSWER, EndpointError
from adapter.restate.conversation import SILENCE
from adapter.restate.endpoints import Endpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

CONNECT: Final = 5.0
"""Seconds for a connection to an endpoint."""


class HttpEndpoint(Endpoint):
    """An endpoint that is reached by HTTP, such as ``http://localhost:9080``.

    Args:
        url: The endpoint's URL; its path is a prefix of the protocol's paths.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
        duplex: False to use requests and responses only, also where the endpoint offers streams.
    """

    def __init__(
        self, url: str, *, version: int | None = None, identity: Identity | None = None, duplex: bool = True
    ) -> None:
        super().__init__(url.rstrip("/"), version=version, identity=identity, duplex=duplex)
        # Servers of SDKs speak HTTP/2 without TLS by prior knowledge.
        transport = httpx.AsyncHTTPTransport(http1=False, http2=True)
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
