"""Durable promises: results that the handlers of one workflow give each other by name."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from adapter import values
from adapter.checks import rejection
from adapter.engine.commands import CompletePromise, GetPromise, Issuer, PeekPromise, accepted
from adapter.engine.types import Outcome
from adapter.operations import Operation
from adapter.serde import Serde

T = TypeVar("T")


class DurablePromise(Operation[T]):
    """A result of one workflow, which one of its handlers completes once; ``ctx.promise(name, type)`` returns it.

    Awaiting it waits for the value, or raises the `TerminalError` that it was rejected with. A promise belongs to one
    run of a workflow and is kept as long as the workflow. It can be completed before ``run`` is requested.

    ```python
    code = await ctx.promise("code", str)  # in run

    if not await ctx.promise("code", str).resolve(code):  # in a shared handler
        raise TerminalError("confirmed already", code=409)
    ```
    """

    def __init__(self, issuer: Issuer, name: str, form: Serde[T], what: str) -> None:
        self._issuer = issuer
        self._name = name
        self._form = form
        self._what = what
        self._waited: Operation[T] | None = None

    def __repr__(self) -> str:
        return f"<promise {self._name}>"

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
        """Read the value, ``None`` if there is none yet. Awaiting it raises the failure of a rejected promise."""
        return self._issuer.issue(PeekPromise(self._name), lambda data: None if data is None else self._read(data))

    def resolve(self, value: T, /) -> Operation[bool]:
        """Complete the promise with a value. It need not be awaited. The result is True if this completed the promise.

        Args:
            value: The value that awaiting the promise gives.

        Raises:
            TerminalError: If the value cannot be written, or does not come back equal.
        """
        data = values.write(self._form, value, self._what, hint="say its type: promise(name, type)")
        return self._issuer.issue(CompletePromise(self._name, Outcome(data)), accepted)

    def reject(self, message: str, /, *, code: int = 500, metadata: Mapping[str, str] | None = None) -> Operation[bool]:
        """Complete the promise with a failure, which awaiting it raises as `TerminalError`. It need not be awaited.

        The result is True if this completed the promise.

        Args:
            message: What happened.
            code: The HTTP status of the failure, from 400 to 599.
            metadata: More about the failure, as that of `TerminalError`.

        Raises:
            ValueError: If ``code`` is not an HTTP error status.
        """
        return self._issuer.issue(CompletePromise(self._name, rejection(message, code, metadata)), accepted)

    def _read(self, data: bytes | None) -> T:
        return values.receive(self._form, data, self._what)
