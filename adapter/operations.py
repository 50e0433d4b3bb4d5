"""Operations: what handler code awaits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Operation(ABC, Awaitable[T_co], Generic[T_co]):
    """A durable result: of a step, a sleep, a state read, a call.

    An operation starts when it is made, not when it is awaited. It can be awaited any number of times: each await
    returns the result, or raises the `TerminalError` that the operation failed with.

    >>> import asyncio
    >>> from datetime import timedelta
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Cook(Service):
    ...     @handler
    ...     async def egg(self, ctx: Context) -> str:
    ...         boiled = ctx.sleep(timedelta(minutes=6))
    ...         await ctx.run("make toast", print, "toast")  # meanwhile
    ...         before = boiled.done
    ...         await boiled
    ...         return f"{before}, then {boiled.done}"
    >>> async def main() -> None:
    ...     async with Environment(Cook) as env:
    ...         print(await env.service_client(Cook).egg())
    >>> asyncio.run(main())
    toast
    False, then True
    """

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the operation has its result or its failure. A replay gives the same answer at the same place."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the result.

        Raises:
            TerminalError: If the operation failed.
        """

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} was not awaited: `await` gives its result; to tell operations apart, use `is`")

    def begun(self) -> Operation[T_co]:
        """Return the operation that is waited for: another one if this one begins when it is first awaited."""
        return self

    if not TYPE_CHECKING:  # checkers know that an operation has none of this

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{object.__repr__(self)} has no attribute {name}"
            if not name.startswith("_"):
                text = f"{self!r} was not awaited: `await` gives its result, and that may have an attribute {name}"
            raise AttributeError(text, name=name, obj=self)

        def __eq__(self, other: object) -> bool:
            if isinstance(other, str | bytes | int | float | list | tuple | dict | set):
                _not_awaited(self)
            return object.__eq__(self, other)

        __hash__ = object.__hash__


def _not_awaited(operation: object, *_: object) -> NoReturn:
    raise TypeError(f"{operation!r} was not awaited: `await` gives its result")


_USES = """add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg and rand or ror xor rxor
lt le gt ge int float index round str format"""
"""What is done with a result, and with an operation only if an ``await`` is missing."""

for _use in _USES.split():
    setattr(Operation, f"__{_use}__", _not_awaited)


class Invocation(Operation[T_co]):
    """One request to run one handler. Awaiting it returns the handler's output.

    Every call and every send returns one. Pass its ``id`` on for `Clients.attach`, `Clients.output`,
    `Clients.send_signal` and ``ctx.cancel``. A message can be awaited too, later or never.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """The invocation's id, ``inv_…``, known without an await."""

    @abstractmethod
    def cancel(self) -> Operation[bool]:
        """Cancel the invocation: first the calls that it awaits, then a terminal error is raised at its next await.

        This need not be awaited. The result is False if the invocation has ended. Cancelling it again interrupts the
        code that cleans up after the first cancellation.
        """


class Awakeable(Operation[T_co]):
    """A result that is completed from outside by its id. Awaiting it returns the value.

    ``ctx.awakeable(type)`` makes one, `Clients.resolve_awakeable` and `Clients.reject_awakeable` complete it. Awaiting
    a rejected awakeable raises `TerminalError`.

    >>> import asyncio
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Shop(Service):
    ...     @handler
    ...     async def order(self, ctx: Context) -> str:
    ...         paid = ctx.awakeable(int)
    ...         await ctx.run("ask for the payment", asked.append, paid.id)
    ...         return f"paid {await paid}"
    >>> asked: list[str] = []
    >>> async def main() -> None:
    ...     async with Environment(Shop) as env:
    ...         order = env.service_client(Shop).order()
    ...         await env.settle()
    ...         print(await env.resolve_awakeable(asked[0], 500), await order)
    >>> asyncio.run(main())
    True paid 500
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """The id that completes the awakeable, once: ``awk_…``. It cannot be guessed."""


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
    """Why the output of an invocation is not available."""

    NOT_READY = "not ready"
    """The invocation has not completed."""
    NOT_FOUND = "not found"
    """There is no such invocation, or its result has expired."""
