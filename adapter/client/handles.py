"""The operations and invocations that a client's calls return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeVar

import httpx

from adapter.operations import Invocation, Operation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pending(Protocol[T_co]):
    """A result to come: an ``asyncio.Task``, or a ``concurrent.futures.Future``."""

    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def exception(self) -> BaseException | None: ...
    def result(self) -> T_co: ...


def succeeded(pending: Pending[object]) -> bool:
    """Return True if the result is there."""
    return pending.done() and not pending.cancelled() and pending.exception() is None


class Remote(Operation[T]):
    """An operation over HTTP.

    Args:
        pending: The result to come, as it is sent.
        read: Reads it.
    """

    def __init__(self, pending: Pending[Any], read: Callable[[Any], T]) -> None:
        self._pending = pending
        self.read = read

    @property
    def done(self) -> bool:
        return self._pending.done()

    def pending(self) -> Pending[Any]:
        """Return the result to come, for a waiting caller."""
        return self._pending

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        pending = self.pending()
        if not isinstance(pending, asyncio.Future):
            raise TypeError("a SyncClient's calls are not awaited: use client.result(call), or Client in async code")
        # Shielded, so that a caller's time-out ends its waiting and not what it waits for.
        return self.read(await asyncio.shield(pending))


class RemoteInvocation(Remote[T], Invocation[T]):
    """An invocation over HTTP.

    Args:
        id: The invocation's id, as far as this side can tell.
        response: The response to the request. A call's has the result.
        decode: Reads the result.
        cancel: Cancels the invocation.
        attach: Waits for the result of an invocation that was sent; ``None`` for a call.
    """

    def __init__(
        self,
        id: str,
        response: Pending[httpx.Response],
        decode: Callable[[bytes | None], T],
        cancel: Callable[[RemoteInvocation[T]], Operation[bool]],
        attach: Callable[[], Pending[httpx.Response]] | None,
    ) -> None:
        super().__init__(response, lambda response: decode(response.content))
        self._id = id
        self._cancel = cancel
        self._attach = attach
        self._attached: Pending[httpx.Response] | None = None

    @property
    def id(self) -> str:
        # Only the other side knows that a generic call was to a workflow's run.
        return answered_id(self._pending) if succeeded(self._pending) else self._id

    @property
    def done(self) -> bool:
        return self._pending.done() if self._attach is None else self._attached is not None and self._attached.done()

    def cancel(self) -> Operation[bool]:
        return self._cancel(self)

    def pending(self) -> Pending[httpx.Response]:
        if self._attach is None:
            return self._pending
        self._attached = self._attached or self._attach()
        return self._attached


def answered_id(response: Pending[httpx.Response]) -> str:
    """Return the id of the invocation that a response is about.

    Raises:
        Exception: What the request failed with.
    """
    return str(response.result().headers["x-restate-id"])
