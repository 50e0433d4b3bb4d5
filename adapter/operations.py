"""What handler code awaits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Operation(ABC, Awaitable[T_co], Generic[T_co]):
    """A durable result: of a step, a sleep, a state read, a call.

    It starts when it is made, not when it is awaited, and may be awaited any number of times.
    """

    group: object | None = None
    """Operations of one group are waited for together: a suspended handler is woken for the last of them."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the result.

        Raises:
            TerminalError: If what was awaited failed for good.
        """


class Invocation(Operation[T_co]):
    """One request to run one handler; awaiting it gives the handler's output."""

    @property
    @abstractmethod
    def id(self) -> str:
        """The invocation's id, ``inv_…``, known before anything was awaited."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask the invocation to end: a terminal error surfaces at its next await."""
