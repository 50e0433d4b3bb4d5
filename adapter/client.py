"""The six typed clients over HTTP, for callers that are no handlers.

```python
async with Client("https://example.execute-api.eu-central-1.amazonaws.com") as client:
    total = await client.object_client(Counter, "Mary").add(1)
    client.service_send_client(Mailer).remind("Mary", delay=timedelta(hours=5))
```
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx

from adapter.clients import Clients
from adapter.engine.commands import NOT_FOUND, NOT_READY, READY, Asked, Attach, Call, Complete, Output, Send, SendSignal
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Kind, Outcome
from adapter.errors import TerminalError
from adapter.operations import Invocation, Operation

log = logging.getLogger("adapter")

T = TypeVar("T")
R = TypeVar("R")

_LOST = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
"""What leaves open whether a request arrived."""

_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""What is the same encoded and decoded, however often, and no step within a path."""

_LONGEST_ANSWER = 60.0
"""Seconds to wait for one answer: longer than API Gateway does."""


class Client(Clients):
    """Calls and sends over HTTP, from within a running event loop.

    A request goes out at once and is repeated until it is answered. It always carries an idempotency key (a random one
    where none is given; a workflow's ``run`` has its id), so nothing happens twice. Awaiting a call gives its result;
    so does awaiting what was sent, which may be much later. To know that what was sent is safely stored, `flush`, or
    leave the ``async with`` block, which does. The logger ``adapter`` warns when a request is first repeated.

    Awaiting raises `TerminalError` with the status and message of an answer that says no. It raises ``TimeoutError``
    when there was no answer in time; what was asked for may then have happened or may yet, and the message has its id.

    Args:
        url: Where the services are, each with a route of its own; a path in it is kept.
        timeout: How long a call, a send, or the wait for what was sent, is repeated for in all.
        http: The httpx client to use, with its headers, authentication or transport. It stays open.

    >>> from adapter import Client, Context, Service, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> async def main() -> None:  # asyncio.run(main()), while `adapter dev` serves it
    ...     async with Client("http://localhost:8080") as client:
    ...         print(await client.service_client(Greeter).greet("Mary", idempotency_key="7"))
    """

    def __init__(
        self, url: str, *, timeout: timedelta = timedelta(minutes=2), http: httpx.AsyncClient | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout.total_seconds()
        self._http = http or httpx.AsyncClient()
        self._owned = http is None
        self._sent: set[asyncio.Task[httpx.Response]] = set()
        self._open: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            await self.aclose()

    async def flush(self) -> None:
        """Wait until all that was sent since the last time is stored.

        Raises:
            TerminalError: If something was refused.
            TimeoutError: If there was no answer in time.
        """
        sent, self._sent = self._sent, set()
        for answer in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer

    async def aclose(self) -> None:
        """Give up on this side what is under way, and close the connections."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self._owned:
            await self._http.aclose()

    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        asyncio.get_running_loop()  # says so, if there is none, before anything is made
        target = command.target
        headers = {**command.headers, "content-type": content_type} if content_type else dict(command.headers)
        if command.kind is Kind.WORKFLOW and target.key is not None:
            id = workflow_id(target.service, target.key)
        else:
            headers["idempotency-key"] = command.idempotency_key or uuid4().hex
            id = idempotent_id(target, headers["idempotency-key"])
        path = _handler_path(command)
        if isinstance(command, Call):
            return _Remote(id, self._start(self._call(path, id, command.input, headers)), decode)
        stored = self._start(self._exchange("POST", path, id, command.input, headers))
        self._sent.add(stored)
        stored.add_done_callback(self._accepted)
        return _Remote(id, stored, decode, self._attach)

    def _attach(self, id: str) -> asyncio.Task[httpx.Response]:
        return self._start(self._exchange("GET", _attach_path(id), id))

    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        match command:
            case Attach(id):
                answer = self._exchange("GET", _attach_path(id), id)
                return _Remote(id, self._start(answer), decode)
            case Output(id):
                return _Answer(self._start(self._look(id)), decode)
            case Complete(id, Outcome(value, failure)):
                path = f"restate/awakeables/{_quoted(id)}/{'resolve' if failure is None else 'reject'}"
                if failure is not None and failure.code != 500:
                    raise ValueError("over HTTP an awakeable is rejected with code 500")
                body = value or b"" if failure is None else failure.message.encode()
                return _Answer(self._start(self._tell(path, id, body)), decode)
            case SendSignal(id, name, value):
                segments, query = _said(name, "name")
                path = _joined(["restate", "invocation", id, "signals", *segments], query)
                return _Answer(self._start(self._tell(path, id, value)), decode)

    async def _look(self, id: str) -> bytes:
        try:
            return READY + (await self._exchange("GET", f"restate/invocation/{_quoted(id)}/output", id)).content
        except TerminalError as error:
            if error.code not in (404, 470):
                raise
            return NOT_READY if error.code == 470 else NOT_FOUND

    async def _tell(self, path: str, id: str, body: bytes) -> bytes:
        try:
            # The key makes a repeat the same.
            await self._exchange("POST", path, id, body, {"idempotency-key": uuid4().hex})
        except TerminalError as error:
            if error.code not in (404, 409):
                raise
            return b'"already"'
        return b'"accepted"'

    def _start(self, exchange: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        task = asyncio.get_running_loop().create_task(exchange)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task

    def _accepted(self, stored: asyncio.Task[httpx.Response]) -> None:
        if not stored.cancelled() and stored.exception() is None:
            self._sent.discard(stored)  # what was refused stays, for flush to tell

    async def _call(self, path: str, id: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        response = await self._exchange("POST", path, id, body, headers)
        # A workflow that runs already, because an earlier try of ours did arrive.
        return await self._exchange("GET", _attach_path(id), id) if response.status_code == 409 else response

    async def _exchange(
        self, method: str, path: str, id: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Repeat a request until it is answered, if only by a 409 that shows that an earlier try did arrive."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        repeated, pause, problem = False, 0.1, "no time"
        while (left := deadline - clock()) > 0:
            try:
                response = await self._http.request(
                    method, f"{self._url}/{path}", content=body, headers=headers, timeout=min(left, _LONGEST_ANSWER)
                )
            except _LOST as error:
                problem = f"{type(error).__name__} {error}".strip()
            else:
                if response.is_success:
                    return response
                if response.status_code == 409 and repeated and "idempotency-key" not in (headers or {}):
                    return response
                message, final = _refusal(response)
                if final:
                    raise TerminalError(message, code=response.status_code if response.is_error else 502)
                problem = f"{response.status_code} {message}"
            if not repeated:
                log.warning("%s: %s; %s is repeated for up to %.3g s", self._url, problem, id, left)
            repeated = True
            await asyncio.sleep(min(pause * random.uniform(0.5, 1), left))
            pause = min(pause * 2, 2.0)
        raise TimeoutError(
            f"{method} {self._url}/{path}: no answer in {self._timeout:g} s, last {problem}; {id} may exist"
        )


class _Answer(Operation[T]):
    """What was asked over HTTP of something that is there already."""

    def __init__(self, answer: asyncio.Task[bytes], decode: Callable[[bytes | None], T]) -> None:
        self._answer = answer
        self._decode = decode

    @property
    def done(self) -> bool:
        return self._answer.done()

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        return self._decode(await asyncio.shield(self._answer))


class _Remote(Invocation[T]):
    """An invocation that was asked for over HTTP.

    The answer to a call has its result; to what was sent, one attaches.
    """

    def __init__(
        self,
        id: str,
        answer: asyncio.Task[httpx.Response],
        decode: Callable[[bytes | None], T],
        attach: Callable[[str], asyncio.Task[httpx.Response]] | None = None,
    ) -> None:
        self._id = id
        self._answer = answer
        self._decode = decode
        self._attach = attach
        self._attached: asyncio.Task[httpx.Response] | None = None

    @property
    def id(self) -> str:
        answer = self._answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            # Only the other side knows that a generic call was to a workflow's run.
            return str(answer.result().headers.get("x-restate-id", self._id))
        return self._id

    @property
    def done(self) -> bool:
        return self._answer.done() if self._attach is None else self._attached is not None and self._attached.done()

    def cancel(self) -> Operation[bool]:
        """Not there over HTTP yet.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("an HTTP client cannot cancel yet; a handler can, with ctx.cancel(id)")

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        # Shielded, so that a caller's timeout ends its waiting and not what is waited for.
        answer = await asyncio.shield(self._answer)
        if self._attach is not None:
            self._attached = self._attached or self._attach(self.id)
            answer = await asyncio.shield(self._attached)
        return self._decode(answer.content)


def _refusal(response: httpx.Response) -> tuple[str, bool]:
    """What an error answer says, and whether another try is pointless."""
    try:
        body = response.json()
    except ValueError:
        body = None
    said: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    message = said.get("message") or response.text[:500] or response.reason_phrase
    # Errors of handlers carry a code; what a gateway says for itself does not, and what passes says when to try again.
    # A 504 is only ever about waiting.
    gateway = response.status_code in (429, 500, 502, 503) and ("code" not in said or "retry-after" in response.headers)
    passing = response.status_code == 504 or gateway
    return str(message), not passing


def _handler_path(command: Call | Send) -> str:
    target = command.target
    segments, query = ([], {}) if target.key is None else _said(target.key, "key")
    segments = [target.service, *segments, target.handler]
    if isinstance(command, Send):
        segments.append("send")
        if command.delay:
            query["delay"] = f"{command.delay}ms"
    return _joined(segments, query)


def _said(text: str, parameter: str) -> tuple[list[str], dict[str, str]]:
    """Where a path says something: in a segment, if nobody on the way could take it for more than letters, else in its
    query. API Gateway decodes paths twice and cuts them at what is a question mark then."""
    return ([text], {}) if _PLAIN.fullmatch(text) else ([], {parameter: text})


def _joined(segments: Sequence[str], query: Mapping[str, str]) -> str:
    path = "/".join(_quoted(segment) for segment in segments)
    return f"{path}?{urlencode(query, quote_via=quote, safe='')}" if query else path


def _quoted(part: str) -> str:
    # A part of dots alone would be taken for a step up the path.
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")


def _attach_path(id: str) -> str:
    return f"restate/invocation/{id}/attach"
