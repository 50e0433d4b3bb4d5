"""Apps of Restate's Python SDK, in this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from adapter.errors import DefinitionError
from adapter.registry import BoundService
from adapter.restate.answers import EndpointError
from adapter.restate.conversation import Stream
from adapter.restate.endpoints import Endpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

T = TypeVar("T")

TURNS: Final = 30
"""Turns of the event loop within which an app says what it has to say. One that runs a step has more time."""

MAX_HELD: Final = 1024 * 1024
"""Bytes of output from which on an app has to wait until they are taken."""

AsgiApp = Callable[..., Coroutine[Any, Any, None]]
"""An ASGI app, such as ``restate.app(...)``."""


class AppEndpoint(Endpoint):
    """An app of the SDK that runs in this process: an exchange is a function call, or a stream is a task.

    Args:
        app: The ASGI app.
        version: The version of the protocol to speak; the highest that both sides know, if not given.
        identity: Signs the exchanges, for an app that asks for it.
        duplex: False to use requests and responses only.
    """

    streams = True

    def __init__(
        self, app: AsgiApp, *, version: int | None = None, identity: Identity | None = None, duplex: bool = True
    ) -> None:
        super().__init__("the app", version=version, identity=identity, duplex=duplex)
        self.silent = True  # the Python SDK sends what it awaits only with what comes after
        self._app = app
        self._running: set[asyncio.Task[None]] = set()

    async def stream(self, path: str, headers: Mapping[str, str]) -> Stream:
        stream = AppStream(self._app, _scope("POST", path, headers))
        self._running.add(stream.task)
        stream.task.add_done_callback(self._running.discard)
        return stream

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
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
            await self._app(_scope(method, path, headers), receive, send)
        except Exception as error:
            raise _failed(error) from error
        return status, bytes(answer)


class AppStream(Stream):
    """A call of an app whose input and output are under way at the same time."""

    quiet = 0.0
    silence = inf  # an app in this process cannot be lost without a word

    def __init__(self, app: AsgiApp, scope: Mapping[str, Any]) -> None:
        self._input = asyncio.Queue[dict[str, Any]]()
        self._output = bytearray()
        self._dropped = False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(app(scope, self._input.get, self._send))
        self.task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # `take` raises it, if it is still of interest
        self._news.set()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._output += message.get("body", b"")
        self._news.set()
        while len(self._output) > MAX_HELD and not self._dropped:
            self._room.clear()
            await self._room.wait()

    @property
    def ended(self) -> bool:
        return self.task.done()

    @property
    def size(self) -> int:
        return len(self._output)

    async def write(self, data: bytes) -> None:
        self._input.put_nowait({"type": "http.request", "body": data, "more_body": True})

    def end(self) -> None:
        self._input.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def heard(self, seconds: float) -> bool:
        """Wait as `Stream.heard` says; for 0 seconds, as many turns of the loop as an app needs that does not wait."""
        for _ in range(TURNS):
            if self._output or self.ended:
                return True
            await asyncio.sleep(0)
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._output or self.ended):
                    await self._news.wait()
                    self._news.clear()
        return bool(self._output) or self.ended

    def take(self) -> bytes:
        if not self._output and self.task.done() and not self.task.cancelled():
            error = self.task.exception()
            if error is not None:
                raise _failed(error)
        said = bytes(self._output)
        self._output.clear()
        self._room.set()
        return said

    def leave(self) -> None:
        self.abort()

    def abort(self) -> None:
        # The SDK takes a cancellation for the end of the handler, and then waits until its input has ended.
        self._input.put_nowait({"type": "http.disconnect"})
        self._dropped = True
        self._room.set()
        self.task.cancel()


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "2",  # what has streams in both directions
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


def _failed(error: BaseException) -> EndpointError:
    return EndpointError(f"the app failed: {type(error).__name__}: {error}")


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
