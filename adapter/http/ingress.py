"""The ingress: an ASGI app that calls handlers, sends to them, and gives out results.

==========================================================  ==========================================================
``POST /{service}/[{key}/]{handler}``                       call a handler and wait for its result
``POST /{service}/[{key}/]{handler}/send?delay=10s``        store a message to it, to be handled now or later
``POST /{service}/{handler}[/send]?key={key}``              the same two, whatever a gateway does to paths
``POST /restate/call/…``, ``POST /restate/send/…``          the same, in doubt about nothing
``GET /restate/invocation/{id}/attach``, ``…/output``       wait for a result, or look whether it is there
``GET /restate/workflow/{service}/{key}/attach``, …         of a workflow's ``run``
``GET /restate/invocation/{service}/[{key}/]{handler}/``    by idempotency key
``{idempotency_key}/attach``, …
``GET /restate/attach/{id}``, ``GET /restate/output/{id}``  the same two in their newer form
``POST /restate/attach``, ``POST /restate/output``          of what the body describes
``POST /restate/lookup``                                    the id of what the body describes, be it there or not
``POST /restate/awakeables/{id}/resolve``, ``…/reject``     complete an awakeable: the body is its value, or the reason
``POST /restate/invocation/{id}/signals/{name}``            send a signal: the body is its value; ``?name=`` will do
``GET /restate/openapi.json``                               what all services take and give, in OpenAPI 3.1
``GET /restate/services/{service}/openapi.json``            what one does
``GET /restate/health``                                     whether the process answers
==========================================================  ==========================================================

What a body describes is one of ``{"target": "workflow", "workflowName": …, "workflowKey": …}``,
``{"target": "idempotentInvocation", "service": …, "key": …, "handler": …, "idempotencyKey": …}`` (a key where the
service has keys), and ``{"target": "invocation", "invocationId": …}``.

The paths, headers and bodies are those of Restate's ingress, so that its clients can be pointed here. Every answer that
concerns an invocation has its id in ``x-restate-id``. Errors are JSON, ``{"message": …, "code": …}``:

===  =================================================================================================================
400  input that does not fit, a bad path, key, delay or idempotency key; nothing was stored
404  no such service, handler, invocation or awakeable; a private one is as good as none
405  not the method for this path
409  a workflow that ran already, or is running; an awakeable that was completed before, or whose invocation is over
413  a body over 4 MB
431  headers over 8 KB
470  ``output`` of what is not ready
503  the store did not answer: try again (``Retry-After``)
504  not ready in the time that a request may take: it goes on, and the message says how to attach
===  =================================================================================================================

and whatever code a `TerminalError` has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.engine.engine import Engine, Request
from adapter.engine.ids import INVOCATION_ID, derived_nonce, idempotent_id, parse_awakeable, workflow_id
from adapter.engine.records import Meta
from adapter.engine.types import MAX_HEADERS, MAX_KEY, Failure, Kind, Outcome, Target
from adapter.errors import TerminalError
from adapter.http.delays import parse_delay
from adapter.http.messages import (
    ID,
    HTTPError,
    answer,
    checked_idempotency_key,
    idempotency_key,
    queried,
    read_body,
    require,
    respond,
)
from adapter.http.services import (
    JSON,
    Elsewhere,
    Endpoint,
    Endpoints,
    endpoints,
    is_send,
    read_idempotent,
    read_json,
    read_target,
    segments,
    with_key,
)
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.http.openapi import Document

REJECTED: Final = 500
"""The code of the terminal error that a rejected awakeable raises."""

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
        self._registry = registry
        self._until = until
        self._elsewhere = elsewhere
        self._documents: dict[str, Document] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await respond(HTTPRequest(scope, receive), self._route)
            await response(scope, receive, send)

    async def _route(self, request: HTTPRequest) -> Response:
        match segments(request.scope["path"], request.scope.get("raw_path")):
            case ["restate", "health"]:
                require(request, "GET")
                return answer({"status": "ok"})
            case ["restate", "call", service, *rest]:
                public = await self._public(service)
                rest = with_key(rest, queried(request, "key"), public)
                return await self._call(request, read_target(service, rest, public), public)
            case ["restate", "send", service, *rest]:
                public = await self._public(service)
                rest = with_key(rest, queried(request, "key"), public)
                return await self._send(request, read_target(service, rest, public), public)
            case ["restate", "invocation", id, "attach" | "output" as what]:
                require(request, "GET")
                return await self._result(*_invocation(id), what)
            case ["restate", "attach" | "output" as what, id]:
                require(request, "GET")
                return await self._result(*_invocation(id), what)
            case ["restate", "attach" | "output" as what]:
                return await self._result(*await self._described(request), what)
            case ["restate", "lookup"]:
                id, _ = await self._described(request)
                return answer({"invocationId": id}, headers={ID: id})
            case ["restate", "invocation", id, "signals", *name] if INVOCATION_ID.fullmatch(id):
                return await self._signal(request, id, "/".join(name or queried(request, "name")))
            case ["restate", "awakeables" | "a", id, "resolve" | "reject" as what]:
                return await self._complete(request, id, what)
            case ["restate", "openapi.json"]:
                return await self._describe(request)
            case ["restate", "services", service, "openapi.json"]:
                return await self._describe(request, service)
            case ["restate", "invocation", service, *rest, "attach" | "output" as what]:
                require(request, "GET")
                meant = _idempotent(*read_idempotent(service, rest, await self._public(service)))
                return await self._result(*meant, what)
            case ["restate", "workflow", service, *rest, "attach" | "output" as what]:
                require(request, "GET")
                return await self._result(*await self._workflow(service, "/".join(rest)), what)
            case ["restate", *_] | [_]:
                raise TerminalError("no such path; handlers are at /SERVICE/HANDLER and /SERVICE/KEY/HANDLER", code=404)
            case [service, *rest]:
                public = await self._public(service)
                rest = with_key(rest, queried(request, "key"), public)
                if is_send(rest, public):
                    return await self._send(request, read_target(service, rest[:-1], public), public)
                return await self._call(request, read_target(service, rest, public), public)
            case _:
                raise AssertionError("a path has segments")

    # --- what there is to ask for ---

    async def _call(self, request: HTTPRequest, target: Target, public: Endpoints) -> Response:
        require(request, "POST")
        until = self._until()
        if "delay" in request.query_params:
            raise TerminalError("a call has no delay: send instead, with …/send?delay=", code=400)
        asked, endpoint = await self._read(request, target, public)
        called = await self._engine.call(asked, until=until)
        if endpoint.kind is Kind.WORKFLOW and not called.accepted:
            raise HTTPError(
                f"workflow {target.service}/{target.key} ran already, or is running: attach with "
                f"GET /restate/invocation/{called.id}/attach",
                code=409,
                headers={ID: called.id},
            )
        return _result(called.id, called.outcome, endpoint)

    async def _send(self, request: HTTPRequest, target: Target, public: Endpoints) -> Response:
        require(request, "POST")
        delays = request.query_params.getlist("delay")
        if len(delays) > 1:
            raise TerminalError("delay is given once", code=400)
        try:
            delay = parse_delay(delays[0]) if delays else 0
        except ValueError as error:
            raise TerminalError(str(error), code=400) from None
        asked, _ = await self._read(request, target, public, delay)
        sent = await self._engine.send(asked)
        status = "Accepted" if sent.accepted else "PreviouslyAccepted"
        return answer({"invocationId": sent.id, "status": status}, 202, {ID: sent.id})

    async def _result(self, id: str, name: str, what: str) -> Response:
        """Give out what became of an invocation: wait for it (``attach``), or not (``output``)."""
        until = self._until()
        meta, endpoint = await self._look(id, name)
        if not meta.live:
            return _result(id, await self._engine.result(meta), endpoint)
        if what == "output":
            raise HTTPError("not ready", code=470, headers={ID: id})
        return _result(id, await self._engine.outcome(id, until=until), endpoint)

    # --- which invocation is meant: its id, and what to call it ---

    async def _described(self, request: HTTPRequest) -> tuple[str, str]:
        """The invocation that the body describes."""
        require(request, "POST")
        match read_json(await read_body(request)):
            case {"scope": str()}:
                raise TerminalError("there are no scopes here", code=400)
            case {"target": "invocation", "invocationId": str(id)}:
                return _invocation(id)
            case {"target": "workflow", "workflowName": str(service), "workflowKey": str(key)}:
                return await self._workflow(service, key)
            case {
                "target": "idempotentInvocation",
                "service": str(service),
                "handler": str(handler),
                "idempotencyKey": str(idempotency_key),
                **others,
            } if isinstance(given := others.get("key"), str | None):
                rest = [handler] if given is None else [given, handler]
                return _idempotent(read_target(service, rest, await self._public(service)), idempotency_key)
            case _:
                raise TerminalError(
                    'the body is {"target": "invocation", "invocationId": …}, '
                    'or {"target": "workflow", "workflowName": …, "workflowKey": …}, '
                    'or {"target": "idempotentInvocation", "service": …, "key": …, "handler": …, "idempotencyKey": …}',
                    code=400,
                )

    async def _workflow(self, service: str, key: str) -> tuple[str, str]:
        public = await self._public(service)
        if "run" not in public or public["run"].kind is not Kind.WORKFLOW:
            raise TerminalError(f"{service!r} is no workflow", code=404)
        read_target(service, [key, "run"], public)  # refuses a bad key
        return workflow_id(service, key), f"workflow {service}/{key}"

    # --- results from outside ---

    async def _complete(self, request: HTTPRequest, awakeable: str, what: str) -> Response:
        """Resolve or reject an awakeable. Its id cannot be guessed, so whoever has it may."""
        require(request, "POST")
        parsed = parse_awakeable(awakeable)
        if parsed is None:
            raise TerminalError(f"{awakeable!r} is no awakeable's id", code=400)
        ref, _ = parsed
        body = await read_body(request)
        rejected = Failure(REJECTED, body.decode(errors="replace") or "rejected")
        outcome = Outcome(failure=rejected) if what == "reject" else Outcome(body)
        key = idempotency_key(request)
        nonce = None if key is None else derived_nonce(awakeable, key)
        said = await self._engine.control.complete(awakeable, outcome, nonce=nonce)
        if said == "already":
            raise TerminalError(f"awakeable {awakeable} was completed before", code=409)
        if said == "not found":
            meta = await self._engine.look(ref.id)
            if meta is not None and meta.generation == ref.generation:
                raise TerminalError(f"awakeable {awakeable} is of an invocation that has completed", code=409)
            raise TerminalError(f"there is no awakeable {awakeable}, or it has expired", code=404)
        return Response(status_code=202)

    async def _signal(self, request: HTTPRequest, id: str, name: str) -> Response:
        """Send a signal to an invocation."""
        require(request, "POST")
        if not 0 < len(name.encode()) <= MAX_KEY:
            raise TerminalError(f"a signal's name has 1 to {MAX_KEY} bytes in UTF-8", code=400)
        body = await read_body(request)
        await self._look(id, f"invocation {id}")
        key = idempotency_key(request)
        nonce = None if key is None else derived_nonce(f"{id}/{name}", key)
        said = await self._engine.control.signal(id, name, Outcome(body), nonce=nonce)
        if said == "already":
            raise HTTPError("another signal was sent with this idempotency key", code=409, headers={ID: id})
        if said == "not found":
            raise HTTPError(f"invocation {id} has completed", code=409, headers={ID: id})
        return Response(status_code=202, headers={ID: id})

    # --- descriptions ---

    async def _describe(self, request: HTTPRequest, service: str | None = None) -> Response:
        """The OpenAPI document of a service, or of all."""
        require(request, "GET")
        from adapter.http import openapi  # when it is asked for: a cold start can do without

        if self._documents is None:
            self._documents = openapi.documents(self._registry)
        if service in self._documents:
            return answer(self._documents[service])
        documents = self._documents
        if self._elsewhere is not None:
            documents = {**await self._elsewhere.documents(), **documents}
        if service is None:
            return answer(openapi.merge(documents))
        if service not in documents:
            raise TerminalError(f"there is no service {service!r}", code=404)
        return answer(documents[service])

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

    async def _look(self, id: str, name: str) -> tuple[Meta, Endpoint]:
        """An invocation that may be seen from outside, and its handler."""
        gone = HTTPError(f"there is no {name}, or it has expired", code=404, headers={ID: id})
        meta = await self._engine.look(id)
        if meta is None:
            raise gone
        endpoint = await self._endpoint_of(meta)
        if endpoint.private:
            raise gone
        return meta, endpoint

    async def _endpoint_of(self, meta: Meta) -> Endpoint:
        """The handler of an invocation; where it is gone by now, what is known of it."""
        found = (await self._find(meta.target.service)).get(meta.target.handler)
        return found or Endpoint(meta.kind)

    # --- requests ---

    async def _read(
        self, request: HTTPRequest, target: Target, public: Endpoints, delay: int = 0
    ) -> tuple[Request, Endpoint]:
        """Make sure that the request can be accepted, before anything is stored."""
        endpoint = public[target.handler]
        key = None
        if endpoint.kind is not Kind.WORKFLOW:  # whose key makes it happen once
            key = idempotency_key(request)
        headers = _passed_on(request)
        body = await read_body(request)
        endpoint.check(f"{target.service}.{target.handler}", body)
        return Request(target, body, idempotency_key=key, headers=headers, delay=delay), endpoint


def _invocation(id: str) -> tuple[str, str]:
    if not INVOCATION_ID.fullmatch(id):
        raise TerminalError(f"{id!r} is no invocation's id", code=400)
    return id, f"invocation {id}"


def _idempotent(target: Target, key: str) -> tuple[str, str]:
    id = idempotent_id(target, checked_idempotency_key(key))
    return id, f"invocation of {target} with idempotency key {key!r}"


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


def _result(id: str, outcome: Outcome | None, endpoint: Endpoint) -> Response:
    headers = {ID: id}
    if outcome is None:
        raise HTTPError(
            f"{id} goes on, but has no result yet: attach with GET /restate/invocation/{id}/attach",
            code=504,
            headers=headers,
        )
    if outcome.failure is not None:
        raise HTTPError(outcome.failure.message, code=outcome.failure.code, headers=headers, source="invocation")
    value = outcome.value or b""
    if not value and endpoint.gives == JSON:
        value = b"null"  # whoever expects JSON gets some
    content_type = endpoint.gives or (JSON if value else None)
    return Response(value, headers=headers | ({"content-type": content_type} if content_type else {}))
