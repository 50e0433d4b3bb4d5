"""An event loop in virtual time: waiting costs nothing, and a run is a function of its seed alone."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Stalled(Exception):
    """Nothing is ready and nothing is scheduled: whoever waits, waits forever."""


class Runaway(Exception):
    """It goes on and on."""


MOST = 5_000_000
"""Callbacks after which a simulation is given up."""


PLAIN = contextvars.Context()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Handle(asyncio.TimerHandle):
    """What asyncio wants to have of a callback, and no more: a simulation makes thousands in a second."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None):
        self._callback, self._args, self._cancelled = callback, args, False
        self._context = contextvars.copy_context() if context is None else context

    def cancel(self) -> None:
        self._cancelled = True


class SimLoop:
    """An event loop whose time passes only when nothing else is left to do. It has what asyncio needs of a loop.

    Attributes:
        now: Seconds since it began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._scheduled = 0

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until a coroutine has returned, moving the time wherever nothing is ready.

        Raises:
            Stalled: If it waits for what will never be.
            Runaway: If there is no end to it.
        """
        task = self.create_task(main)
        ready, timers = self._ready, self._timers
        count = 0
        events._set_running_loop(cast("asyncio.AbstractEventLoop", self))
        try:
            while not task.done():
                while timers and (not ready or timers[0][0] <= self.now):
                    when, _, handle = heappop(timers)
                    if not handle._cancelled:
                        self.now = max(self.now, when)
                        ready.append(handle)
                if not ready:
                    raise Stalled
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._context.run(handle._callback, *handle._args)
                count += 1
                if count > MOST:
                    raise Runaway
        finally:
            events._set_running_loop(None)
        return task.result()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> _Handle:
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> _Handle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> _Handle:
        handle = _Handle(callback, args, context)
        self._scheduled += 1
        heappush(self._timers, (when, self._scheduled, handle))
        return handle

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """What is done after so many seconds: as `asyncio.sleep`, at less cost."""
        future = self.create_future()
        if seconds > 0:
            self.call_at(self.now + seconds, _wake, future, context=PLAIN)
        else:
            self.call_soon(_wake, future, context=PLAIN)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=cast("asyncio.AbstractEventLoop", self), name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a process that was killed leaves behind is nobody's business."""


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time; whatever it left behind is cancelled."""
    loop = SimLoop()
    try:
        return loop.run(main)
    finally:
        for _ in range(5):
            tasks = _left(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run(_breathe())
        for task in _left(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]


def _left(loop: SimLoop) -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks(cast("asyncio.AbstractEventLoop", loop))


async def _breathe() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
