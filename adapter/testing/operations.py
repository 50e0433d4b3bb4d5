"""What a test awaits: the environment runs until the result is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeVar

from adapter.engine.types import Outcome
from adapter.operations import Invocation, Operation

T = TypeVar("T")


class Driver(Protocol):
    """The environment."""

    async def until(self, done: Callable[[], Awaitable[bool]], waiting: Callable[[], Awaitable[str]]) -> None:
        """Run until something is done. Move the time where nothing else runs."""

    async def outcome(self, id: str) -> Outcome | None:
        """Return an invocation's outcome, if it has one."""
        ...

    async def explain(self, id: str) -> str:
        """Say what an invocation waits for."""
        ...

    def cancel(self, id: str, /) -> Operation[bool]:
        """Cancel an invocation."""
        ...


class Asking(Operation[T]):
    """Something asked of the process."""

    def __init__(self, env: Driver, work: asyncio.Task[bytes], decode: Callable[[bytes | None], T]) -> None:
        self._env = env
        self._task = work
        self._decode = decode

    @property
    def done(self) -> bool:
        return self._task.done()

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        async def done() -> bool:
            return self._task.done()

        async def waiting() -> str:
            return "the process does not answer"

        await self._env.until(done, waiting)
        return self._decode(self._task.result())


class Started(Invocation[T]):
    """An invocation that was asked for."""

    def __init__(self, env: Driver, id: str, accepted: asyncio.Task[Any], decode: Callable[[bytes | None], T]) -> None:
        self._env = env
        self._id = id
        self._accepted = accepted
        self._decode = decode
        self._outcome: Outcome | None = None

    @property
    def id(self) -> str:
        return self._id

    @property
    def done(self) -> bool:
        return self._outcome is not None

    def cancel(self) -> Operation[bool]:
        return self._env.cancel(self._id)

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        if self._outcome is None:
            await self._env.until(self._ended, lambda: self._env.explain(self._id))
        assert self._outcome is not None
        return self._decode(value_of(self._outcome))

    async def _ended(self) -> bool:
        if not self._accepted.done():
            return False
        self._accepted.result()
        self._outcome = self._outcome or await self._env.outcome(self._id)
        return self._outcome is not None


def value_of(outcome: Outcome) -> bytes:
    if outcome.failure is not None:
        raise outcome.failure.error()
    return outcome.value or b""
