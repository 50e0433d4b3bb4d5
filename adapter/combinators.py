"""Waiting for several operations.

The order in which results arrive is recorded, and a replay receives them in the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import Any, Generic, Literal, TypeVar, overload

from adapter.engine.pending import Pending, wait
from adapter.errors import InvocationCancelledError
from adapter.operations import Operation
from adapter.serde import type_name

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")


@overload
async def gather(a: Awaitable[T1], /, *, return_exceptions: Literal[False] = False) -> tuple[T1]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], /, *, return_exceptions: Literal[False] = False
) -> tuple[T1, T2]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /, *, return_exceptions: Literal[False] = False
) -> tuple[T1, T2, T3]: ...
@overload
async def gather(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    e: Awaitable[T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    e: Awaitable[T5],
    f: Awaitable[T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4, T5, T6]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    *operations: Awaitable[T], return_exceptions: Literal[False] = False
) -> tuple[T, ...]: ...
@overload
async def gather(a: Awaitable[T1], /, *, return_exceptions: bool) -> tuple[T1 | BaseException]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], /, *, return_exceptions: bool
) -> tuple[T1 | BaseException, T2 | BaseException]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /, *, return_exceptions: bool
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /, *, return_exceptions: bool
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException, T4 | BaseException]: ...
@overload
async def gather(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    e: Awaitable[T5],
    /,
    *,
    return_exceptions: bool,
) -> tuple[T1 | BaseException, T2 | BaseException, T3 | BaseException, T4 | BaseException, T5 | BaseException]: ...
@overload
async def gather(
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    e: Awaitable[T5],
    f: Awaitable[T6],
    /,
    *,
    return_exceptions: bool,
) -> tuple[
    T1 | BaseException,
    T2 | BaseException,
    T3 | BaseException,
    T4 | BaseException,
    T5 | BaseException,
    T6 | BaseException,
]: ...
@overload
async def gather(*operations: Awaitable[T], return_exceptions: bool) -> tuple[T | BaseException, ...]: ...
async def gather(*operations: Awaitable[Any], return_exceptions: bool = False) -> tuple[Any, ...]:
    """Return the results of all, as a tuple in the order given.

    Coroutines and tasks are accepted too. The first failure is raised at once, and the other operations continue. A
    handler that is suspended meanwhile is resumed once: for the last result, or for the first failure.

    Args:
        *operations: What to wait for.
        return_exceptions: True to wait for all, and to return failures in the places of results. If the invocation
            itself is cancelled meanwhile, that is raised all the same.

    Raises:
        TypeError: If an argument cannot be awaited.

    >>> async def twice(n: int) -> int:
    ...     return 2 * n
    >>> asyncio.run(gather(twice(1), twice(2)))
    (2, 4)
    """
    group = object()
    waits: list[tuple[asyncio.Future[Any], Pending[Any]]] = []
    futures: list[asyncio.Future[Any]] = []
    for operation in operations:
        if not isinstance(operation, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                "gather takes operations one by one, as in gather(*calls), "
                f"not a value of type {type_name(type(operation))}"
            )
        future: asyncio.Future[Any] = asyncio.ensure_future(operation)
        futures.append(future)
        if isinstance(operation, Operation) and isinstance(begun := operation.begun(), Pending):
            begun.wait_group = group
            waits.append((future, begun))
    cancelled = cancellations()
    try:
        results: list[Any] = await asyncio.gather(*futures, return_exceptions=return_exceptions)
        if cancellations() > cancelled:
            for error in (result for result in results if isinstance(result, InvocationCancelledError)):
                raise error
        return tuple(results)
    finally:
        # Operations without a result continue, but are no longer awaited.
        for future, begun in waits:
            future.cancel()
            begun.wait_group = None


def cancellations() -> int:
    """Return how often the invocation whose handler runs was cancelled."""
    return getattr(asyncio.get_running_loop(), "cancellations", 0)


async def select(*operations: Operation[T]) -> Operation[T]:
    """Wait for one operation, and return the one that has completed: compare it by ``is``, await it for its result.

    If it failed, awaiting it raises the failure. If several have completed, the first in the order given is returned.
    The others continue; end a call that is no longer needed with `Invocation.cancel`.

    Raises:
        TypeError: If an argument is not an operation of the handler's context.
        ValueError: If there is no argument.

    >>> from datetime import timedelta
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Shop(Service):
    ...     @handler
    ...     async def ask(self, ctx: Context) -> str:
    ...         answer, patience = ctx.awakeable(str), ctx.sleep(timedelta(days=1))
    ...         return await answer if await select(answer, patience) is answer else "no answer"
    >>> async def main() -> None:
    ...     async with Environment(Shop) as env:
    ...         print(await env.service_client(Shop).ask())
    >>> asyncio.run(main())
    no answer
    """
    done, _ = await wait_completed(*operations)
    return done[0]


async def wait_completed(*operations: Operation[T]) -> tuple[list[Operation[T]], list[Operation[T]]]:
    """Wait for one operation, and return the completed and the pending ones, each in the order given.

    Raises:
        TypeError: If an argument is not an operation of the handler's context.
        ValueError: If there is no argument.

    >>> from datetime import timedelta
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Race(Service):
    ...     @handler
    ...     async def first(self, ctx: Context) -> list[int]:
    ...         done, pending = await wait_completed(*[ctx.sleep(timedelta(hours=hours)) for hours in (3, 1, 2)])
    ...         return [len(done), len(pending)]
    >>> async def main() -> None:
    ...     async with Environment(Race) as env:
    ...         print(await env.service_client(Race).first())
    >>> asyncio.run(main())
    [1, 2]
    """
    await _Any(_pendings(operations))
    return [o for o in operations if o.done], [o for o in operations if not o.done]


async def wait_all(*operations: Operation[Any]) -> None:
    """Wait until all have completed, without raising what they failed with: await each for its result.

    A handler that is suspended meanwhile is resumed once, for the last.

    Raises:
        TypeError: If an argument is not an operation of the handler's context.
    """
    group, pendings = object(), _pendings(operations)
    for pending in pendings:
        pending.wait_group = group
    try:
        while left := [pending for pending in pendings if not pending.done]:
            await _Any(left)
    finally:
        for pending in pendings:
            pending.wait_group = None


def as_completed(*operations: Operation[T]) -> AsyncIterator[Operation[T]]:
    """Yield the operations as they complete; awaiting one then returns its result, or raises its failure, at once.

    Raises:
        TypeError: If an argument is not an operation of the handler's context.

    >>> from datetime import timedelta
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Baker(Service):
    ...     @handler
    ...     async def bake(self, ctx: Context, minutes: int) -> int:
    ...         await ctx.sleep(timedelta(minutes=minutes))
    ...         return minutes
    ...
    ...     @handler
    ...     async def all(self, ctx: Context) -> list[int]:
    ...         calls = [ctx.service_client(Baker).bake(minutes) for minutes in (30, 10, 20)]
    ...         return [await call async for call in as_completed(*calls)]
    >>> async def main() -> None:
    ...     async with Environment(Baker) as env:
    ...         print(await env.service_client(Baker).all())
    >>> asyncio.run(main())
    [10, 20, 30]
    """
    return _AsCompleted(operations)


class _AsCompleted(AsyncIterator[Operation[T]], Generic[T]):
    # No async generator: one that is left early would be closed on the process's loop, at some time.

    def __init__(self, operations: tuple[Operation[T], ...]) -> None:
        self._left = [*zip(operations, _pendings(operations), strict=True)]

    async def __anext__(self) -> Operation[T]:
        if not self._left:
            raise StopAsyncIteration
        await _Any([pending for _, pending in self._left])
        place = next(place for place, (_, pending) in enumerate(self._left) if pending.done)
        return self._left.pop(place)[0]


class _Any:
    """Waits for one of them."""

    def __init__(self, operations: list[Pending[Any]]) -> None:
        if not operations:
            raise ValueError("there is no operation to wait for: pass at least one")
        self._operations = operations

    def __await__(self) -> Generator[Any, None, None]:
        return wait(self._operations)


def _pendings(operations: tuple[Operation[Any], ...]) -> list[Pending[Any]]:
    pendings: list[Pending[Any]] = []
    for operation in operations:
        begun = operation.begun() if isinstance(operation, Operation) else operation  # pyright: ignore[reportUnnecessaryIsInstance]
        if not isinstance(begun, Pending):
            raise TypeError(
                f"a value of type {type_name(type(operation))} is not an operation of the handler's context: "
                "use gather for other awaitables, or asyncio.wait for tasks"
            )
        pendings.append(begun)
    return pendings
