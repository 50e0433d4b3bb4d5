"""Apps of Restate's Python SDK, in this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from adapter.errors import DefinitionError
from adapter.registry import BoundService
from adapter.restate.answers import EndpointError
from adapter.restate.endpoints import Endpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

T = TypeVar("T")

AsgiApp = Callable[..., Coroutine[Any, Any, None]]
"""An ASGI app, such as ``restate.app(...)``."""


class AppEndpoint(Endpoint):
    """An app of the SDK that runs in this process: an exchange is a function call.

    Args:
        app: The ASGI app.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the exchanges, for an app that asks for it.
    """

    def __init__(self, app: AsgiApp, *, version: int | None = None, identity: Identity | None = None) -> None:
        super().__init__("the app", version=version, identity=identity)
        self._app = app

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",  # the SDK then answers when it has the whole journal
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": None,
            "server": None,
        }
        status, answer = 0, bytearray()
        events = iter([{"type": "http.request", "body": body, "more_body": False}])
        ended = asyncio.Event()

        async def receive() -> dict[str, Any]:
            event: dict[str, Any] | None = next(events, None)
            if event is None:
                await ended.wait()
                return {"type": "http.disconnect"}
            return event

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                answer.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    ended.set()

        try:
            await self._app(scope, receive, send)
        except Exception as error:
            raise EndpointError(f"the app failed: {type(error).__name__}: {error}") from error
        return status, bytes(answer)


def sdk_app(value: Any) -> AsgiApp:
    """Return the ASGI app of what the SDK made: ``restate.app(...)``, or an endpoint.

    On Lambda the SDK wraps its app into a Lambda handler, in which events wait for each other. The app itself is taken.

    Raises:
        DefinitionError: If there is none in it.
    """
    if not isinstance(value, FunctionType):
        return sdk_app(value.app())
    if value.__module__ == "restate.server":
        return cast(AsgiApp, value)
    app = inspect.getclosurevars(value).nonlocals.get("asgi_app")
    if app is None:
        raise DefinitionError(f"no app is found in {value!r}, which Restate's SDK made: its version is not supported")
    return cast(AsgiApp, app)


def app_services(app: AsgiApp) -> Mapping[str, BoundService]:
    """Return the services of an app of the SDK.

    Raises:
        DefinitionError: If it offers what cannot be served here.
    """
    return _completed(AppEndpoint(sdk_app(app)).discover())


def _completed(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
