"""An SDK's endpoint that is a Lambda function, packaged as Restate's documentation has it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from adapter.restate.answers import EndpointError
from adapter.restate.endpoints import Endpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

Invoke = Callable[[bytes], Awaitable[bytes]]
"""Invokes a function with a payload, waits for it, and returns its payload. It does not retry. It raises
`adapter.restate.answers.EndpointError` if the function cannot be invoked, or fails."""


class LambdaEndpoint(Endpoint):
    """An endpoint that is a Lambda function.

    Args:
        function: The function's name or ARN, with its version.
        invoke: Invokes it.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
    """

    def __init__(
        self, function: str, invoke: Invoke, *, version: int | None = None, identity: Identity | None = None
    ) -> None:
        super().__init__(function, version=version, identity=identity)
        self._invoke = invoke

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        event = {
            "path": path,
            "httpMethod": method,
            "headers": dict(headers),
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer = await self._invoke(json.dumps(event).encode())
        try:
            read: Any = json.loads(answer)
            content = read.get("body") or ""
            return int(read["statusCode"]), (
                base64.b64decode(content, validate=True) if read.get("isBase64Encoded") else content.encode()
            )
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
            raise EndpointError(
                f"the function {self.name} answers what no SDK does: is its handler the one that the SDK makes?"
            ) from None
