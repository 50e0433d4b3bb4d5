"""Paths of Restate's admin API, for its tools: what maps to this admin without harm. The rest is answered with 501.

The base URL is ``/admin/restate``. Sources: the `admin API <https://docs.restate.dev/admin-api>`_.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from adapter.errors import TerminalError
from adapter.http.admin import models as m
from adapter.http.admin import stack
from adapter.http.admin.context import Stack
from adapter.http.admin.routing import Call, route
from adapter.http.messages import answer

ACTIONS: Final = ("cancel", "kill", "pause", "resume", "purge")

MODES: Final = ("cancel", "kill", "purge")
"""What ``DELETE /invocations/{id}?mode=`` can ask for."""

INSTEAD: Final = {
    "query": "list invocations with GET /admin/invocations, or adapter inv list",
    "deployments": "serve an endpoint with adapter dev --endpoint URL; on AWS, sam deploy registers versions",
    "services": "options of a service are in its code",
    "subscriptions": "there are no Kafka subscriptions: have an event source call the ingress",
}
"""What to do instead of what is not there, by the first part of the path."""

LOCAL: Final = "local"
"""The id of what a development server serves, which has no version."""

TYPES: Final = {"service": "Service", "object": "VirtualObject", "workflow": "Workflow"}
HANDLES: Final = {"exclusive": "Exclusive", "shared": "Shared", "workflow": "Workflow"}


async def respond_as_restate(admin: Stack, request: Request, path: str) -> Response:
    """Answer a request to a path of Restate's admin.

    Raises:
        TerminalError: With code 501 if there is no such thing here.
    """
    call = Call(admin, request)
    parts = path.strip("/").split("/")
    match request.method, parts:
        case "GET", ["health"]:
            return answer({})
        case "GET", ["version"]:
            told = {"min_admin_api_version": 1, "max_admin_api_version": 3}
            return answer({"version": _version(), **told})
        case "GET", ["deployments"]:
            return answer({"deployments": [_deployment(each) for each in await _deployments(call)]})
        case "GET", ["deployments", name]:
            found = await stack.deployment(call, _own_name(name))
            services = [_service(each) for each in await _services(call) if each["deployment"] == _own_name(name)]
            return answer({**_deployment(found), "services": services})
        case "DELETE", ["deployments", name]:
            if not _own_name(name):
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
            response = await _ours(admin, request, "PATCH", f"invocations/{id}/restart-as-new", request.url.query)
            return answer({"new_invocation_id": response.headers["x-restate-id"]})
        case "DELETE", ["invocations", id] if (mode := call.query("mode") or "cancel") in MODES:
            await _ours(admin, request, "PATCH", f"invocations/{id}/{mode}")
            return Response(status_code=202)
        case _:
            hint = INSTEAD.get(parts[0], "it is for a Restate server only")
            asked = f"{request.method} /{path[:100]}"
            raise TerminalError(f"{asked} of Restate's admin API is not served: {hint}", code=501)


async def _ours(admin: Stack, request: Request, method: str, path: str, query: str = "") -> Response:
    """Answer by one of this admin's own operations."""
    scope = {**request.scope, "method": method, "path": f"/admin/{path}", "query_string": query.encode()}
    return await route(admin, Request(scope, request.receive))


def _version() -> str:
    try:
        return version("serverless-adapter")
    except PackageNotFoundError:  # a function's package may lack the metadata
        return "0"


def _own_name(deployment: str) -> str:
    return "" if deployment == LOCAL else deployment


async def _deployments(call: Call) -> list[m.Deployment]:
    return (await stack.deployments(call))["deployments"]


async def _services(call: Call) -> list[m.Service]:
    return (await stack.services(call))["services"]


def _deployment(of: m.Deployment) -> dict[str, Any]:
    return {
        "id": of["deployment"] or LOCAL,
        "uri": of["function"],
        "protocol_type": "RequestResponse",
        "http_version": "HTTP/2.0",
        "created_at": of.get("created", "1970-01-01T00:00:00.000+00:00"),
        "min_protocol_version": 5,
        "max_protocol_version": 7,
        "services": [{"name": name, "revision": 1} for name in of["services"]],
    }


def _service(of: m.Service) -> dict[str, Any]:
    return {
        "name": of["name"],
        "ty": TYPES[of["kind"]],
        "deployment_id": of["deployment"] or LOCAL,
        "revision": 1,
        "public": not all(each["private"] for each in of["handlers"].values()),
        "handlers": [_handler(name, each) for name, each in of["handlers"].items()],
    }


def _handler(name: str, of: m.Handler) -> dict[str, Any]:
    return {
        "name": name,
        "ty": HANDLES.get(of["kind"]),
        "public": not of["private"],
        "documentation": of.get("doc"),
        "input_description": f"value of content-type {of['takes']!r}" if of["takes"] else "none",
        "output_description": f"value of content-type {of['gives']!r}" if of["gives"] else "none",
        "input_json_schema": of.get("input"),
        "output_json_schema": of.get("output"),
    }
