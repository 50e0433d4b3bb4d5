"""The ingress: an ASGI app that calls handlers, sends to them, and gives out results.

==========================================================  ==========================================================
``POST /{service}/[{key}/]{handler}``                       call a handler and wait for its result
``POST /{service}/[{key}/]{handler}/send?delay=10s``        store a message to it, to be handled now or later
``POST /restate/call/…``, ``POST /restate/send/…``          the same two, in doubt about nothing
``GET /restate/invocation/{id}/attach``, ``…/output``       wait for a result, or look whether it is there
``GET /restate/workflow/{service}/{key}/attach``, …         of a workflow's ``run``
``GET /restate/invocation/{service}/[{key}/]{handler}/``    by idempotency key
``{idempotency_key}/attach``, …
``GET /restate/health``                                     whether the process answers
==========================================================  ==========================================================

The paths, headers and bodies are those of Restate's ingress, so that its clients can be pointed here. Every answer that
concerns an invocation has its id in ``x-restate-id``. Errors are JSON, ``{"message": …, "code": …}``:

===  =================================================================================================================
400  input that does not fit, a bad path, key, delay or idempotency key; nothing was stored
404  no such service, handler or invocation; a private one is as good as none
405  not the method for this path
409  a workflow that ran already, or is running
413  a body over 4 MB
431  headers over 8 KB
470  ``output`` of what is not ready
503  the store did not answer: try again (``Retry-After``)
504  not ready in the time that a request may take: it goes on, and the message says how to attach
===  =================================================================================================================

and whatever code a `TerminalError` has.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.engine.engine import Engine, Request
from adapter.engine.ids import INVOCATION_ID, idempotent_id, workflow_id
from adapter.engine.ports import TooLarge, Unavailable
from adapter.engine.records import Meta
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_PAYLOAD, Kind, Outcome, Target
from adapter.errors import TerminalError
from adapter.http.delays import parse_delay
from adapter.http.services import (
    JSON,
    Elsewhere,
    Endpoint,
    Endpoints,
    endpoints,
    is_send,
    read_idempotent,
    read_target,
    segments,
)
from adapter.registry import Registry

log = logging.getLogger("adapter")

ID: Final = "x-restate-id"

MAX_HEADERS: Final = 8 * 1024
"""The most that the headers given to a handler may have, in bytes: they are stored with the invocation."""

NOT_PASSED_ON: Final = frozenset({
    # of the connection
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "via",
    # of the client's and the gateway's dealings with each other
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "dnt", "forwarded", "origin",
    "pragma", "priority", "referer", "user-agent",
    # credentials: what a handler gets is stored
    "authorization", "cookie", "proxy-authorization", "x-amz-security-token", "x-api-key",
    # said elsewhere
    "idempotency-key",
})  # fmt: skip
"""Request headers that handlers do not see, nor those that begin with `NOT_PASSED_ON_PREFIXES`."""

NOT_PASSED_ON_PREFIXES: Final = ("cloudfront-", "sec-", "x-amz-", "x-amzn-", "x-forwarded-")


class _Error(TerminalError):
    """An error answer that has headers of its own."""

    def __init__(self, message: str, *, code: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, code=code)
        self.headers = headers


def create_ingress(
    engine: Engine, registry: Registry, *, until: Callable[[], int], elsewhere: Elsewhere | None = None
) -> Ingress:
    """The ingress to an engine.

    Args:
        engine: Runs the handlers.
        registry: The services that live here.
        until: Until when the request that just came may wait, in milliseconds since the epoch.
        elsewhere: Knows the services of other functions.
    """
    return Ingress(engine, registry, until=until, elsewhere=elsewhere)


class Ingress:
    """See `create_ingress`."""

    def __init__(
        self, engine: Engine, registry: Registry, *, until: Callable[[], int], elsewhere: Elsewhere | None
    ) -> None:
        self._engine = engine
        self._local = {name: endpoints(service) for name, service in registry.services.items()}
        self._until = until
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await self._respond(HTTPRequest(scope, receive))
            await response(scope, receive, send)

    async def _respond(self, request: HTTPRequest) -> Response:
        try:
            return await self._route(request)
        except TerminalError as error:
            return _refuse(error.code, error.message, error.headers if isinstance(error, _Error) else None)
        except TooLarge as error:
            return _refuse(413, f"too large to be stored: {error}")
        except Unavailable:
            log.warning("the store is unavailable", exc_info=True)
            return _refuse(503, "the store is unavailable; try again", {"retry-after": "1"})
        except ClientDisconnect:
            return _refuse(400, "the body ended early")
        except Exception:
            log.exception("the request failed")
            return _refuse(500, "internal error")

    async def _route(self, request: HTTPRequest) -> Response:
        match segments(request.scope["path"], request.scope.get("raw_path")):
            case ["restate", "health"]:
                _require("GET", request)
                return _answer({"status": "ok"})
            case ["restate", "call", service, *rest]:
                public = await self._public(service)
                return await self._call(request, read_target(service, rest, public), public)
            case ["restate", "send", service, *rest]:
                public = await self._public(service)
                return await self._send(request, read_target(service, rest, public), public)
            case ["restate", "invocation", id, "attach" | "output" as what]:
                if not INVOCATION_ID.fullmatch(id):
                    raise TerminalError(f"{id!r} is no invocation's id", code=400)
                return await self._result(request, id, what, f"invocation {id}")
            case ["restate", "invocation", service, *rest, "attach" | "output" as what]:
                target, key = read_idempotent(service, rest, await self._public(service))
                id = idempotent_id(target, _checked_idempotency_key(key))
                return await self._result(request, id, what, f"invocation of {target} with idempotency key {key!r}")
            case ["restate", "workflow", service, *rest, "attach" | "output" as what]:
                public = await self._public(service)
                if "run" not in public or public["run"].kind is not Kind.WORKFLOW:
                    raise TerminalError(f"{service!r} is no workflow", code=404)
                target = read_target(service, [*rest, "run"], public)
                id = workflow_id(service, target.key or "")
                return await self._result(request, id, what, f"workflow {service}/{target.key}")
            case ["restate", *_] | [_]:
                raise TerminalError("no such path; handlers are at /SERVICE/HANDLER and /SERVICE/KEY/HANDLER", code=404)
            case [service, *rest]:
                public = await self._public(service)
                if is_send(rest, public):
                    return await self._send(request, read_target(service, rest[:-1], public), public)
                return await self._call(request, read_target(service, rest, public), public)
            case _:
                raise AssertionError("a path has segments")

    # --- what there is to ask for ---

    async def _call(self, request: HTTPRequest, target: Target, public: Endpoints) -> Response:
        until = self._until()
        if "delay" in request.query_params:
            raise TerminalError("a call has no delay: send instead, with …/send?delay=", code=400)
        asked, endpoint = await self._read(request, target, public)
        answer = await self._engine.call(asked, until=until)
        if endpoint.kind is Kind.WORKFLOW and not answer.accepted:
            raise _Error(
                f"workflow {target.service}/{target.key} ran already, or is running: attach with "
                f"GET /restate/invocation/{answer.id}/attach",
                code=409,
                headers={ID: answer.id},
            )
        return _result(answer.id, answer.outcome, endpoint.gives)

    async def _send(self, request: HTTPRequest, target: Target, public: Endpoints) -> Response:
        delays = request.query_params.getlist("delay")
        if len(delays) > 1:
            raise TerminalError("delay is given once", code=400)
        try:
            delay = parse_delay(delays[0]) if delays else 0
        except ValueError as error:
            raise TerminalError(str(error), code=400) from None
        asked, _ = await self._read(request, target, public, delay)
        answer = await self._engine.send(asked)
        status = "Accepted" if answer.accepted else "PreviouslyAccepted"
        return _answer({"invocationId": answer.id, "status": status}, 202, {ID: answer.id})

    async def _result(self, request: HTTPRequest, id: str, what: str, name: str) -> Response:
        """Give out what became of an invocation: wait for it (``attach``), or not (``output``)."""
        _require("GET", request)
        until = self._until()
        headers = {ID: id}
        meta = await self._engine.look(id)
        if meta is None:
            raise _Error(f"there is no {name}, or it has expired", code=404, headers=headers)
        endpoint = await self._endpoint_of(meta)
        if endpoint.private:
            raise _Error(f"there is no {name}, or it has expired", code=404, headers=headers)
        if not meta.live:
            return _result(id, await self._engine.result(meta), endpoint.gives)
        if what == "output":
            raise _Error("not ready", code=470, headers=headers)
        return _result(id, await self._engine.outcome(id, until=until), endpoint.gives)

    # --- services ---

    async def _public(self, service: str) -> Endpoints:
        """A service's handlers, but for private ones."""
        public = {name: endpoint for name, endpoint in (await self._find(service)).items() if not endpoint.private}
        if not public:
            raise TerminalError(f"there is no service {service!r}", code=404)
        return public

    async def _find(self, service: str) -> Endpoints:
        local = self._local.get(service)
        if local is None and self._elsewhere is not None:
            return await self._elsewhere.find(service) or {}
        return local or {}

    async def _endpoint_of(self, meta: Meta) -> Endpoint:
        """The handler of an invocation; where it is gone by now, what is known of it."""
        found = (await self._find(meta.target.service)).get(meta.target.handler)
        return found or Endpoint(meta.kind)

    # --- requests ---

    async def _read(
        self, request: HTTPRequest, target: Target, public: Endpoints, delay: int = 0
    ) -> tuple[Request, Endpoint]:
        """Make sure that the request can be accepted, before anything is stored."""
        _require("POST", request)
        endpoint = public[target.handler]
        key = None
        if endpoint.kind is not Kind.WORKFLOW:  # whose key makes it happen once
            key = _idempotency_key(request)
        headers = _passed_on(request)
        body = await _body(request)
        endpoint.check(f"{target.service}.{target.handler}", body)
        return Request(target, body, idempotency_key=key, headers=headers, delay=delay), endpoint


def _require(method: str, request: HTTPRequest) -> None:
    if request.method != method:
        raise _Error(f"{request.method} is not for this path, {method} is", code=405, headers={"allow": method})


def _idempotency_key(request: HTTPRequest) -> str | None:
    values = [value for name, value in request.headers.raw if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1:
        raise TerminalError("Idempotency-Key is given once", code=400)
    try:
        return _checked_idempotency_key(values[0].decode())
    except UnicodeDecodeError:
        raise TerminalError("Idempotency-Key is not UTF-8", code=400) from None


def _checked_idempotency_key(key: str) -> str:
    size = len(key.encode())
    if not 0 < size <= MAX_IDEMPOTENCY_KEY:
        raise TerminalError(f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} bytes in UTF-8, not {size}", code=400)
    return key


def _passed_on(request: HTTPRequest) -> dict[str, str]:
    """The headers that the handler gets: names in lower case, repeated ones joined by commas."""
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


async def _body(request: HTTPRequest) -> bytes:
    too_large = TerminalError(f"a body has up to {MAX_PAYLOAD} bytes", code=413)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_PAYLOAD:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_PAYLOAD:
            raise too_large
    return bytes(body)


# --- answers ---


def _result(id: str, outcome: Outcome | None, content_type: str) -> Response:
    headers = {ID: id}
    if outcome is None:
        raise _Error(
            f"{id} goes on, but has no result yet: attach with GET /restate/invocation/{id}/attach",
            code=504,
            headers=headers,
        )
    if outcome.failure is not None:
        raise _Error(outcome.failure.message, code=outcome.failure.code, headers=headers)
    value = outcome.value or b""
    return Response(value, headers=headers | ({"content-type": content_type} if value else {}))


def _answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(body, status, {**(headers or {}), "content-type": JSON})


def _refuse(code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _answer({"message": message, "code": code}, code, headers)
