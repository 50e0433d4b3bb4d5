"""Serves the console's pages under ``/console``.

The pages are built from ``web/`` into ``built/`` by ``make console``, and are part of the wheel.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

BUILT: Final = Path(__file__).with_name("built")

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The pages load only what this server serves, run no inline script, and are shown in no frame."""

HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

MISSING: Final = (
    "The console's pages are not built. Run `make console` in the clone of the repository, then install the clone "
    "again, unless it is installed as editable."
)


def is_console(path: str) -> bool:
    """Return True if a path belongs to the console."""
    return path == "/console" or path.startswith("/console/")


class Pages:
    """An ASGI app: the console's pages.

    Args:
        options: Returns the options by which a command reaches the same server, for a request. The pages show commands.
        url: The base URL of the stack's handlers. None stands for the URL of the pages.
        stack: The name of the stack that the pages show, or None on a developer's machine.
        built: The folder with the built pages.
    """

    def __init__(
        self,
        options: Callable[[Request], str],
        *,
        url: str | None = None,
        stack: str | None = None,
        built: Path = BUILT,
    ) -> None:
        self._options = options
        self._url = url
        self._stack = stack
        self._built = built

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await self._answer(request)(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Use GET.", 405, {**HEADERS, "allow": "GET, HEAD"})
        path: str = request.scope["path"]
        if path == "/console/config.json":
            url = self._url or f"{request.url.scheme}://{request.url.netloc}"
            config: dict[str, Any] = {"options": self._options(request), "stack": self._stack, "url": url}
            return JSONResponse(config, headers={**HEADERS, "cache-control": "no-store"})
        if path.startswith("/console/assets/"):
            # The name of an asset has a hash of its content.
            return _file(self._built / "assets", path.removeprefix("/console/assets/"), "max-age=31536000, immutable")
        if not (self._built / "index.html").is_file():
            return PlainTextResponse(MISSING, 503, HEADERS)
        return _file(self._built, "index.html", "no-cache")


def _file(folder: Path, name: str, caching: str) -> Response:
    if name not in {path.name for path in folder.glob("*") if path.is_file()}:
        return PlainTextResponse("There is no such file.", 404, HEADERS)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response((folder / name).read_bytes(), media_type=kind, headers={**HEADERS, "cache-control": caching})
