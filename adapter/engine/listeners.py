"""The clients of this process that wait for an invocation's outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from adapter.engine.types import Outcome


class Listeners:
    """Gives the outcome of an invocation that completes in this process to those that wait for it here."""

    def __init__(self) -> None:
        self._futures: dict[str, list[asyncio.Future[Outcome | None]]] = {}

    def __contains__(self, id: str) -> bool:
        """Return True if a client waits for the invocation."""
        return id in self._futures

    def __len__(self) -> int:
        return len(self._futures)

    @contextmanager
    def listen(self, id: str) -> Generator[asyncio.Future[Outcome | None]]:
        """Yield a future that completes if this process completes or pauses the invocation."""
        future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(id, []).append(future)
        try:
            yield future
        finally:
            self._futures[id].remove(future)
            if not self._futures[id]:
                del self._futures[id]

    def complete(self, id: str, outcome: Outcome | None) -> None:
        """Give the outcome to all that wait for it. ``None``: the invocation is paused."""
        for future in self._futures.get(id, ()):
            if not future.done():
                future.set_result(outcome)

    def fail(self, id: str, error: Exception) -> None:
        """Raise an error in all that wait for the invocation."""
        for future in self._futures.get(id, ()):
            if not future.done():
                future.set_exception(error)
