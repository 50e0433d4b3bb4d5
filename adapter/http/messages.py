"""What ingress and admin have in common: how they read a request and how they answer it."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from adapter.engine.ports import Misconfigured, TooLarge, Unavailable
from adapter.engine.records import Unreadable
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_PAYLOAD, Failure
from adapter.errors import TerminalError
from adapter.http.services import JSON

log = logging.getLogger("adapter")

ID: Final = "x-restate-id"
SOURCE: Final = "x-restate-error-source"

Source = Literal["ingress", "invocation"]
"""Where an error comes from: the server refused the request, or the invocation ended with a terminal error."""


class HTTPError(TerminalError):
    """An error response with headers of its own.

    Args:
        message: What happened.
        code: The HTTP status.
        headers: Headers of the response.
    """

    def __init__(self, message: str, *, code: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, code=code)
        self.headers = headers


async def respond(
    request: HTTPRequest,
    route: Callable[[HTTPRequest], Awaitable[Response]],
    refusal: Callable[[TerminalError], Response] | None = None,
) -> Response:
    """Return the route's response, or an error response for the exception that the route raises.

    Args:
        request: The request.
        route: Answers it.
        refusal: Returns the response for an error; by default it is `refuse`'s.
    """
    try:
        return await route(request)
    except TerminalError as error:
        refused: TerminalError = error
    except TooLarge as error:
        refused = TerminalError(f"too large to be stored: {error}", code=413)
    except Unavailable:
        log.warning("the store is unavailable", exc_info=True)
        refused = HTTPError("the store is unavailable; try again", code=503, headers={"retry-after": "1"})
    except Unreadable as error:
        log.error("the request met %s", error)
        refused = TerminalError(f"something stored cannot be read: {error}", code=500)
    except Misconfigured as error:
        log.error("%s", error)
        refused = TerminalError("the function is not set up correctly: its log says what to do", code=500)
    except ClientDisconnect:
        refused = TerminalError("the body ended early", code=400)
    except Exception:
        log.exception("the request failed")
        refused = TerminalError("internal error", code=500)
    if refusal is not None:
        return refusal(refused)
    return refuse(refused.code, refused.message, refused.headers if isinstance(refused, HTTPError) else {})


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(body, status, {**(headers or {}), "content-type": JSON})


def refuse(code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the error response to a request that is refused here."""
    return _error({"message": message, "code": code}, "ingress", headers or {})


def failed(failure: Failure, headers: Mapping[str, str]) -> Response:
    """Return the error response of an invocation that ended with a failure."""
    return _error(show_failure(failure), "invocation", headers)


def show_failure(failure: Failure) -> dict[str, Any]:
    """Return a failure as JSON: ``message`` and ``code``, and ``metadata`` and ``reason`` if it has them."""
    content: dict[str, Any] = {"message": failure.message, "code": failure.code}
    if failure.metadata:
        content["metadata"] = dict(failure.metadata)
    if failure.reason:
        content["reason"] = failure.reason
    return content


def _error(content: dict[str, Any], source: Source, headers: Mapping[str, str]) -> Response:
    """Return an error response. It names its source in a header and in the body."""
    return answer(content | {"source": source}, content["code"], {**headers, SOURCE: source})


def require(request: HTTPRequest, *methods: str) -> None:
    """Refuse other methods.

    Raises:
        HTTPError: With code 405.
    """
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise HTTPError(f"{request.method} is not allowed here: use {allowed}", code=405, headers={"allow": allowed})


def queried(request: HTTPRequest, name: str) -> list[str]:
    """What the request's query gives under a name.

    Raises:
        TerminalError: With code 400, if it is no UTF-8.
    """
    query: bytes = request.scope["query_string"]
    if name.encode() not in query:
        return []
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise TerminalError("the query is not UTF-8", code=400) from None
    return [value for given, value in pairs if given == name]


def idempotency_key(request: HTTPRequest) -> str | None:
    """The request's ``Idempotency-Key``.

    Raises:
        TerminalError: With code 400, if it is none.
    """
    values = [value for name, value in request.headers.raw if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1:
        raise TerminalError("Idempotency-Key is given once", code=400)
    try:
        return checked_idempotency_key(values[0].decode())
    except UnicodeDecodeError:
        raise TerminalError("Idempotency-Key is not UTF-8", code=400) from None


def checked_idempotency_key(key: str) -> str:
    """The key, if it can be one.

    Raises:
        TerminalError: With code 400, if it cannot.
    """
    size = len(key.encode())
    if not 0 < size <= MAX_IDEMPOTENCY_KEY:
        raise TerminalError(f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} bytes in UTF-8, not {size}", code=400)
    return key


def number(text: str, most: int) -> int | None:
    """What digits say; ``None`` for what is no number, or a larger one.

    >>> number("7", 10), number("11", 10), number("-1", 10), number("9" * 5000, 10)
    (7, None, None, None)
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        return None
    return value if (value := int(text)) <= most else None


async def read_body(request: HTTPRequest) -> bytes:
    """The request's body.

    Raises:
        TerminalError: With code 413, if it is too large.
    """
    too_large = TerminalError(f"a body has up to {MAX_PAYLOAD} bytes", code=413)
    length = request.headers.get("content-length", "")
    if number(length, MAX_PAYLOAD) is None and length.isdecimal():
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_PAYLOAD:
            raise too_large
    return bytes(body)
