"""The client for code without an event loop."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx
import tenacity

from adapter.client.base import BaseClient
from adapter.client.flows import Flow
from adapter.client.handles import Pending, Remote, succeeded
from adapter.client.requests import Ask
from adapter.client.responses import Answer
from adapter.client.retrying import answer_timeout, no_result, policy, seconds
from adapter.operations import Operation

T = TypeVar("T")

THREADS: Final = 32
"""How many requests are under way at once. More wait for these."""


class SyncClient(BaseClient):
    """Calls and sends over HTTP, for code that is not async. `Client` is its twin for asyncio.

    A request goes out at once, in a thread, and is repeated until it is answered. `result` waits for a call's result,
    or for that of what was sent. To know that all that was sent is stored, `flush`, or leave the ``with`` block, which
    does. One client may be used by several threads.

    `result` raises what awaiting a `Client`'s call does.

    Args:
        url: Where the services are, each with a route of its own; a path in it is kept.
        timeout: How long a call, a send, or the wait for a result takes at most, with all its requests; in seconds.
        auth: How requests are authenticated: `SigV4`, or whatever httpx takes.
        http: The httpx client to use, with its headers, certificates or transport. It stays open.

    Raises:
        ValueError: If the URL or the time-out makes no sense. Calls raise it for text that HTTP does not carry.

    >>> from adapter import Context, Service, SyncClient, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> def main() -> None:  # while `adapter dev` serves it
    ...     with SyncClient("http://localhost:8080") as client:
    ...         calls = [client.service_client(Greeter).greet(name) for name in ("Mary", "John")]
    ...         print(*(client.result(call) for call in calls))
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | timedelta = 120,
        auth: httpx.Auth | tuple[str, str] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, timeout)
        self._auth = httpx.USE_CLIENT_DEFAULT if auth is None else auth
        self._http = http or httpx.Client()
        self._owned = http is None
        self._threads = ThreadPoolExecutor(THREADS, "adapter-client")
        self._closed = threading.Event()
        self._sent: set[Future[httpx.Response]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()

    def result(self, operation: Operation[T], /, *, timeout: float | timedelta | None = None) -> T:
        """Wait for the result of a call, of what was sent, or of another operation of this client.

        Args:
            operation: What this client's methods returned.
            timeout: How long to wait. By default, until the operation ends. An operation that outlasts this time
                continues, and you can wait for it again.

        Raises:
            TerminalError: If the handler failed with it, or the adapter refused the request.
            UnexpectedResponseError: If the response was not the adapter's.
            TimeoutError: If there was no answer in time.
            TypeError: If the operation is not of a `SyncClient`.
        """
        pending = operation.pending() if isinstance(operation, Remote) else None
        if not isinstance(pending, Future) or not isinstance(operation, Remote):
            raise TypeError(f"result() takes what a SyncClient's methods return, not {operation!r}")
        value = pending.result(None if timeout is None else seconds(timeout, "timeout"))
        read: T = operation.read(value)
        return read

    def flush(self) -> None:
        """Wait until all that was sent since the last time is stored.

        Raises:
            TerminalError: If something was refused.
            UnexpectedResponseError: If a response was not the adapter's.
            TimeoutError: If there was no answer in time.
        """
        with self._lock:
            sent, self._sent = self._sent, set()
        wait(sent)
        for each in sent:
            each.result()

    def close(self) -> None:
        """Give up on this side what is under way, and close the connections."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._owned:
            self._http.close()

    def _start(self, flow: Flow[T], after: Pending[object] | None = None) -> Future[T]:
        return self._threads.submit(self._run, flow, after)

    def _sending(self, response: Pending[httpx.Response]) -> None:
        assert isinstance(response, Future)
        with self._lock:
            self._sent.add(response)
        response.add_done_callback(self._forget)

    def _forget(self, sent: Future[httpx.Response]) -> None:
        if succeeded(sent):
            with self._lock:
                self._sent.discard(sent)  # what failed stays, for flush to raise

    def _run(self, flow: Flow[T], after: Pending[object] | None) -> T:
        if isinstance(after, Future):
            wait([after])
        deadline = time.monotonic() + self._timeout
        try:
            ask = next(flow)
            while True:
                ask = flow.send(self._exchange(ask, deadline))
        except StopIteration as end:
            result: T = end.value
            return result

    def _exchange(self, ask: Ask, deadline: float) -> Answer:
        clock = time.monotonic
        if ask.after:
            if self._closed.wait(min(ask.after, deadline - clock())):
                raise TimeoutError(f"the client was closed; {ask.id} continues")
            if clock() >= deadline:
                raise no_result(self._url, ask, self._timeout)

        def request() -> httpx.Response:
            return self._http.request(
                ask.method,
                f"{self._url}/{ask.path}",
                content=ask.body,
                headers=ask.headers,
                auth=self._auth,
                timeout=answer_timeout(clock, deadline),
            )

        options = policy(self._url, ask, self._timeout, deadline - clock())
        options["stop"] |= tenacity.stop_when_event_set(self._closed)
        retrying = tenacity.Retrying(**options, sleep=tenacity.sleep_using_event(self._closed))
        response = retrying(request)
        return Answer(response, retrying.statistics["attempt_number"] > 1)
