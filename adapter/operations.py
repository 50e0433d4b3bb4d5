"""What handler code awaits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NoReturn, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Operation(ABC, Awaitable[T_co], Generic[T_co]):
    """A durable result: of a step, a sleep, a state read, a call.

    It starts when it is made, not when it is awaited, and may be awaited any number of times.
    """

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the result, or the failure, is there already. A replay says the same at the same place."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the result.

        Raises:
            TerminalError: If what was awaited failed for good.
        """

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is neither true nor false: await it, or compare it with `is`")

    def begun(self) -> Operation[T_co]:
        """What is really waited for: itself, but for what begins only when it is first waited for."""
        return self


class Invocation(Operation[T_co]):
    """One request to run one handler; awaiting it gives the handler's output."""

    @property
    @abstractmethod
    def id(self) -> str:
        """The invocation's id, ``inv_…``, known before anything was awaited."""

    @abstractmethod
    def cancel(self) -> Operation[bool]:
        """Ask the invocation to end: a terminal error surfaces at its next await, and what it calls is cancelled first.

        It need not be awaited. The result says whether this asked first; ``False`` also where it has ended already.
        """


class Awakeable(Operation[T_co]):
    """A result that somebody outside gives by the id; awaiting it gives what they gave."""

    @property
    @abstractmethod
    def id(self) -> str:
        """What completes it, ``awk_…``. Nobody can guess it, so whoever has it may complete it, once."""


@dataclass(frozen=True, slots=True)
class Ready(Generic[T_co]):
    """The output of an invocation that has completed.

    >>> match Ready(5):
    ...     case Ready(result):
    ...         print(result)
    5
    """

    result: T_co


class Unready(StrEnum):
    """Why an invocation has no output to look at."""

    NOT_READY = "not ready"
    """It has not completed."""
    NOT_FOUND = "not found"
    """There is no such invocation, or its result has expired."""
