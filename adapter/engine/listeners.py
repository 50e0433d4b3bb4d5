"""The clients of this process that wait for an invocation's outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from adapter.engine.requests import Patience
from adapter.engine.types import Outcome
from adapter.frozen import frozen


@frozen
class Listener:
    """A client that waits.

    Attributes:
        id: The invocation's id.
        patience: How long the client waits.
        future: Completes with the outcome, or with ``None`` if the client is to wait no longer.
    """

    id: str
    patience: Patience
    future: asyncio.Future[Outcome | None]


class Listeners:
    """Gives the outcome of an invocation that completes in this process to those that wait for it here."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[asyncio.Future[Outcome | None], Listener]] = {}  # of each id, by its future

    def __contains__(self, id: str) -> bool:
        """Return True if a client waits for the invocation."""
        return id in self._listeners

    def __len__(self) -> int:
        return len(self._listeners)

    @contextmanager
    def listen(self, id: str, patience: Patience) -> Generator[Listener]:
        """Yield a listener, which is told if this process completes, pauses or suspends the invocation."""
        listener = Listener(id, patience, asyncio.get_running_loop().create_future())
        of_id = self._listeners.setdefault(id, {})
        of_id[listener.future] = listener
        try:
            yield listener
        finally:
            del of_id[listener.future]
            if not of_id:
                del self._listeners[id]

    def complete(self, id: str, outcome: Outcome | None) -> None:
        """Give the outcome to all that wait for it. ``None``: the invocation is paused."""
        for listener in self._waiting(id):
            listener.future.set_result(outcome)

    def on_suspended(self, id: str) -> None:
        """Tell the clients that leave a suspended invocation."""
        for listener in self._waiting(id):
            if listener.patience.leaves:
                listener.future.set_result(None)

    def fail(self, id: str, error: Exception) -> None:
        """Raise an error in all that wait for the invocation."""
        for listener in self._waiting(id):
            listener.future.set_exception(error)

    def _waiting(self, id: str) -> list[Listener]:
        return [listener for listener in self._listeners.get(id, {}).values() if not listener.future.done()]
