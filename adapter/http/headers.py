"""What the ingress reads from a request's headers."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from adapter.engine.types import MAX_HEADERS
from adapter.errors import TerminalError, scopes_unsupported
from adapter.frozen import frozen
from adapter.http.messages import number
from adapter.http.services import JSON
from adapter.leaving import RESPOND_SUSPENDED

NOT_PASSED_ON: Final = frozenset({
    # of the connection
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "via",
    # between the client and the gateway
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "dnt", "forwarded", "origin",
    "pragma", "priority", "referer", "user-agent",
    # credentials: the headers that a handler gets are stored
    "authorization", "cookie", "proxy-authorization", "x-amz-security-token", "x-api-key",
    # read by the ingress
    "idempotency-key", "prefer",
})  # fmt: skip
"""Request headers that handlers do not get, besides those that begin with `NOT_PASSED_ON_PREFIXES`."""

LIMIT_KEY: Final = "x-restate-limit-key"
"""The header in which Restate's clients send a limit key, which asks for flow control."""

NOT_PASSED_ON_PREFIXES: Final = ("cloudfront-", "sec-", "x-amz-", "x-amzn-", "x-forwarded-")

POSTED_BY_ANY_PAGE: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""Media types that a web page can post to any other origin: the browser sends no CORS preflight request for them. See
https://fetch.spec.whatwg.org/#cors-safelisted-request-header."""

LONGEST_WAIT: Final = 86_400
"""The longest ``wait`` that is read, in seconds. The ingress ends a request much earlier."""


def passed_on(request: Request) -> dict[str, str]:
    """Return the headers that the handler gets: names in lower case, values of repeated headers joined by commas.

    Raises:
        TerminalError: With code 431, if they are too large; with code 501, if there is a limit key.
    """
    if LIMIT_KEY in request.headers:
        raise scopes_unsupported()
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        name = raw_name.decode("latin-1").lower()
        if name not in NOT_PASSED_ON and not name.startswith(NOT_PASSED_ON_PREFIXES):
            value = raw_value.decode(errors="replace")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    size = sum(len(name) + len(value.encode()) for name, value in headers.items())
    if size > MAX_HEADERS:
        raise TerminalError(f"headers have up to {MAX_HEADERS} bytes, not {size}", code=431)
    return headers


def media_type(request: Request) -> str:
    """Return the media type of the request's body, without parameters; empty if the request has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request, handler: str) -> None:
    """Refuse a body that any web page could post, for a handler that takes JSON.

    A body without a media type is refused only with an ``Origin``, which every browser sends and no other client does.

    Args:
        request: The request, which has a body.
        handler: The handler's name, for the message.

    Raises:
        TerminalError: With code 415.
    """
    given = media_type(request)
    if given in POSTED_BY_ANY_PAGE or (not given and "origin" in request.headers):
        raise TerminalError(
            f"{handler} takes JSON, not {given or 'a body without a media type'}: send the header content-type: {JSON}",
            code=415,
        )


PREFERENCE: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""One of the preferences of a ``Prefer`` header. A comma within quotes does not end it."""


@frozen
class Preference:
    """How long a client prefers to wait for a result (`RFC 7240 <https://www.rfc-editor.org/rfc/rfc7240>`_).

    Attributes:
        wait: Milliseconds; 0 for a response at once.
        applied: The value of the response's ``Preference-Applied``.
        leaves: True if the client waits until the invocation is suspended. `wait` is then 0.
    """

    wait: int
    applied: str
    leaves: bool = False


def preference(request: Request) -> Preference | None:
    """Return what the request's ``Prefer`` says about waiting; ``None`` if it says nothing.

    ``wait`` and ``respond-async`` override ``respond-suspended``, as on servers that do not know that one. Other
    preferences, and a ``wait`` that is not a whole number of seconds, are ignored, as the RFC asks for.
    """
    wait: int | None = None
    names: set[str] = set()
    for header in request.headers.getlist("prefer"):
        for each in PREFERENCE.findall(header):
            name, _, value = (part.strip() for part in each.partition(";")[0].partition("="))
            names.add(name.lower())
            if name.lower() == "wait" and wait is None:  # the first one counts
                wait = number(value.strip('"'), LONGEST_WAIT)
    asynchronous = "respond-async" in names
    if wait is None and not asynchronous:
        return Preference(0, RESPOND_SUSPENDED, leaves=True) if RESPOND_SUSPENDED in names else None
    applied = [*(["respond-async"] if asynchronous else []), *([] if wait is None else [f"wait={wait}"])]
    return Preference((wait or 0) * 1000, ", ".join(applied))
