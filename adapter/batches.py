"""One piece of work for each of many items: how many at once, how many may fail, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from adapter.combinators import cancellations, gather
from adapter.errors import InvocationCancelledError, TerminalError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
I = TypeVar("I")  # noqa: E741


@dataclass(frozen=True, slots=True)
class Succeeded(Generic[T_co]):
    """The work for an item succeeded."""

    result: T_co


@dataclass(frozen=True, slots=True)
class Failed:
    """The work for an item failed for good."""

    error: TerminalError


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The batch ended before the work for an item began or ended."""


UNFINISHED: Final = Unfinished()


class Ending(StrEnum):
    """Why a batch ended."""

    ALL = "all"
    """The work for all items has ended."""
    ENOUGH = "enough"
    """As many succeeded as were asked for."""
    FAILURES = "failures"
    """More failed than are tolerated."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What became of a batch.

    Attributes:
        outcomes: The outcome of each item, in the order given.
        ending: Why the batch ended.
    """

    outcomes: tuple[Succeeded[T] | Failed | Unfinished, ...]
    ending: Ending

    @property
    def succeeded(self) -> list[T]:
        """The results of the items that succeeded, in the order given."""
        return [outcome.result for outcome in self.outcomes if isinstance(outcome, Succeeded)]

    @property
    def failed(self) -> list[TerminalError]:
        """The errors of the items that failed, in the order given."""
        return [outcome.error for outcome in self.outcomes if isinstance(outcome, Failed)]

    def results(self) -> list[T]:
        """Return the results that succeeded, unless more failed than are tolerated.

        Raises:
            TerminalError: The first failure, if the batch ended by failures.
        """
        if self.ending is Ending.FAILURES:
            raise self.failed[0]
        return self.succeeded


async def map_items(
    items: Iterable[I],
    work: Callable[[I], Awaitable[T]],
    /,
    *,
    max_concurrency: int | None = None,
    min_successful: int | None = None,
    tolerated_failures: int = 0,
    tolerated_share: float | None = None,
) -> Batch[T]:
    """Do one piece of work for each item, and return what became of each.

    The work of an item fails with a `TerminalError`. Any other exception fails the attempt, which is retried. When the
    batch has ended early, no further work begins, and code that still runs is cancelled as asyncio cancels tasks.
    Operations that it made continue.

    Args:
        items: The items.
        work: Called with an item, returns an operation or a coroutine.
        max_concurrency: How many items are worked on at the same time; all of them if not given.
        min_successful: How many successes are enough, and end the batch; all items are worked on if not given.
        tolerated_failures: How many items may fail. One more ends the batch.
        tolerated_share: The share of the items that may fail, from 0 to 1, in place of a number. With 1 no failure
            ends the batch.

    Raises:
        ValueError: If a number is out of range.
        InvocationCancelledError: If the invocation is cancelled meanwhile.

    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Shipping(Service):
    ...     @handler
    ...     async def ship(self, ctx: Context, parcel: int) -> str:
    ...         if parcel == 13:
    ...             raise TerminalError("no such parcel")
    ...         return f"shipped {parcel}"
    ...
    ...     @handler
    ...     async def ship_all(self, ctx: Context, parcels: list[int]) -> list[str]:
    ...         ship = ctx.service_client(Shipping).ship
    ...         batch = await map_items(parcels, ship, max_concurrency=2, tolerated_share=0.5)
    ...         return [*batch.results(), *map(str, batch.failed)]
    >>> async def main() -> None:
    ...     async with Environment(Shipping) as env:
    ...         print(await env.service_client(Shipping).ship_all([12, 13, 14]))
    >>> asyncio.run(main())
    ['shipped 12', 'shipped 14', 'no such parcel']
    """
    todo = list(items)
    at_once = len(todo) if max_concurrency is None else max_concurrency
    enough = len(todo) if min_successful is None else min_successful
    if at_once < 1 and todo:
        raise ValueError("max_concurrency is at least 1, or None for all at once")
    if enough < 0 or tolerated_failures < 0:
        raise ValueError("min_successful and tolerated_failures are not negative")
    if tolerated_share is not None and not 0 <= tolerated_share <= 1:
        raise ValueError("tolerated_share is from 0 to 1")
    tolerated = tolerated_failures if tolerated_share is None else int(len(todo) * tolerated_share)
    batch: _Running[T] = _Running(len(todo), enough, tolerated)
    if at_once >= len(todo) and enough >= len(todo) <= tolerated:
        await batch.work_all([work(item) for item in todo])
    else:
        await batch.work_in_turn((work(item) for item in todo), at_once)
    return Batch(tuple(batch.outcomes), batch.ending or Ending.ALL)


class _Running(Generic[T]):
    """A batch under way."""

    def __init__(self, count: int, enough: int, tolerated: int) -> None:
        self.outcomes: list[Succeeded[T] | Failed | Unfinished] = [UNFINISHED] * count
        self._enough = enough
        self._tolerated = tolerated
        self._succeeded = self._failed = 0
        self.ending: Ending | None = Ending.ENOUGH if enough == 0 and count else None

    async def work_all(self, works: list[Awaitable[T]]) -> None:
        """Wait for all at once: a suspended handler is resumed once, for the last."""
        for n, result in enumerate(await gather(*works, return_exceptions=True)):
            self._keep(n, result)

    async def work_in_turn(self, works: Generator[Awaitable[T], None, None], at_once: int) -> None:
        """Wait for each as it ends, and begin another."""
        numbers: dict[asyncio.Future[T], int] = {}
        cancelled = cancellations()
        begun = 0
        try:
            while self.ending is None:
                while len(numbers) < at_once and begun < len(self.outcomes):
                    numbers[asyncio.ensure_future(next(works))] = begun
                    begun += 1
                if not numbers:
                    return
                done, _ = await asyncio.wait(numbers, return_when=asyncio.FIRST_COMPLETED)
                for future in sorted(done, key=lambda each: numbers[each]):
                    error = future.exception()
                    if isinstance(error, InvocationCancelledError) and cancellations() > cancelled:
                        raise error
                    self._keep(numbers.pop(future), error or future.result())
        finally:
            for future in numbers:
                future.cancel()

    def _keep(self, n: int, result: Any) -> None:
        if isinstance(result, BaseException) and not isinstance(result, TerminalError):
            raise result
        if isinstance(result, TerminalError):
            self.outcomes[n] = Failed(result)
            self._failed += 1
        else:
            self.outcomes[n] = Succeeded(result)
            self._succeeded += 1
        if self._failed > self._tolerated:
            self.ending = self.ending or Ending.FAILURES
        elif self._succeeded >= self._enough and self._succeeded + self._failed < len(self.outcomes):
            self.ending = self.ending or Ending.ENOUGH
