"""Logs each request that the development server answers."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.console.pages import is_console
from adapter.engine.types import span
from adapter.http.messages import ID
from adapter.http.services import is_admin

log = logging.getLogger("adapter")


POLLING: Final = "x-adapter-console"
"""A request header: the console's pages send it where they look again at what they show."""


class RequestLog:
    """Writes one line for each request: method, path, status, time and invocation.

    The console's own requests, and those for a result that is not there yet, are logged at the level DEBUG.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.monotonic()
        status, id = "no answer", ""

        async def watched(message: Message) -> None:
            nonlocal status, id
            if message["type"] == "http.response.start":
                status = str(message["status"])
                id = Headers(raw=message.get("headers", [])).get(ID, "")
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The path as it was sent, without its query, which may hold secrets.
            path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "backslashreplace")
            wait = span(round((time.monotonic() - began) * 1000))
            looks = scope["method"] == "GET" and is_admin(scope["path"])  # an operator's look is not the invocation's
            extra = {"invocation_id": id} if id and not looks else {}
            asks = scope["method"] == "GET" and status.startswith("202") and "/attach" in scope["path"]
            quiet = asks or is_console(scope["path"]) or POLLING in Headers(scope=scope)
            level = logging.DEBUG if quiet else logging.INFO
            log.log(level, "%s %s: %s in %s", scope["method"], path, status, wait, extra=extra)
