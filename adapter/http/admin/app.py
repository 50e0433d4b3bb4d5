"""The admin as an ASGI app."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from adapter.engine.engine import Engine
from adapter.http.admin import actions, invocations, keys, openapi, outside, stack, tree, why
from adapter.http.admin.context import Stack
from adapter.http.admin.ports import Services
from adapter.http.admin.routing import refuse, route
from adapter.http.messages import respond

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
            response = await respond(Request(scope, receive), lambda request: route(self._stack, request), refuse)
            await response(scope, receive, send)
