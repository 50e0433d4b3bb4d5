"""The operations of an attempt: what its handler code awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from adapter.engine import commands as c
from adapter.engine.ids import awakeable_id, child_id, idempotent_id, workflow_id
from adapter.engine.loop import DurableLoop
from adapter.engine.records import Meta
from adapter.engine.types import Kind, Outcome
from adapter.errors import TerminalError
from adapter.operations import Awakeable, Invocation, Operation

T = TypeVar("T")


class Code(Protocol):
    """What an operation needs of the attempt whose code issued it."""

    meta: Meta
    loop: DurableLoop

    def issue(self, command: c.Command, decode: Callable[[bytes | None], T]) -> Operation[T]:
        """Issue another command."""
        ...

    def surface(self) -> None:
        """Raise a cancellation that was left to the next await.

        Raises:
            TerminalError: If there is one.
        """

    def require_own_loop(self) -> None:
        """Refuse use within a step, or in another task of the process.

        Raises:
            NonDeterminismError: If the caller does not run on the handler's loop.
        """


def error_of(outcome: Outcome) -> TerminalError:
    """Return the error that a failure raises in handler code."""
    assert outcome.failure is not None
    return outcome.failure.error()


class Pending(Operation[T], Generic[T]):
    """An operation of an attempt. It has its result once that is known."""

    def __init__(self, attempt: Code, n: int, command: c.Command, decode: Callable[[bytes | None], T]) -> None:
        self.attempt = attempt
        self.n = n
        self.command = command
        self.described = c.describe(command)
        self.outcome: Outcome | None = None
        self.wait_group: object | None = None
        """Operations of one group are awaited together. The last of them wakes a suspended handler."""
        self._decode = decode
        self.waiters: list[asyncio.Future[None]] = []
        self.was_awaited = False
        self.timer: asyncio.TimerHandle | None = None
        self.on_result: Callable[[Outcome], object] | None = None
        """Called with the result when it arrives, but not with one from the journal."""

    def __hash__(self) -> int:
        # A set of operations then has the same order on replay.
        return self.n

    def __repr__(self) -> str:
        return f"<{' '.join(filter(None, self.described))}>"

    @property
    def done(self) -> bool:
        return self.outcome is not None

    def __await__(self) -> Generator[Any, None, T]:
        yield from wait((self,))
        assert self.outcome is not None
        if self.outcome.failure is not None:
            raise error_of(self.outcome)
        return self._decode(self.outcome.value)

    def interrupt(self, outcome: Outcome) -> bool:
        """Raise a failure in the code that awaits this operation. Return True if there is such code. The operation
        continues."""
        sleeper = self.attempt.loop.sleeper(self.timer) if self.timer is not None else None
        futures = [future for future in (*self.waiters, sleeper) if future is not None and not future.done()]
        for future in futures:
            future.set_exception(error_of(outcome))
        return bool(futures)

    @property
    def awaited(self) -> bool:
        """True if code awaits the operation."""
        if self.timer is not None:
            return not self.timer.cancelled()
        return bool(self.waiters)

    def resolve(self, outcome: Outcome) -> None:
        """Set the result and continue the code that awaits it."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.on_result is not None:
            self.on_result(outcome)
        if self.timer is not None:
            self.attempt.loop.fire(self.timer)
        for future in self.waiters:
            if not future.done():
                future.set_result(None)


def wait(operations: Sequence[Pending[Any]]) -> Generator[Any, None, None]:
    """Wait until one of an attempt's operations has its result."""
    attempt = operations[0].attempt
    attempt.surface()
    for operation in operations:
        if operation.outcome is not None:
            return
    attempt.require_own_loop()
    future = attempt.loop.create_future()
    for operation in operations:
        operation.waiters.append(future)
        operation.was_awaited = True
    try:
        yield from future
    finally:
        for operation in operations:
            operation.waiters.remove(future)


class PendingAwakeable(Pending[T], Awakeable[T]):
    """An awakeable: its result comes from outside."""

    @property
    def id(self) -> str:
        return awakeable_id(self.attempt.meta.issuer(self.n), self.n)


class PendingInvocation(Pending[T], Invocation[T]):
    """A call or a send. Its id is derived, and therefore known at once."""

    def __init__(
        self, attempt: Code, n: int, command: c.Call | c.Send, decode: Callable[[bytes | None], T], kind: Kind
    ) -> None:
        super().__init__(attempt, n, command, decode)
        self._attached: Operation[T] | None = None
        self.kind = kind
        meta = attempt.meta
        if kind is Kind.WORKFLOW and command.target.key is not None:
            self._id = workflow_id(command.target.service, command.target.key)
        elif command.idempotency_key is not None:
            self._id = idempotent_id(command.target, command.idempotency_key)
        else:
            self._id = child_id(*meta.issuer(n), n)

    @property
    def id(self) -> str:
        return self._id

    @property
    def called(self) -> bool:
        """True for a call, False for a send."""
        return isinstance(self.command, c.Call)

    def cancel(self) -> Operation[bool]:
        return self.attempt.issue(c.Cancel(self._id), c.accepted)

    def begun(self) -> Operation[T]:
        if self.called or self.outcome is not None:
            return self
        if self._attached is None:
            self._attached = self.attempt.issue(c.Attach(self._id), self._decode)
        return self._attached

    @property
    def done(self) -> bool:
        return super().done if self._attached is None else self._attached.done

    def __await__(self) -> Generator[Any, None, T]:
        begun = self.begun()
        return (yield from super().__await__() if begun is self else begun.__await__())
