"""An SDK's endpoint that is a Lambda function, packaged as Restate's documentation has it.

`Lambda <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>`_ takes and gives up to 6 MB, which is
some 4.4 MB of journal in base64. Where the SDK's function offers it, and a library is installed, larger ones are
compressed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from adapter.registry import BoundService
from adapter.restate.answers import MAX_ANSWER, EndpointError
from adapter.restate.endpoints import Endpoint
from adapter.restate.manifest import read_manifest

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

Invoke = Callable[[bytes], Awaitable[bytes]]
"""Invokes a function with a payload, waits for it, and returns its payload. It does not retry. It raises
`adapter.restate.answers.EndpointError` if the function cannot be invoked, or fails."""

MAX_PAYLOAD: Final = 6 * 1024 * 1024
"""The largest payload of a synchronous invocation, in bytes."""

COMPRESSED_FROM: Final = 3 * 1024 * 1024
"""The bytes of a body from which on it is compressed."""


class LambdaEndpoint(Endpoint):
    """An endpoint that is a Lambda function.

    Args:
        function: The function's name or ARN, with its version.
        invoke: Invokes it.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the requests.
    """

    advice = "see the log of that function, and whether the role of its driver may invoke it"
    key = "ADAPTER_IDENTITY_KEY"

    def __init__(
        self, function: str, invoke: Invoke, *, version: int | None = None, identity: Identity | None = None
    ) -> None:
        super().__init__(function, version=version, identity=identity)
        self._invoke = invoke
        self._offers_zstd = False

    def services(self, manifest: bytes) -> Mapping[str, BoundService]:
        services = super().services(manifest)
        self._offers_zstd = read_manifest(manifest).lambda_compression == "zstd"
        return services

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        zstd: Any = _zstd() if self._offers_zstd else None
        sent = dict(headers)
        if zstd is not None:
            sent["accept-encoding"] = "zstd"
            if len(body) >= COMPRESSED_FROM:
                sent["content-encoding"] = "zstd"
                body = zstd.compress(body)
        event = {
            "path": path,
            "httpMethod": method,
            "headers": sent,
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        payload = json.dumps(event).encode()
        if len(payload) > MAX_PAYLOAD:
            raise EndpointError(_too_large(len(payload), self._offers_zstd, zstd is not None), pause=True)
        answer = await self._invoke(payload)
        try:
            read: Any = json.loads(answer)
            content = read.get("body") or ""
            data = base64.b64decode(content, validate=True) if read.get("isBase64Encoded") else content.encode()
            answered: dict[str, Any] = read.get("headers") or {}
            compressed = zstd is not None and answered.get("content-encoding") == "zstd"
            status = int(read["statusCode"])
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
            raise EndpointError(
                f"the function {self.name} answers what no SDK does: is its handler the one that the SDK makes?"
            ) from None
        return status, self._decompressed(data) if compressed else data

    def _decompressed(self, data: bytes) -> bytes:
        zstd: Any = _zstd()
        decompressor = zstd.ZstdDecompressor()
        try:
            answer = bytes(decompressor.decompress(data, MAX_ANSWER + 1))
        except zstd.ZstdError as error:
            raise EndpointError(f"the answer of the function {self.name} cannot be decompressed: {error}") from None
        if len(answer) > MAX_ANSWER:
            raise EndpointError(f"the function {self.name} answers with more than {MAX_ANSWER} bytes")
        if not decompressor.eof:
            raise EndpointError(f"the answer of the function {self.name} cannot be decompressed: it ends too soon")
        return answer


@cache
def _zstd() -> Any:
    """Return a module that compresses; ``None`` if there is none."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    return None


def _too_large(size: int, offered: bool, installed: bool) -> str:
    said = f"the journal is {size} bytes as a payload, and Lambda takes {MAX_PAYLOAD}"
    if installed:
        return f"{said}, although it is compressed: let the handler keep less in one invocation"
    if offered:
        return (
            f"{said}: add serverless-adapter[zstd] to the driver's requirements, deploy, and resume on the new version"
        )
    return f"{said}: give the SDK's function a runtime that compresses (Node.js 22.15, Python 3.14), or keep less"
