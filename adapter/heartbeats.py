"""Awakeables that fail when no heartbeat arrives in time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from adapter.combinators import select
from adapter.engine.commands import Issuer, Signal, Sleep
from adapter.engine.ids import heartbeat
from adapter.engine.types import span
from adapter.errors import TimedOutError
from adapter.operations import Awakeable, Operation

T = TypeVar("T")


class WatchedAwakeable(Awakeable[T]):
    """An awakeable with a time-out that each heartbeat starts again.

    Args:
        issuer: The attempt.
        awakeable: The awakeable itself.
        milliseconds: How long no heartbeat may come.
    """

    def __init__(self, issuer: Issuer, awakeable: Awakeable[T], milliseconds: int) -> None:
        self._issuer = issuer
        self._awakeable = awakeable
        self._milliseconds = milliseconds
        self._expired = False
        self._watch()

    @property
    def id(self) -> str:
        return self._awakeable.id

    @property
    def done(self) -> bool:
        return self._expired or self._awakeable.done

    def __repr__(self) -> str:
        return "<awakeable with heartbeat>"

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    def _watch(self) -> None:
        self._beat: Operation[Any] = self._issuer.issue(Signal(heartbeat(self.id)), _nothing)
        self._timer: Operation[Any] = self._issuer.issue(Sleep(self._milliseconds, "heartbeat"), _nothing)

    async def _wait(self) -> T:
        while not self._expired:
            operations: tuple[Operation[Any], ...] = (self._awakeable, self._beat, self._timer)
            first = await select(*operations)
            if first is self._awakeable:
                return await self._awakeable
            if first is self._timer:
                self._expired = True
            elif first is self._beat:  # another that waits may have begun to watch for the next
                self._watch()
        raise TimedOutError(f"no heartbeat of the awakeable came within {span(self._milliseconds)}")


def _nothing(_: bytes | None) -> None:
    return None
