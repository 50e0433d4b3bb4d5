"""The admin as an ASGI app."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapter.engine.engine import Engine
from adapter.http.admin import actions, invocations, keys, openapi, outside, stack, tree, why
from adapter.http.admin.context import Stack
from adapter.http.admin.ports import Services
from adapter.http.admin.routing import refuse, route
from adapter.http.messages import respond

PREFIX: Final = "/admin/restate/"
"""Where Restate's tools find their paths."""

MODULES = (openapi, invocations, why, tree, actions, keys, outside, stack)
"""The modules with the operations. A path that another one's pattern would match as well stands before it."""


class Admin:
    """The admin of an engine. See `Stack` for the arguments.

    Every request that reaches it is allowed: what is in front of it decides who may send one.
    """

    def __init__(self, engine: Engine, services: Services, **ports: Any) -> None:
        self._stack = Stack(engine, services, **ports)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await respond(Request(scope, receive), self._answer, refuse)
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path: str = request.scope["path"]
        if path.startswith(PREFIX):
            from adapter.http.admin.restate import respond_as_restate  # for Restate's tools only

            return await respond_as_restate(self._stack, request, path.removeprefix(PREFIX))
        return await route(self._stack, request)
