"""Timers and dispatcher of a single process: what is to run elsewhere or later runs here."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from adapter.engine.piles import Piles
from adapter.engine.ports import Clock
from adapter.engine.process import Repeat
from adapter.engine.records import Ref

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


log = logging.getLogger("adapter")


class LocalDispatcher:
    """Runs in this process what is dispatched. Set ``engine`` before the first request."""

    engine: Engine

    def __init__(self) -> None:
        self._piles: Piles[int] = Piles()

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        """Have the invocation run, beside other work."""
        if not self.engine.deployment.serves(service):  # it would be dispatched here again and again
            log.warning("%s is not served here; the sweeper dispatches anew", service, extra={"invocation_id": ref.id})
            return
        for ids in await self._piles.add(batch, ref.id, batch):
            one = len(ids) == 1
            work = self.engine.resume(ids[0], fresh=fresh) if one else self.engine.resume_all(ids)
            self.engine.process.spawn(work, repeated_by=Repeat.DISPATCH)


class LocalTimers:
    """Wakes invocations as long as this process lives; after a restart the sweeper does. Set ``engine`` as above."""

    engine: Engine

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: dict[tuple[Ref, str], asyncio.Task[None]] = {}

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        """Have the invocation resumed at a time."""
        if (ref, name) not in self._timers:
            task = self._timers[ref, name] = asyncio.create_task(self._wake(ref, at))
            task.add_done_callback(lambda _: self._timers.pop((ref, name), None))

    async def unschedule(self, ref: Ref, name: str) -> None:
        """Forget a timer."""
        task = self._timers.pop((ref, name), None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Forget all timers."""
        for task in list(self._timers.values()):
            task.cancel()

    async def _wake(self, ref: Ref, at: int) -> None:
        await self._clock.sleep(max(0, at - self._clock.now()) / 1000)
        self.engine.process.spawn(self.engine.resume(ref.id), repeated_by=Repeat.TIMER)
