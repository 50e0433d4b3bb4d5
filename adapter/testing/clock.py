"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import heapq


class ManualClock:
    """The time of an `Environment`.

    Args:
        start: The time at first, in milliseconds since the epoch.
    """

    def __init__(self, start: int) -> None:
        self._now = start
        self._count = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1000), self._count, future))
        await future

    def next(self) -> int | None:
        """When the first of those that wait wakes."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move(self, to: int) -> None:
        """Let it be a later time, and wake those that waited for it."""
        self._now = max(self._now, to)
        while (at := self.next()) is not None and at <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)
