"""The HTTP request that a command becomes. Everything that HTTP would not carry unchanged is refused here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from adapter.client.handles import Pending
from adapter.engine.commands import Call, Send
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Failure, Kind
from adapter.leaving import RESPOND_SUSPENDED

IDEMPOTENCY_KEY: Final = "idempotency-key"

LEAVES: Final = {"prefer": RESPOND_SUSPENDED}
"""The header of a client that does not wait for an invocation that is suspended. It asks for the result later."""

RESERVED: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "prefer", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""Request headers that the client or HTTP itself sets."""

_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""Text that stays the same however often it is encoded and decoded, and that is no step within a path."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")
"""See https://www.rfc-editor.org/rfc/rfc9110#section-5. Gateways decode other characters in different ways, and spaces
at either end are cut off."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request, which may be repeated.

    Attributes:
        method: The HTTP method.
        path: The path and the query, without a slash in front.
        id: What the request is about, for messages: an invocation's id, or an awakeable's.
        body: The body.
        headers: Names are in lower case.
        early: Returns True while what the request is about may still have to arrive: then a 404 passes.
        after: Seconds to wait before the request is sent.
    """

    method: str
    path: str
    id: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    early: Callable[[], bool] = lambda: False
    after: float = 0

    def without_key(self) -> Ask:
        """Return the same request without an idempotency key."""
        headers = {name: value for name, value in self.headers.items() if name != IDEMPOTENCY_KEY}
        return replace(self, headers=headers)


def check_url(url: str) -> str:
    """Return the URL under which the services are, without a slash at its end.

    Raises:
        ValueError: If it is not an HTTP URL, or has a query or a fragment.

    >>> check_url("http://localhost:8080/")
    'http://localhost:8080'
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url starts with http:// or https:// and a host, as in http://localhost:8080; it is {url!r}")
    if parts.query or parts.fragment:
        raise ValueError("url has no query and no fragment: give the part before the service's name")
    return url.rstrip("/")


def for_handler(command: Call | Send, content_type: str) -> Ask:
    """Return the request for a call or a send. It can be repeated: it names one invocation.

    That is the workflow's for a workflow's ``run``, and otherwise the one with the idempotency key, which is random
    where the command has none.

    Raises:
        ValueError: If a header or the idempotency key cannot be sent unchanged.
    """
    target = command.target
    headers = _check_headers(command.headers)
    if content_type:
        headers["content-type"] = content_type
    if command.kind is Kind.WORKFLOW and target.key is not None:
        id = workflow_id(target.service, target.key)
    else:
        headers[IDEMPOTENCY_KEY] = _check_value("idempotency_key", command.idempotency_key or uuid4().hex)
        id = idempotent_id(target, headers[IDEMPOTENCY_KEY])
    segments, query = ([], {}) if target.key is None else _placed(target.key, "key")
    segments = [target.service, *segments, target.handler]
    if isinstance(command, Call):
        headers |= LEAVES
    else:
        segments.append("send")
        if command.delay:
            query["delay"] = f"{command.delay}ms"
    return Ask("POST", _joined(segments, query), id, command.input, headers)


def for_result(id: str, *, after: float = 0) -> Ask:
    """Return the request that waits for an invocation's result."""
    return Ask("GET", _joined(["restate", "invocation", id, "attach"]), id, headers=LEAVES, after=after)


def for_output(id: str) -> Ask:
    """Return the request for an invocation's result, if it is ready."""
    return Ask("GET", _joined(["restate", "invocation", id, "output"]), id)


def for_cancellation(id: str, call: Pending[object] | None = None) -> Ask:
    """Return the request that cancels an invocation, which may be that of a call under way."""
    path = _joined(["admin", "invocations", id, "cancel"])
    return Ask("POST", path, id, headers=_once(), early=lambda: call is not None and not call.done())


def for_awakeable(id: str, what: str, body: bytes) -> Ask:
    """Return the request that completes an awakeable: ``resolve`` or ``reject``."""
    return Ask("POST", _joined(["restate", "awakeables", id, what]), id, body, _once())


def for_signal(id: str, name: str, value: bytes, *what: str) -> Ask:
    """Return the request that sends a signal, or with ``reject`` a failure in place of its value."""
    segments, query = _placed(name, "name")
    path = _joined(["restate", "invocation", id, "signals", *segments, *what], query)
    return Ask("POST", path, id, value, _once())


def for_rejection(ask: Ask, failure: Failure) -> Ask:
    """Return a request with a failure in its body."""
    content = {"message": failure.message, "code": failure.code, "metadata": dict(failure.metadata)}
    headers = {**ask.headers, "content-type": "application/json"}
    return replace(ask, body=json.dumps(content).encode(), headers=headers)


def _once() -> dict[str, str]:
    """Return a header that makes all repetitions of a request one."""
    return {IDEMPOTENCY_KEY: uuid4().hex}


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an HTTP header: it has letters, digits and hyphens")
        if name == IDEMPOTENCY_KEY:
            raise ValueError("give the idempotency key as idempotency_key=, not as a header")
        if name in RESERVED:
            raise ValueError(f"the header {name} is set by the client: leave it out, or give it another name")
        _check_value(f"header {name}", value)
    return dict(headers)


def _check_value(what: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"{what} cannot be sent in an HTTP header: it has characters that are not printable ASCII, or spaces at an "
            "end. Encode it, for example with urllib.parse.quote"
        )
    return value


def _placed(text: str, parameter: str) -> tuple[list[str], dict[str, str]]:
    """Return path segments and query parameters that carry a text unchanged.

    API Gateway decodes paths twice and cuts them at a question mark that comes of it, so only plain text is in a path.
    """
    return ([text], {}) if _PLAIN.fullmatch(text) else ([], {parameter: text})


def _joined(segments: Sequence[str], query: Mapping[str, str] | None = None) -> str:
    path = "/".join(_quoted(segment) for segment in segments)
    return f"{path}?{urlencode(query, quote_via=quote, safe='')}" if query else path


def _quoted(part: str) -> str:
    # A part of dots alone would be taken for a step up the path.
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")
