"""The event loop that handler code runs on.

It knows nothing except callbacks that are ready. Code on it therefore advances in one order only, which a replay
repeats. Code is blocked when no callback is ready. Waiting for anything except a durable operation is an error.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar, cast

from adapter.errors import NonDeterminismError
from adapter.operations import Operation

HELP = (
    "handler code may await only what its context gives it, so that a replay can repeat it: "
    "wrap I/O, threads and other side effects in `ctx.run(name, function)`"
)

AWAITS_TO_LEAVE: Final = 10
"""How many awaits code may have in the blocks that it leaves. Code that awaits again and again is left where it is."""

T = TypeVar("T")

_END_SLEEP = cast(Any, asyncio.futures)._set_result_unless_cancelled


class _Future(asyncio.Future[Any]):
    """A future whose hash is the same on replay, like that of `_Task`. ``asyncio.shield`` returns one."""

    def __init__(self, number: int, loop: Any) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    """A task whose hash is the same on replay, so that the sets in which asyncio keeps tasks have the same order."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], context: Context, **options: Any) -> None:
        self.context = context
        # asyncio keeps a set of all tasks, in which no two should have the same hash: the first tasks of all handlers
        # would be compared with each other.
        self._number = id(self)
        super().__init__(coro, context=context, **options)
        self._number = number

    def __hash__(self) -> int:
        return self._number


def _waits_in_no_order(frame: FrameType) -> str:
    """Return why ``asyncio.wait`` cannot wait for what it was given, because a replay would see another order.

    Args:
        frame: The frame that asks the loop for a future.
    """
    if frame.f_code.co_name != "_wait" or frame.f_globals.get("__name__") != "asyncio.tasks":
        return ""
    futures = frame.f_locals["fs"]
    if any(isinstance(future, Operation) for future in futures):
        return "asyncio.wait takes tasks, not operations: use adapter.wait_completed or adapter.select"
    if all(isinstance(future, _Future | _Task) for future in futures):
        return ""
    return (
        "asyncio.wait keeps to no order over what asyncio.gather returns, or over an asyncio.Future of your own: "
        "give it tasks, as asyncio.create_task makes them, or use adapter.gather"
    )


async def _result(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _caller_is_as_completed() -> bool:
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_globals.get("__name__") == "asyncio.tasks":
        if "as_completed" in frame.f_code.co_name or "_AsCompleted" in getattr(frame.f_code, "co_qualname", ""):
            return True
        frame = frame.f_back
    return False


def _unwind(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Have code leave all its blocks, also those that await something on the way out."""
    for _ in range(AWAITS_TO_LEAVE):
        try:
            coroutine.close()
        except BaseException as error:
            if str(error).endswith("ignored GeneratorExit"):
                continue
        return


class _Running:
    """While it is entered, a loop is the one that code runs on, and the task of the outer loop that called for it is
    left. A class, because `contextlib.contextmanager` takes five times as long, and a step enters it once."""

    def __init__(self, loop: DurableLoop) -> None:
        self._loop = loop
        self._outer = outer = events._get_running_loop()
        self._task = asyncio.current_task(outer) if outer is not None else None

    def __enter__(self) -> None:
        if self._outer is not None and self._task is not None:
            tasks._leave_task(self._outer, self._task)
        events._set_running_loop(self._loop)  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        events._set_running_loop(self._outer)
        if self._outer is not None and self._task is not None:
            tasks._enter_task(self._outer, self._task)


class DurableLoop:
    """A deterministic event loop.

    Args:
        sleep: Called by `call_later` with seconds and a handle, which is given to `fire` after that time.
            ``asyncio.sleep`` and the timeouts of asyncio become durable sleeps by it.
        time: Returns the time in seconds, the same on a replay.
    """

    def __init__(self, sleep: Callable[[float, asyncio.TimerHandle], None], time: Callable[[], float]) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._sleep = sleep
        self._time = time
        self._tasks: set[_Task] = set()
        self._count = 0
        self._futures = 0
        self._dropped = False
        self._context: Context | None = None
        """The context of the first task."""
        self.error: BaseException | None = None
        """An error of a callback that no task could be given, or the first refusal. The attempt fails, whatever the
        code makes of it."""
        self.cancellations = 0
        """How often the invocation was cancelled."""

    def run_until_blocked(self) -> None:
        """Run callbacks until none is ready."""
        if not self._ready:
            return
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._close)
        try:
            with _Running(self):
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        try:
                            handle._run()
                        except (SystemExit, KeyboardInterrupt) as error:  # asyncio lets only these two out
                            self.error = self.error or error
        finally:
            sys.set_asyncgen_hooks(*hooks)

    def _close(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator that handler code left early on this loop, so that its ``finally`` blocks may await
        here."""
        if not self._dropped:
            self.create_task(generator.aclose())
        elif self._context is not None:
            # The garbage collector comes to it at any time, perhaps while other code runs.
            with _Running(self), suppress(BaseException):
                self._context.copy().run(generator.aclose().send, None)

    def abandon(self) -> None:
        """Drop every task where it stands.

        Python runs the ``finally`` blocks that are open, which nothing can prevent. They run here and now, in the
        task's context and on this loop. They can await nothing, and their errors are dropped.
        """
        self._dropped = True
        if not (self._tasks or self._ready):
            return
        with _Running(self):
            while self._tasks:  # a block may make tasks of its own
                task = self._tasks.pop()
                if task.done():
                    continue
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to stay so
                task.context.run(_unwind, cast("Coroutine[Any, Any, Any]", task.get_coro()))
            self._ready.clear()

    # --- what asyncio needs of a loop ---

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)  # type: ignore[arg-type]
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(delay, callback, args, self, context)  # type: ignore[arg-type]
        if delay <= 0:
            self._ready.append(handle)
        else:
            self._sleep(delay, handle)
        return handle

    def fire(self, handle: asyncio.Handle) -> None:
        """Run a handle that waited."""
        self._ready.append(handle)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    @staticmethod
    def sleeper(handle: asyncio.TimerHandle) -> asyncio.Future[Any] | None:
        """Return the future that an ``asyncio.sleep`` awaits, if the handle belongs to one."""
        own = getattr(handle, "_callback", None) is _END_SLEEP
        return cast(Any, handle)._args[0] if own else None

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled handle is skipped when its sleep ends."""

    def time(self) -> float:
        """Return the time in seconds since the epoch. It moves on only when the code was blocked."""
        return self._time()

    def create_future(self) -> asyncio.Future[Any]:
        if refusal := _waits_in_no_order(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            self.refuse(refusal)
        self._futures += 1
        return _Future(self._futures, self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any] | Operation[Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        awaited = _result(coro) if isinstance(coro, Operation) else coro
        if _caller_is_as_completed():
            awaited.close()
            self.refuse("asyncio.as_completed keeps to no order: use adapter.as_completed")
        self._count += 1
        task = _Task(self._count, awaited, context or copy_context(), loop=self, name=name, **options)
        self._context = self._context or task.context
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if str(context.get("message")).endswith("exception was never retrieved"):
            return  # this depends on garbage collection, and asyncio itself would only log it
        self.error = self.error or context.get("exception") or RuntimeError(str(context.get("message")))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        self.refuse(f"{name} was used in handler code; {HELP}")

    def refuse(self, why: str) -> NoReturn:
        """Fail the attempt, also if the code catches the error that this raises.

        Raises:
            NonDeterminismError: Always.
        """
        error = NonDeterminismError(why)
        self.error = self.error or error
        raise error
