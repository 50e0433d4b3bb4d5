"""What `Context.run` makes of its arguments."""

from __future__ import annotations

import asyncio
import inspect
import typing
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from adapter.checks import check_text
from adapter.engine.types import MAX_KEY, RetryPolicy
from adapter.serde import type_name

T = TypeVar("T")

HINT = "pass the step's type=, or annotate what its function returns"


def check_step(name: object, fn: object, args: tuple[Any, ...], kwargs: dict[str, Any], retry: object) -> None:
    """Raise what is wrong with the arguments of `Context.run`."""
    if callable(name):
        called = getattr(name, "__name__", "fn")
        raise TypeError(f"run takes the step's name first: run({called!r}, {called}, …)")
    check_text("name", cast("str", name), MAX_KEY)
    if fn is None:
        raise TypeError(f"run({name!r}) is given no function: pass it second, as in run({name!r}, fn, …)")
    if inspect.iscoroutine(fn):
        fn.close()
        called = fn.__name__
        raise TypeError(f"run({name!r}, {called}(…)) calls the function itself: pass run({name!r}, {called}, …)")
    if not callable(fn):
        raise TypeError(
            f"run({name!r}, …) takes a function and its arguments, not a value of type {type_name(type(fn))}"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry is of type RetryPolicy, not {type_name(type(retry))}")
    if kwargs:
        try:
            inspect.signature(fn).bind(*args, **kwargs)
        except TypeError as error:
            called = getattr(fn, "__name__", type_name(type(fn)))
            raise TypeError(f"run({name!r}, {called}, …): {error}; the step's own keywords are retry, type") from None
        except ValueError:
            pass  # a builtin that does not say what it takes


_LIVE: Final = 32
"""How many plain steps run at the same time in one process."""

_THREADS: Final = 800
"""How many threads there are at most. Lambda allows 1,024 of a process."""

_turns = WeakKeyDictionary[AbstractEventLoop, asyncio.Semaphore]()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "step")


async def in_thread(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a plain function in a thread, with the context variables of the caller.

    A call that is cancelled continues in its thread, but no longer counts as running: steps that were given up do not
    keep others waiting.

    Raises:
        RuntimeError: If the function raises ``StopIteration``, which no future can pass on.
    """
    loop = asyncio.get_running_loop()
    call = partial(copy_context().run, fn, *args, **kwargs)
    async with _turns.setdefault(loop, asyncio.Semaphore(_LIVE)):
        return await loop.run_in_executor(_threads(), _passing_on, call)


def _passing_on(call: Callable[[], T]) -> T:
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


def returned(fn: Any) -> Any:
    """Return the return annotation of a function; `Any` if it has none."""
    while isinstance(fn, partial):
        fn = cast("Any", fn.func)
    if isinstance(fn, type):
        return cast("Any", fn)
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    try:
        returned = typing.get_type_hints(fn, include_extras=True).get("return", Any)
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"the return annotation of {fn.__qualname__} cannot be resolved: {error}. Pass the result's type as type="
        ) from error
    return typing.get_args(returned)[-1] if typing.get_origin(returned) in (Awaitable, Coroutine) else returned
