"""Durable promises: results that the handlers of one workflow give each other by name."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from adapter.clients import rejection
from adapter.engine.commands import CompletePromise, GetPromise, Issuer, PeekPromise, accepted
from adapter.engine.types import Outcome
from adapter.operations import Operation
from adapter.serde import Serde

T = TypeVar("T")


class DurablePromise(Operation[T]):
    """A result of one workflow, completed once, by any of its handlers; made by ``ctx.promise(name, type)``.

    Awaiting it waits for the value, or raises the `TerminalError` that it was rejected with. It belongs to one run of
    the workflow and lives as long as that is kept, also before ``run`` was asked for.

    ```python
    code = await ctx.promise("code", str)  # in run

    if not await ctx.promise("code", str).resolve(code):  # in a shared handler
        raise TerminalError("confirmed already", code=409)
    ```
    """

    def __init__(self, issuer: Issuer, name: str, type: Serde[T]) -> None:
        self._issuer = issuer
        self._name = name
        self._type = type
        self._waited: Operation[T] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self.begun().__await__()

    @property
    def done(self) -> bool:
        return self._waited is not None and self._waited.done

    def begun(self) -> Operation[T]:
        if self._waited is None:
            self._waited = self._issuer.issue(GetPromise(self._name), self._read)
        return self._waited

    def peek(self) -> Operation[T | None]:
        """The value as it stands, ``None`` while there is none. Awaiting it raises what it was rejected with."""
        return self._issuer.issue(PeekPromise(self._name), lambda data: None if data is None else self._read(data))

    def resolve(self, value: T, /) -> Operation[bool]:
        """Give it its value. It need not be awaited; the result says whether this completed it.

        Args:
            value: What those who wait for it are given.
        """
        return self._issuer.issue(CompletePromise(self._name, Outcome(self._type.serialize(value))), accepted)

    def reject(self, message: str, /, *, code: int = 500) -> Operation[bool]:
        """Have those who wait for it get a `TerminalError`. It need not be awaited; the result as `resolve`'s.

        Args:
            message: What happened.
            code: The HTTP status that the failure stands for, from 400 to 599.

        Raises:
            ValueError: If ``code`` is no HTTP error status.
        """
        return self._issuer.issue(CompletePromise(self._name, rejection(message, code)), accepted)

    def _read(self, data: bytes | None) -> T:
        return self._type.deserialize(data or b"")
