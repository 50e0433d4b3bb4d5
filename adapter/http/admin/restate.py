"""Paths of Restate's admin API, for its tools: what maps to this admin without harm. The rest is answered with 501.

The base URL is ``/admin/restate``. Sources: the `admin API <https://docs.restate.dev/admin-api>`_.
"""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from adapter.errors import TerminalError
from adapter.http.admin import arrow, parameters, stack
from adapter.http.admin import models as m
from adapter.http.admin.context import Stack
from adapter.http.admin.ports import Endpoints
from adapter.http.admin.query import evaluate, read_query
from adapter.http.admin.relations import deployment_id, is_public, rows_for
from adapter.http.admin.routing import Call, route
from adapter.http.messages import answer

COMMAND_LINE: Final = "restate-cli/"
"""The user agent of Restate's command line begins so."""

ACTIONS: Final = ("cancel", "kill", "pause", "resume", "purge")

MODES: Final = ("cancel", "kill", "purge")
"""What ``DELETE /invocations/{id}?mode=`` can ask for."""

VERSIONED: Final = re.compile("v[0-9]+")
"""The first part of a path that names the version of the API. The paths served here are the same in all."""

PROTOCOLS: Final = {"min_protocol_version": 5, "max_protocol_version": 7}
"""The versions of the service protocol that the engine speaks."""

INSTEAD: Final = {
    "deployments": "serve an endpoint with adapter dev --endpoint URL; on AWS, sam deploy registers versions",
    "services": "options of a service are in its code, and adapter state edits its state",
    "subscriptions": "there are no Kafka subscriptions: have an event source call the ingress",
}
"""What to do instead of what is not there, by the first part of the path."""


TYPES: Final = {"service": "Service", "object": "VirtualObject", "workflow": "Workflow"}
HANDLES: Final = {"exclusive": "Exclusive", "shared": "Shared", "workflow": "Workflow"}


class Asked(TypedDict):
    """The body of a query: SQL."""

    query: str


class Registration(TypedDict):
    """The body of a registration. A Restate server knows more options."""

    uri: NotRequired[str]
    arn: NotRequired[str]
    assume_role_arn: NotRequired[str | None]
    additional_headers: NotRequired[dict[str, str] | None]
    use_http_11: NotRequired[bool]  # which version an endpoint speaks is found out
    force: NotRequired[bool]
    breaking: NotRequired[bool]
    dry_run: NotRequired[bool]
    metadata: NotRequired[dict[str, str]]


async def respond_as_restate(admin: Stack, request: Request, path: str) -> Response:
    """Answer a request to a path of Restate's admin.

    Raises:
        TerminalError: With code 501 if there is no such thing here.
    """
    call = Call(admin, request)
    parts = path.strip("/").split("/")
    if len(parts) > 1 and VERSIONED.fullmatch(parts[0]):
        del parts[0]
    match request.method, parts:
        case "GET", ["health"]:
            return answer({})
        case "GET", ["version"]:
            spoken = {"min_admin_api_version": 1, "max_admin_api_version": 4}
            return answer({"version": _version(), **spoken, "ingress_endpoint": _ingress(request), "features": {}})
        case "GET", ["deployments"]:
            return answer({"deployments": [_deployment(each, request) for each in await _deployments(call)]})
        case "POST", ["deployments"] if admin.endpoints is not None:
            return await _register(call, admin.endpoints)
        case "GET", ["deployments", id]:
            found = await _found(call, id)
            services = [_service(each) for each in await _services(call) if each["deployment"] == found["deployment"]]
            return answer({**_deployment(found, request), "services": services})
        case "DELETE", ["deployments", id]:
            name = (await _found(call, id))["deployment"]
            if not name:
                raise TerminalError("what this process serves cannot be removed", code=409)
            await _ours(admin, request, "DELETE", f"deployments/{name}")
            return Response(status_code=202)
        case "GET", ["services"]:
            return answer({"services": [_service(each) for each in await _services(call)]})
        case "GET", ["services", name]:
            return answer(_service(await stack.service(call, name)))
        case "GET", ["services", name, "handlers"]:
            return answer({"handlers": _service(await stack.service(call, name))["handlers"]})
        case "GET", ["services", name, "handlers", handler]:
            handlers = _service(await stack.service(call, name))["handlers"]
            for each in handlers:
                if each["name"] == handler:
                    return answer(each)
            raise TerminalError(f"{name} has no handler {handler[:100]!r}", code=404)
        case (("PATCH" | "POST"), ["invocations", id, action]) if action in ACTIONS:
            return await _ours(admin, request, "PATCH", f"invocations/{id}/{action}", request.url.query)
        case (("PATCH" | "POST"), ["invocations", id, "restart-as-new"]):
            if request.headers.get("user-agent", "").startswith(COMMAND_LINE):  # it would report a failure
                hint = f"adapter inv restart {id[:100]}"
                raise TerminalError(f"Restate's command line cannot read the new id: use {hint}", code=501)
            response = await _ours(admin, request, "PATCH", f"invocations/{id}/restart-as-new", request.url.query)
            return answer({"new_invocation_id": response.headers["x-restate-id"]})
        case "DELETE", ["invocations", id] if (mode := call.query("mode") or "cancel") in MODES:
            await _ours(admin, request, "PATCH", f"invocations/{id}/{mode}")
            return Response(status_code=202)
        case "POST", ["query"]:
            return await _query(call)
        case _:
            hint = INSTEAD.get(parts[0], "it is for a Restate server only")
            asked = f"{request.method} /{path[:100]}"
            raise TerminalError(f"{asked} of Restate's admin API is not served: {hint}", code=501)


async def _ours(admin: Stack, request: Request, method: str, path: str, query: str = "") -> Response:
    """Answer by one of this admin's own operations."""
    scope = {**request.scope, "method": method, "path": f"/admin/{path}", "query_string": query.encode()}
    return await route(admin, Request(scope, request.receive))


async def _register(call: Call, endpoints: Endpoints) -> Response:
    """Serve an endpoint from now on, or say what it offers."""
    asked = await parameters.json_body(call, Registration)
    url = asked.get("uri")
    if url is None:
        raise TerminalError("a function of Lambda is not registered here: sam deploy registers versions", code=501)
    if asked.get("additional_headers"):
        raise TerminalError("additional_headers is not supported: an endpoint is asked without them", code=501)
    found = await endpoints.register(url, dry_run=asked.get("dry_run", False))
    services = [_service(stack.described(each, {})) for each in found]
    return answer({"id": deployment_id(""), "services": services, **PROTOCOLS}, 201)


async def _query(call: Call) -> Response:
    """Answer SQL: as JSON if that is accepted, else as a stream of Arrow."""
    asked = await parameters.json_body(call, Asked)
    query = read_query(asked["query"])
    names, rows = await asyncio.to_thread(evaluate, query, await rows_for(call, query))
    if "application/json" in call.request.headers.get("accept", ""):
        pairs = (zip(names, row, strict=True) for row in rows)
        return answer({"rows": [{name: value for name, value in each if value is not None} for each in pairs]})
    return Response(arrow.encode(names, rows), media_type=arrow.MEDIA_TYPE)


def _version() -> str:
    try:
        return version("serverless-adapter")
    except PackageNotFoundError:  # a function's package may lack the metadata
        return "0"


def _ingress(request: Request) -> str:
    return str(request.base_url)


async def _found(call: Call, id: str) -> m.Deployment:
    for each in await _deployments(call):
        if id in (each["deployment"], deployment_id(each["deployment"])):
            return each
    raise TerminalError(f"there is no deployment {id[:100]!r}: GET /deployments lists them", code=404)


async def _deployments(call: Call) -> list[m.Deployment]:
    return (await stack.deployments(call))["deployments"]


async def _services(call: Call) -> list[m.Service]:
    return (await stack.services(call))["services"]


def _deployment(of: m.Deployment, request: Request) -> dict[str, Any]:
    name = of["deployment"]
    return {
        "id": deployment_id(name),
        "uri": f"lambda://{name.replace(':', '/')}" if name else _ingress(request),
        "protocol_type": "RequestResponse",
        "http_version": "HTTP/2.0",
        "created_at": of.get("created", "1970-01-01T00:00:00.000+00:00"),
        **PROTOCOLS,
        "services": [{"name": name, "revision": 1} for name in of["services"]],
    }


def _service(of: m.Service) -> dict[str, Any]:
    return {
        "name": of["name"],
        "ty": TYPES[of["kind"]],
        "deployment_id": deployment_id(of["deployment"]),
        "revision": 1,
        "public": is_public(of),
        "documentation": of.get("doc"),
        "metadata": of.get("metadata", {}),
        "handlers": [_handler(name, each) for name, each in of["handlers"].items()],
    }


def _handler(name: str, of: m.Handler) -> dict[str, Any]:
    return {
        "name": name,
        "ty": HANDLES.get(of["kind"]),
        "public": not of["private"],
        "documentation": of.get("doc"),
        "metadata": of.get("metadata", {}),
        "input_description": f"value of content-type {of['takes']!r}" if of["takes"] else "none",
        "output_description": f"value of content-type {of['gives']!r}" if of["gives"] else "none",
        "input_json_schema": of.get("input"),
        "output_json_schema": of.get("output"),
    }
