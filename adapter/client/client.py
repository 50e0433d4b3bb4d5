"""The client for asyncio."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import tenacity

from adapter.client.base import BaseClient
from adapter.client.flows import Flow
from adapter.client.handles import Pending, succeeded
from adapter.client.requests import Ask
from adapter.client.responses import Answer
from adapter.client.retrying import answer_timeout, no_result, policy

T = TypeVar("T")


class Client(BaseClient):
    """Calls and sends over HTTP, from within a running event loop.

    A request goes out at once and is repeated until it is answered. While an invocation is suspended, the client asks
    for its result from time to time. A request names one invocation, by an idempotency key (a random one where none is
    given) or by a workflow's id, so nothing happens twice. Awaiting a call gives its result.
    Awaiting what was sent gives its result as well, which may be much later. To know that all that was sent is stored,
    `flush`, or leave the ``async with`` block, which does. The logger ``adapter`` warns when a request is repeated.

    Awaiting raises:

    - `TerminalError` with the code and the message of an error of the handler or of the adapter;
    - `UnexpectedResponseError` for a response that is not the adapter's: the URL is wrong, or a gateway refused it;
    - ``TimeoutError`` if there is no result in time; the invocation may exist then, and the message has its id.

    Args:
        url: Where the services are, each with a route of its own; a path in it is kept.
        timeout: How long a call, a send, or the wait for a result takes at most, with all its requests; in seconds.
        auth: How requests are authenticated: `SigV4`, or whatever httpx takes.
        http: The httpx client to use, with its headers, certificates or transport. It stays open.

    Raises:
        ValueError: If the URL or the time-out makes no sense. Calls raise it for text that HTTP does not carry.

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
        self,
        url: str,
        *,
        timeout: float | timedelta = 120,
        auth: httpx.Auth | tuple[str, str] | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, timeout)
        self._auth = httpx.USE_CLIENT_DEFAULT if auth is None else auth
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
            UnexpectedResponseError: If a response was not the adapter's.
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

    def _start(self, flow: Flow[T], after: Pending[object] | None = None) -> asyncio.Task[T]:
        loop = asyncio.get_running_loop()  # says so, if there is none, before anything is made
        task: asyncio.Task[T] = loop.create_task(self._run(flow, after))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task

    def _sending(self, response: Pending[httpx.Response]) -> None:
        assert isinstance(response, asyncio.Task)
        self._sent.add(response)
        response.add_done_callback(self._forget)

    def _forget(self, sent: asyncio.Task[httpx.Response]) -> None:
        if succeeded(sent):
            self._sent.discard(sent)  # what failed stays, for flush to raise

    async def _run(self, flow: Flow[T], after: Pending[object] | None) -> T:
        if isinstance(after, asyncio.Future):
            await asyncio.wait({after})
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            ask = next(flow)
            while True:
                ask = flow.send(await self._exchange(ask, deadline))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _exchange(self, ask: Ask, deadline: float) -> Answer:
        clock = asyncio.get_running_loop().time
        if ask.after:
            await asyncio.sleep(min(ask.after, deadline - clock()))
            if clock() >= deadline:
                raise no_result(self._url, ask, self._timeout)

        async def request() -> httpx.Response:
            return await self._http.request(
                ask.method,
                f"{self._url}/{ask.path}",
                content=ask.body,
                headers=ask.headers,
                auth=self._auth,
                timeout=answer_timeout(clock, deadline),
            )

        retrying = tenacity.AsyncRetrying(**policy(self._url, ask, self._timeout, deadline - clock()))
        response: httpx.Response = await retrying(request)
        return Answer(response, retrying.statistics["attempt_number"] > 1)
