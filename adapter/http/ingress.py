"""The ingress: an ASGI app that calls handlers, sends messages to them and returns their results.

Its paths, headers and bodies are those of Restate's ingress, so that Restate's clients work with it. ``docs/http.md``
lists them. Each response about an invocation has the invocation's id in ``x-restate-id``. Errors are JSON,
``{"message": …, "code": …, "source": …}``; nothing is stored of a request that is refused with a 4xx or 501.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.engine.engine import Engine
from adapter.engine.ids import INVOCATION_ID, derived_commit_id, heartbeat, idempotent_id, parse_awakeable, workflow_id
from adapter.engine.records import Meta, Status
from adapter.engine.requests import Request
from adapter.engine.types import MAX_KEY, Kind, Outcome, Target
from adapter.errors import TerminalError, scopes_unsupported
from adapter.http.delays import parse_delay
from adapter.http.headers import passed_on, preference, require_json
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
from adapter.http.results import accepted, read_failure, read_value, result
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
from adapter.http.waiting import Waiting
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.http.openapi import Document


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
        self._coder = registry.coder
        self._until = until
        self._waiting = Waiting(engine, registry.coder)
        self._elsewhere = elsewhere
        self._documents: dict[str, Document] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await respond(HTTPRequest(scope, receive), self._route)
            await response(scope, receive, send)

    async def _route(self, request: HTTPRequest) -> Response:
        match _without_slash(segments(request.scope["path"], request.scope.get("raw_path"))):
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
                return await self._result(request, *_invocation(id), what)
            case ["restate", "attach" | "output" as what, id]:
                require(request, "GET")
                return await self._result(request, *_invocation(id), what)
            case ["restate", "attach" | "output" as what]:
                return await self._result(request, *await self._described(request), what)
            case ["restate", "lookup"]:
                id, _ = await self._described(request)
                return answer({"invocationId": id}, headers={ID: id})
            case ["restate", "invocation", id, "signals", *path] if INVOCATION_ID.fullmatch(id):
                return await self._signal(request, id, path)
            case ["restate", "awakeables" | "a", id, "resolve" | "reject" as what]:
                return await self._complete(request, id, what)
            case ["restate", "awakeables" | "a", id, "heartbeat"] if (parsed := parse_awakeable(id)) is not None:
                return await self._signal(request, parsed[0].id, [heartbeat(id)])
            case ["restate", "openapi.json"]:
                return await self._describe(request)
            case ["restate", "services", service, "openapi.json"]:
                return await self._describe(request, service)
            case ["restate", "invocation", service, *rest, "attach" | "output" as what]:
                require(request, "GET")
                meant = _idempotent(*read_idempotent(service, rest, await self._public(service)))
                return await self._result(request, *meant, what)
            case ["restate", "workflow", service, *rest, "attach" | "output" as what]:
                require(request, "GET")
                return await self._result(request, *await self._workflow(service, "/".join(rest)), what)
            case ["restate", "scope", *_]:
                raise scopes_unsupported()
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
        require(request, "POST", *(["GET"] if public[target.handler].takes is None else []))
        until, preferred = self._until(), preference(request)
        if "delay" in request.query_params:
            raise TerminalError("a call has no delay: send instead, with …/send?delay=", code=400)
        asked, endpoint = await self._read(request, target, public)
        return await self._waiting.call(asked, endpoint, preferred, until)

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
        due = self._engine.process.now() + delay if delay else None
        sent = await self._engine.send(asked)
        if delay and not sent.accepted:  # it may have been sent with another delay
            meta = await self._engine.storage.find(sent.id)
            due = meta.due if meta is not None and meta.status is Status.SCHEDULED else None
        return accepted(sent, due)

    async def _result(self, request: HTTPRequest, id: str, name: str, what: str) -> Response:
        """Return the result of an invocation. ``attach`` waits for it, ``output`` does not."""
        until, preferred = self._until(), preference(request)
        meta, endpoint = await self._look(id, name)
        if not meta.live:
            return result(id, await self._engine.storage.result(meta), endpoint, self._coder)
        if what == "output":
            raise HTTPError("not ready", code=470, headers={ID: id})
        return await self._waiting.attach(meta, endpoint, preferred, until)

    # --- which invocation is meant: its id, and what to call it ---

    async def _described(self, request: HTTPRequest) -> tuple[str, str]:
        """The invocation that the body describes."""
        require(request, "POST")
        match read_json(await read_body(request)):
            case {"scope": str()}:
                raise scopes_unsupported()
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
            raise TerminalError(f"{service!r} is not a workflow", code=404)
        read_target(service, [key, "run"], public)  # refuses a bad key
        return workflow_id(service, key), f"workflow {service}/{key}"

    # --- results from outside ---

    async def _complete(self, request: HTTPRequest, awakeable: str, what: str) -> Response:
        """Resolve or reject an awakeable. The id cannot be guessed, so it is the permission."""
        require(request, "POST")
        parsed = parse_awakeable(awakeable)
        if parsed is None:
            raise TerminalError(f"{awakeable!r} is not an awakeable id", code=400)
        ref, _ = parsed
        if what == "resolve":
            outcome = self._coder.outcome(Outcome(await read_value(request)))
        else:
            outcome = Outcome(failure=await read_failure(request))
        key = idempotency_key(request)
        commit_id = None if key is None else derived_commit_id(awakeable, key)
        said = await self._engine.outbound.complete(awakeable, outcome, commit_id=commit_id)
        if said == "already":
            raise TerminalError(f"awakeable {awakeable} was completed before", code=409)
        if said == "not found":
            meta = await self._engine.storage.find(ref.id)
            if meta is not None and meta.generation == ref.generation:
                raise TerminalError(f"awakeable {awakeable} is of an invocation that has completed", code=409)
            raise TerminalError(f"there is no awakeable {awakeable}, or it has expired", code=404)
        return Response(status_code=202)

    async def _signal(self, request: HTTPRequest, id: str, path: list[str]) -> Response:
        """Send a signal to an invocation, or with ``reject`` after its name a failure in place of its value."""
        require(request, "POST")
        named = queried(request, "name")
        rejects = path[-1:] == ["reject"] and bool(named or path[:-1])
        name = "/".join((path[:-1] if rejects else path) or named)
        if not 0 < len(name.encode()) <= MAX_KEY:
            raise TerminalError(f"a signal's name has 1 to {MAX_KEY} bytes in UTF-8", code=400)
        outcome = (
            Outcome(failure=await read_failure(request))
            if rejects
            else self._coder.outcome(Outcome(await read_value(request)))
        )
        await self._look(id, f"invocation {id}")
        key = idempotency_key(request)
        commit_id = None if key is None else derived_commit_id(f"{id}/{name}", key)
        said = await self._engine.outbound.signal(id, name, outcome, commit_id=commit_id)
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
            raise self._unknown(service)
        return answer(documents[service])

    # --- services ---

    async def _public(self, service: str) -> Endpoints:
        """Return a service's handlers, except private ones."""
        public = {name: endpoint for name, endpoint in (await self._find(service)).items() if not endpoint.private}
        if not public:
            raise self._unknown(service)
        return public

    def _unknown(self, service: str) -> TerminalError:
        """Return the error for a service that does not exist, or that is private: it must not tell which."""
        if self._elsewhere is not None:
            return TerminalError(
                f"there is no service {service!r}; GET /restate/openapi.json describes all public ones", code=404
            )
        public = [name for name, handlers in self._local.items() if any(not each.private for each in handlers.values())]
        return TerminalError(
            f"there is no service {service!r}; the public ones are {', '.join(sorted(public)) or 'none'}", code=404
        )

    async def _find(self, service: str) -> Endpoints:
        local = self._local.get(service)
        if local is None and self._elsewhere is not None:
            return await self._elsewhere.find(service) or {}
        return local or {}

    async def _look(self, id: str, name: str) -> tuple[Meta, Endpoint]:
        """An invocation that may be seen from outside, and its handler."""
        gone = HTTPError(f"there is no {name}, or it has expired", code=404, headers={ID: id})
        meta = await self._engine.storage.find(id)
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
        """Read a request for a handler. Whatever is refused here is refused before anything is stored."""
        endpoint, name = public[target.handler], f"{target.service}.{target.handler}"
        key = idempotency_key(request)
        if key is not None and endpoint.kind is Kind.WORKFLOW:
            raise TerminalError(
                f"{name} takes no Idempotency-Key: the workflow's id makes it run once. Leave the header out", code=400
            )
        headers = passed_on(request)
        body = await read_body(request)
        if body and endpoint.takes == JSON:
            require_json(request, name)
        endpoint.check(name, body)
        return Request(target, self._coder.encode(body), idempotency_key=key, headers=headers, delay=delay), endpoint


def _without_slash(path: list[str]) -> list[str]:
    """Return a path's segments without a slash at its end; a signal's name may end with one."""
    return path[:-1] if len(path) > 1 and not path[-1] and path[3:4] != ["signals"] else path


def _invocation(id: str) -> tuple[str, str]:
    if not INVOCATION_ID.fullmatch(id):
        raise TerminalError(f"{id!r} is not an invocation id: an id is inv_ and 32 letters and digits", code=400)
    return id, f"invocation {id}"


def _idempotent(target: Target, key: str) -> tuple[str, str]:
    id = idempotent_id(target, checked_idempotency_key(key))
    return id, f"invocation of {target} with idempotency key {key!r}"
