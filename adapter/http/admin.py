"""The admin: an ASGI app to look at invocations, to act on them, and to look at keys and services.

=====================================================================  ===============================================
``GET /admin/invocations?limit=&cursor=&status=``                      what is under way, by when it is due
``GET /admin/invocations?service=…``                                   what a service has done, latest first
``GET /admin/invocations?…&errors=true``                               those of a page that have an error, with that
``GET /admin/invocations/{id}?journal=true``                           one, and perhaps its journal
``POST /admin/invocations/{id}/cancel``, ``kill``, ``pause``           have it end, or stand still
``POST /admin/invocations/{id}/resume?deployment=``                    have it go on, perhaps on other code
``POST /admin/invocations/{id}/restart-as-new``                        run its request once more
``POST /admin/invocations/{id}/purge``                                 forget it, if it has completed
``GET /admin/services``, ``/admin/services/{service}``                 what is deployed, and where
``GET /admin/deployments``                                             the same by function
``GET /admin/services/{service}/state?key=``, ``&name=``               a key and its state, or one entry
``PUT``, ``DELETE /admin/services/{service}/state?key=&name=``         change an entry, with ``If-Match: VERSION``
=====================================================================  ===============================================

``PATCH`` may stand for ``POST``, as in Restate's admin API, and ``DELETE`` for it in a purge. What is asked for may be
asked for again: the answer is ``{"invocationId", "status": "accepted" | "already"}``; 404 for what there is not, and
409 for an invocation that is over, or, for a purge, that is not. Errors are those of the ingress.

It is an app of its own: the ingress leads nowhere here.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.engine import editing
from adapter.engine.control import Acknowledgement
from adapter.engine.engine import Engine
from adapter.engine.ids import INVOCATION_ID, derived_commit_id
from adapter.engine.journal import (
    AttemptStarted,
    CommandIssued,
    Entry,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
)
from adapter.engine.ports import Listed, NotIndexed, Place
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.types import MAX_KEY, Kind, ObjectKey, Outcome
from adapter.errors import TerminalError
from adapter.http.listing import page
from adapter.http.messages import (
    ID,
    HTTPError,
    answer,
    idempotency_key,
    number,
    read_body,
    require,
    respond,
    show_failure,
)
from adapter.http.services import Deployed, endpoints
from adapter.registry import Registry

LIMIT: Final = 50
MAX_LIMIT: Final = 1000
"""How many invocations a page has, if nothing is said, and at most."""


MAX_VERSION: Final = 10**18
"""More than a key's version ever is."""

Services = Callable[[], Awaitable[Sequence[Deployed]]]
"""All services of a stack, as they are now."""

Exists = Callable[[str], Awaitable[bool]]
"""Returns whether there is a deployment of this name that invocations can resume on."""


def local(registry: Registry) -> Services:
    """The services of a process that has them all."""
    deployed = [Deployed(name, "", "", endpoints(service)) for name, service in registry.services.items()]

    async def services() -> Sequence[Deployed]:
        return deployed

    return services


class Admin:
    """The admin of an engine.

    Whoever reaches it may do everything: what is in front of it says who does.

    Args:
        engine: Acts on what its store has, wherever that runs.
        services: The services of the stack.
        exists: Tells the deployments other than the engine's own; ``None`` if there are none.
    """

    def __init__(self, engine: Engine, services: Services, exists: Exists | None = None) -> None:
        self._engine = engine
        self._services = services
        self._exists = exists

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await respond(Request(scope, receive), self._route)
            await response(scope, receive, send)

    async def _route(self, request: Request) -> Response:
        match request.scope["path"].strip("/").split("/"):
            case ["admin", "invocations"]:
                require(request, "GET")
                return await self._list(request)
            case ["admin", "invocations", id]:
                require(request, "GET")
                return await self._show(request, await self._find(id))
            case ["admin", "invocations", id, what]:
                return await self._act(request, id, what)
            case ["admin", "services"]:
                require(request, "GET")
                return answer({"services": [_service(each) for each in await self._services()]})
            case ["admin", "services", name]:
                require(request, "GET")
                return answer(_service(await self._service(name)))
            case ["admin", "services", name, "state"]:
                return await self._state(request, name)
            case ["admin", "deployments"]:
                require(request, "GET")
                return answer({"deployments": _by_deployment(await self._services())})
            case _:
                raise TerminalError("no such path", code=404)

    # --- invocations ---

    async def _find(self, id: str) -> Meta:
        meta = await self._engine.find(_checked(id))
        if meta is None:
            raise _unknown(id)
        return meta

    async def _list(self, request: Request) -> Response:
        status, service = _status(request), request.query_params.get("service")
        first = "cursor" not in request.query_params
        store, limit, cursor = self._engine.store, _limit(request), request.query_params.get("cursor")

        async def active(shard: int, limit: int, after: Place | None) -> tuple[list[Listed], Place | None]:
            return await self._engine.read(lambda: store.active(shard, limit, status=status, after=after))

        async def history(shard: int, limit: int, after: Place | None) -> tuple[list[Listed], Place | None]:
            name = service or ""
            return await self._engine.read(lambda: store.history(name, shard, limit, status=status, after=after))

        try:
            query = active if service is None else history
            listed, cursor = await page(query, limit, cursor, latest_first=query is history)
        except ValueError as error:
            raise TerminalError(str(error), code=400) from None
        except NotIndexed:
            raise TerminalError(
                "what a service has done is not kept: deploy with the parameter History=true", code=501
            ) from None
        if service is not None and first and not listed:
            await self._service(service)  # an unknown one is an error, not an empty list
        time = "due" if service is None else "created"
        # Promises have records as well; they are no invocations.
        found = [_entry(each, time) for each in listed if INVOCATION_ID.fullmatch(each.id)]
        if request.query_params.get("errors") == "true":  # which are not in the index
            errors = await asyncio.gather(*(self._error(each["id"]) for each in found))
            found = [entry | {"error": error} for entry, error in zip(found, errors, strict=True) if error]
        return answer({"invocations": found, "cursor": cursor})

    async def _error(self, id: str) -> str | None:
        try:
            meta = await self._engine.find(id)
        except Unreadable as error:
            return str(error)
        return meta.error if meta is not None else None

    async def _show(self, request: Request, meta: Meta) -> Response:
        shown = _invocation(meta)
        if request.query_params.get("journal") == "true":
            shown["journal"] = [_journal(entry) for entry in await self._engine.journal(meta)]
        return answer(shown, headers={ID: meta.id})

    async def _act(self, request: Request, id: str, what: str) -> Response:
        control = self._engine.control
        if what not in ACTIONS:
            raise TerminalError(f"no such path; an invocation has {', '.join(ACTIONS)}", code=404)
        require(request, "POST", "PATCH", *(["DELETE"] if what == "purge" else []))
        _checked(id)
        said: Acknowledgement
        match what:
            case "cancel":
                key = idempotency_key(request)
                said = await control.cancel(id, commit_id=None if key is None else derived_commit_id(id, key))
            case "kill":
                said = await control.kill(id)
            case "pause":
                said = await control.pause(id)
            case "resume":
                said = await control.resume(id, deployment=await self._deployment(request, id))
            case "purge":
                said = await control.purge(id)
            case _:
                restarted = await control.restart(id, idempotency_key=idempotency_key(request))
                if restarted is None:
                    raise _unknown(id)
                new = {"invocationId": restarted.id, "status": "accepted", "restarted": id}
                return answer(new, 202, {ID: restarted.id})
        if said == "already":
            await self._refuse_if_over(id, what)
        if said == "not found":
            raise _unknown(id)
        return answer({"invocationId": id, "status": said}, 202 if said == "accepted" else 200, {ID: id})

    async def _deployment(self, request: Request, id: str) -> str | None:
        """The code that an invocation is to go on with; ``None``: what it has."""
        given = request.query_params.get("deployment")
        if given == LATEST:
            return (await self._service((await self._find(id)).target.service)).deployment
        if given in (None, self._engine.deployment) or (self._exists is not None and await self._exists(given)):
            return given
        raise TerminalError(
            f"there is no deployment {given!r}: GET /admin/deployments lists the current ones, an older one has a "
            f"lower version, and deployment={LATEST} is the current one of the invocation's service",
            code=404,
        )

    async def _refuse_if_over(self, id: str, what: str) -> None:
        """Say so, where what was asked for is not done already but cannot be done."""
        meta = await self._engine.find(id)
        if meta is None:
            raise _unknown(id)
        if what == "purge":
            message = f"{id} is {meta.status}: only what has completed is purged; cancel or kill it first"
        elif not meta.live:
            message = f"{id} has completed"
        elif what == "pause" and meta.status is Status.QUEUED:
            message = f"{id} waits for its key: there is nothing to pause"
        else:
            return
        raise HTTPError(message, code=409, headers={ID: id})

    # --- services and keys ---

    async def _service(self, name: str) -> Deployed:
        found = [each for each in await self._services() if each.name == name]
        if not found:
            raise TerminalError(f"there is no service {name!r}", code=404)
        return found[0]

    async def _state(self, request: Request, service: str) -> Response:
        require(request, "GET", "PUT", "DELETE")
        key, name = ObjectKey(service, _given(request, "key")), request.query_params.get("name")
        if request.method == "GET":
            if name is None:
                held = await editing.view(self._engine, key)
                if held.version == 0:  # nothing was ever stored for the key
                    await self._service(service)
                return answer(_held(held), headers={"etag": f'"{held.version}"'})
            value = await editing.read(self._engine, key, name)
            if value is None:
                raise TerminalError(f"{key} has no state {name!r}", code=404)
            return Response(value, headers={"content-type": "application/octet-stream"})
        if not any(each.kind is Kind.EXCLUSIVE for each in (await self._service(service)).handlers.values()):
            raise TerminalError(f"{service!r} is no virtual object: there is no state to edit", code=400)
        value = await read_body(request) if request.method == "PUT" else None
        try:
            version = await editing.edit(self._engine, key, _given(request, "name"), value, _if_match(request))
        except editing.ChangedError as error:
            raise TerminalError(f"{error}: look again", code=412) from None
        return answer({"version": version}, headers={"etag": f'"{version}"'})


LATEST: Final = "latest"
"""Stands for the deployment that hosts an invocation's service now."""

ACTIONS: Final = ("cancel", "kill", "pause", "resume", "restart-as-new", "purge")


# --- what is asked for ---


def _checked(id: str) -> str:
    if not INVOCATION_ID.fullmatch(id):
        raise TerminalError(f"{id!r} is no invocation's id", code=400)
    return id


def _unknown(id: str) -> HTTPError:
    return HTTPError(f"there is no invocation {id}, or it has expired", code=404, headers={ID: id})


def _given(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not 0 < len(value.encode()) <= MAX_KEY:
        raise TerminalError(f"{name} has 1 to {MAX_KEY} bytes in UTF-8", code=400)
    return value


def _status(request: Request) -> Status | None:
    text = request.query_params.get("status")
    try:
        return None if text is None else Status(text)
    except ValueError:
        raise TerminalError(f"status is one of {', '.join(Status)}, not {text!r}", code=400) from None


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIMIT))
    limit = number(text, MAX_LIMIT)
    if not limit:
        raise TerminalError(f"limit is a number from 1 to {MAX_LIMIT}, not {text!r}", code=400)
    return limit


def _if_match(request: Request) -> int:
    text = request.headers.get("if-match", "").strip().strip('"')
    version = number(text, MAX_VERSION)
    if version is None:
        raise TerminalError("If-Match gives the key's version, as GET tells it", code=428)
    return version


# --- what is answered ---


def _entry(listed: Listed, time: str) -> dict[str, Any]:
    return {"id": listed.id, "target": str(listed.target), "status": str(listed.status), time: _time(listed.at)}


def _invocation(meta: Meta) -> dict[str, Any]:
    """A record, without what says nothing."""
    target, outcome = meta.target, meta.outcome
    shown: dict[str, Any] = {
        "id": meta.id,
        "target": str(target),
        "service": target.service,
        "key": target.key,
        "handler": target.handler,
        "kind": str(meta.kind),
        "status": str(meta.status),
        "created": _time(meta.created),
        "due": _time(meta.due),
        "completed": _time(meta.completed),
        "expires": _time(meta.expires),
        "deployment": meta.deployment,
        "parent": meta.parent.ref.id if meta.parent else None,
        "attempts": meta.epoch,
        "failures": meta.failures,
        "error": meta.error,
        "ticket": meta.ticket,
        "waits_for": list(meta.awaits.ids) if meta.awaits else None,
        "missing": None if meta.wake_after is None else max(0, meta.wake_after + 1 - meta.notifications),
        "waiters": meta.waiters,
        "headers": dict(meta.headers),
    }
    if outcome is not None and outcome.failure is not None:
        shown["failure"] = show_failure(outcome.failure)
    return {name: value for name, value in shown.items() if value not in (None, "", 0, {})}


def _journal(entry: Entry) -> dict[str, Any]:
    match entry:
        case CommandIssued(n, kind, name, at, value):
            shown: dict[str, Any] = {"n": n, "command": kind, "name": name}
            if at is not None:
                shown["at"] = _time(at)
            return shown | (_outcome(value) if value is not None else {})
        case ResultDelivered(n, outcome) | StateRead(n, outcome):
            return {"n": n, **_outcome(outcome)}
        case NotificationDelivered(n, id):
            return {"n": n, "notification": id}
        case AttemptStarted(epoch):
            return {"attempt": epoch}
        case StepRetried(n, tries):
            return {"n": n, "tries": tries}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if outcome.failure is not None:
        return {"failure": show_failure(outcome.failure)}
    return {"value": None if outcome.value is None else _value(outcome.value)}


def _held(held: editing.Held) -> dict[str, Any]:
    return {
        "version": held.version,
        "owner": held.owner.id if held.owner else None,
        "waiting": held.waiting,
        "state": {name: _value(value) for name, value in held.entries.items()},
        "large": list(held.large),
    }


def _value(data: bytes) -> Any:
    """Bytes for somebody to look at: JSON as what it says, else text, else base64."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        pass
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _service(deployed: Deployed) -> dict[str, Any]:
    handlers: Mapping[str, Any] = {
        name: {"kind": str(each.kind), "private": each.private, "takes": each.takes, "gives": each.gives}
        for name, each in deployed.handlers.items()
    }
    return {
        "name": deployed.name,
        "function": deployed.function,
        "deployment": deployed.deployment,
        "handlers": handlers,
    }


def _by_deployment(services: Sequence[Deployed]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[str]] = {}
    for each in services:
        found.setdefault((each.function, each.deployment), []).append(each.name)
    return [
        {"function": function, "deployment": deployment, "services": sorted(names)}
        for (function, deployment), names in found.items()
    ]


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
