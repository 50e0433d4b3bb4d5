"""One execution of a handler's code: it numbers commands, compares them with the journal, and delivers results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from adapter.engine import commands as c
from adapter.engine.deployment import HandlerSpec
from adapter.engine.journal import (
    CANCEL,
    AttemptStarted,
    CommandIssued,
    Entry,
    NotificationDelivered,
    ResultDelivered,
    StepRetried,
)
from adapter.engine.loop import DurableLoop
from adapter.engine.pending import Pending, PendingAwakeable, PendingInvocation, error_of
from adapter.engine.records import Meta, Ref
from adapter.engine.types import LONGEST, Failure, Headers, Kind, Outcome, Target
from adapter.errors import JournalMismatchError, NonDeterminismError, TerminalError
from adapter.operations import Awakeable, Invocation, Operation

T = TypeVar("T")
P = ParamSpec("P")


class Host(Protocol):
    """What an attempt needs of its session."""

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        """Log and start a new command."""

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        """Continue a command that an earlier attempt issued and that has no result yet."""

    def kind_of(self, target: Target) -> Kind:
        """Return the kind of a handler, in this process or another."""
        ...

    def difference(self, attempt: Attempt, pending: Pending[Any]) -> str | None:
        """Return what a replayed command has in another way than before, if that is compared."""


class Stopped(BaseException):
    """Ends handler code whose attempt cannot continue.

    It does not derive from `Exception`, so that a handler's ``except Exception`` does not take a failure of the host
    for a failure of the operation. `Attempt.fault` holds the reason.
    """


class Attempt:
    """One execution of one invocation's handler."""

    def __init__(
        self,
        host: Host,
        spec: HandlerSpec,
        meta: Meta,
        input: bytes,
        journal: Iterable[Entry],
        notifications: dict[str, Outcome],
        context: Context,
    ) -> None:
        self.host = host
        self.spec = spec
        self.meta = meta
        self.loop = DurableLoop(self._sleep, self._time)
        self._now: float | None = None
        """The time, if the code has asked for it since it was last blocked."""
        self._random: Random | None = None
        self.operations: list[Pending[Any]] = []
        self._cancelled_at: list[int] = []
        """For each cancellation: how many commands had been issued."""
        self._owed: Outcome | None = None
        """A cancellation that the failure of a call is expected to raise."""
        self._interruption: Outcome | None = None
        """A cancellation that the next await raises."""
        self.fault: BaseException | None = None
        """Why the attempt cannot continue, whatever the handler does with the exception."""
        self._notifications = notifications
        self.known = frozenset(notifications)
        """The ids of the notifications that had arrived when the attempt began."""
        self.delivered: set[str] = set()
        """The ids of the notifications that were delivered to the code."""
        self._issued: list[CommandIssued] = []
        self._results: deque[ResultDelivered | NotificationDelivered] = deque()
        self.retries: dict[int, StepRetried] = {}
        """The steps that failed in earlier attempts and are to be tried again."""
        self.read_results: dict[int, Outcome] = {}
        """Results of reads and steps that arrived after the attempts that asked for them had failed."""
        self._failing_since: int | None = None
        retried = set[int]()
        self._last_retried = set[int]()
        """The steps that the last attempt but this left to be tried again."""
        for entry in journal:
            if isinstance(entry, CommandIssued):
                self._issued.append(entry)
            elif isinstance(entry, ResultDelivered | NotificationDelivered):
                self._results.append(entry)
                self._failing_since = None
                if isinstance(entry, NotificationDelivered):
                    self.delivered.add(entry.id)
                elif entry.n == CANCEL:
                    self.delivered.add("x")
            elif isinstance(entry, AttemptStarted):
                self._failing_since = entry.failed if self._failing_since is None else self._failing_since
                if not entry.stops:
                    self._last_retried, retried = retried, set[int]()
            elif isinstance(entry, StepRetried):
                if entry.tries:
                    self.retries[entry.n] = entry
                retried.add(entry.n)
            else:
                self.read_results[entry.n] = entry.outcome
        self._open: list[tuple[Pending[Any], int | None]] = []
        self._task = self.loop.create_task(self._execute(input), context=context)
        self._dead = self._cancel_raised = False
        self.recalling = False

    # --- what contexts see (`commands.Issuer`) ---

    @property
    def id(self) -> str:
        return self.meta.id

    @property
    def ref(self) -> Ref:
        return self.meta.ref

    @property
    def origin(self) -> Ref:
        return self.meta.issuer(len(self.operations))

    @property
    def failures(self) -> int:
        return self.meta.failures

    @property
    def failing_since(self) -> int | None:
        return self.meta.failed if self._failing_since is None else self._failing_since

    @property
    def target(self) -> Target:
        return self.meta.target

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    @property
    def headers(self) -> Headers:
        return self.meta.headers

    @property
    def idempotency_key(self) -> str | None:
        return self.meta.idempotency_key

    @property
    def random(self) -> Random:
        if self._random is None:
            self._random = Random("/".join(self.meta.issuer(0)))
        return self._random

    @property
    def replaying(self) -> bool:
        if self._dead or self.fault is not None:
            return True  # what the code does from here on, it does again
        return bool(self._results) or len(self.operations) < len(self._issued)

    @overload
    def issue(self, command: c.Call | c.Send, decode: Callable[[bytes | None], T]) -> Invocation[T]: ...
    @overload
    def issue(self, command: c.Awakeable, decode: Callable[[bytes | None], T]) -> Awakeable[T]: ...
    @overload
    def issue(self, command: c.Command, decode: Callable[[bytes | None], T]) -> Operation[T]: ...
    def issue(self, command: c.Command, decode: Callable[[bytes | None], T]) -> Operation[T]:
        self.require_own_loop()
        if self._dead and not self._cancel_raised:
            self._cancel_raised = True  # once: code that ignores the exception would never end
            raise asyncio.CancelledError
        n = len(self.operations)
        pending: Pending[T]
        if isinstance(command, c.Call | c.Send):
            kind_of_target = command.kind or self.hosted(self.host.kind_of, command.target)
            pending = PendingInvocation(self, n, command, decode, kind_of_target)
        elif isinstance(command, c.Awakeable):
            pending = PendingAwakeable(self, n, command, decode)
        else:
            pending = Pending(self, n, command, decode)
        kind, name = pending.described
        if self._dead or self.ended:
            return pending  # commands of code that continues all the same have no effect, and never complete
        if n < len(self._issued):
            self.operations.append(pending)
            recorded = self._issued[n]
            if recorded.kind != kind or recorded.name != name:
                raise self._mismatch(
                    f"command {n} is {kind} {name!r}, the journal holds {recorded.kind} {recorded.name!r}"
                )
            if (part := self.hosted(self.host.difference, self, pending)) is not None:
                raise self._mismatch(f"command {n} is {kind} {name!r} with another value of {part} than before")
            if recorded.value is not None:
                pending.outcome = recorded.value
            else:
                self._open.append((pending, recorded.at))
        elif self._results:
            raise self._mismatch(
                f"command {n} is {kind} {name!r}, where the journal holds no such command, "
                f"but the result of command {self._results[0].n}"
            )
        else:
            self.hosted(self._begin, pending)
        if isinstance(command, c.UNAWAITED) and pending.outcome is not None and (failure := pending.outcome.failure):
            raise failure.error()
        return pending

    # --- what the session does with it ---

    @property
    def ended(self) -> bool:
        """True if the code returned or raised, or cannot continue."""
        return self.fault is not None or self.loop.error is not None or self._task.done()

    def result(self) -> Outcome:
        """Return the outcome of an attempt that ended.

        Raises:
            BaseException: What the handler raised, unless it was a `TerminalError`.
        """
        if self.fault is not None:
            raise self.fault
        try:
            return Outcome(self._task.result())
        except TerminalError as error:
            return Outcome(failure=Failure.of(error))

    def run(self) -> None:
        """Run until blocked: first after each result of the journal, then for good.

        A result of a command that need not be awaited may be in the journal after the code has returned.
        """
        self._run()
        while self._results and self.fault is None and not self.failed:
            entry = self._results.popleft()
            if entry.n >= len(self.operations):
                self._mismatch(f"the journal holds a result of command {entry.n}, which was not issued")
                return
            outcome = entry.outcome if isinstance(entry, ResultDelivered) else self._notifications.get(entry.id)
            if outcome is None:
                self._mismatch(f"notification of command {entry.n} is missing")
                return
            self.recalling = True
            self.deliver(entry.n, outcome)
            self.recalling = False
        if self.fault is None and self.replaying and not self.failed:
            missing = self._issued[len(self.operations)] if len(self.operations) < len(self._issued) else None
            held = f"{missing.kind} {missing.name!r} as command {missing.n}" if missing else "more results"
            self._mismatch(f"the journal holds {held}, which the code did not ask for")
        if self.fault is None and not self.failed:
            with suppress(Stopped):
                self.hosted(self._take_up)
            self._run()

    def deliver(self, n: int, outcome: Outcome) -> None:
        """Deliver a result, and run until blocked. `CANCEL` stands for the cancellation of the invocation.

        The cancellation is raised as a terminal error where the code awaits anything except calls. Calls are cancelled
        in turn, and their failures are raised instead. If no call fails, the next await raises the cancellation.
        """
        self._now = None
        if n == CANCEL:
            self._cancel(outcome)
        else:
            self.operations[n].resolve(outcome)
            if self._owed is not None and n < self._cancelled_at[-1] and isinstance(self.operations[n].command, c.Call):
                if outcome.failure is not None:
                    self._owed = None
                elif not any(call.awaited for call in self.to_cancel()):
                    self._interruption, self._owed = self._owed, None
        self._run()

    @property
    def cancelled(self) -> bool:
        """True if the code was told that the invocation is cancelled."""
        return bool(self._cancelled_at)

    def to_cancel(self) -> list[PendingInvocation[Any]]:
        """Return the calls from before the last cancellation that have no result yet."""
        return [
            pending
            for pending in self.operations[: self._cancelled_at[-1] if self.cancelled else 0]
            if isinstance(pending, PendingInvocation) and pending.called and pending.outcome is None
        ]

    def cancellations_of(self, call: PendingInvocation[Any]) -> int:
        """Return how often the invocation was cancelled since it made a call."""
        return sum(call.n < issued for issued in self._cancelled_at)

    def surface(self) -> None:
        """Raise a cancellation that was left to the next await.

        Raises:
            TerminalError: If there is one.
        """
        interruption, self._interruption = self._interruption, None
        if interruption is not None:
            raise error_of(interruption)

    def _cancel(self, outcome: Outcome) -> None:
        self._cancelled_at.append(len(self.operations))
        self.loop.cancellations += 1
        waits = self.waits()
        interrupted = [pending.interrupt(outcome) for pending in waits if not isinstance(pending.command, c.Call)]
        if any(interrupted):
            return
        if len(interrupted) < len(waits):
            self._owed = outcome
        else:
            self._interruption = outcome

    def waits(self) -> list[Pending[Any]]:
        """Return the operations without a result that code awaits."""
        return [pending for pending in self.operations if pending.outcome is None and pending.awaited]

    def retries_step(self, n: int) -> bool:
        """Return True if a step failed in the attempt before this, or had not begun, so that this attempt is the first
        to try it again."""
        return n in self._last_retried

    def issued_once(self, here: set[int]) -> list[int]:
        """Return the steps without a result that run at most once, and that no other process may have run since they
        were to be tried.

        Args:
            here: The steps that were issued or begun in this process.
        """
        return [
            n
            for n in sorted(here | self._last_retried)
            if n not in self.read_results
            if n >= len(self.operations) or (self.runs_once(n) and self.operations[n].outcome is None)
        ]

    def runs_once(self, n: int) -> bool:
        """Return True if a command is a step that runs at most once."""
        command = self.operations[n].command if n < len(self.operations) else None
        return isinstance(command, c.Run) and command.at_most_once

    def unawaited_steps(self) -> bool:
        """Return True if a step without a result was never awaited. It is carried out before the invocation completes.

        A step that code no longer awaits, after a timeout or a cancellation, is not.
        """
        return any(
            isinstance(pending.command, c.Run) and pending.outcome is None and not pending.was_awaited
            for pending in self.operations
        )

    def abandon(self) -> None:
        """Drop the code where it stands."""
        self._dead = True
        self.loop.abandon()

    def hosted(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the host, and turn what it raises into the attempt's fault.

        Raises:
            Stopped: If the host raised anything. What the code does after that has no effect.
        """
        try:
            return call(*args, **kwargs)
        except Exception as error:
            self.fault = self.fault or error
            raise Stopped(f"the attempt ends: {type(error).__name__}") from error

    def require_own_loop(self) -> None:
        """Refuse use within a step, or in another task of the process.

        Raises:
            NonDeterminismError: If the caller does not run on the handler's loop.
        """
        if cast(Any, asyncio._get_running_loop()) is not self.loop:
            raise NonDeterminismError(
                "a context and its operations are used in the handler's own code, not within ctx.run or a thread; "
                "pass plain values to the step and return its result"
            )

    # --- inside ---

    async def _execute(self, input: bytes) -> bytes:
        return await self.spec.execute(self, input)

    def _run(self) -> None:
        self.loop.run_until_blocked()
        if self.loop.error is not None and self.fault is None:
            self.fault = self.loop.error

    @property
    def failed(self) -> bool:
        """True if the code raised an error that is retried."""
        return self._task.done() and (
            self._task.cancelled() or not isinstance(self._task.exception(), TerminalError | None)
        )

    def _begin(self, pending: Pending[Any]) -> None:
        """Begin a new command. Replay has ended with it, if it had not before."""
        self._take_up()
        self.operations.append(pending)
        self.host.begin(self, pending)

    def _take_up(self) -> None:
        """Continue the commands without a result after replay has ended."""
        open, self._open = self._open, []
        for pending, at in open:
            if pending.outcome is None:
                self.host.resume(self, pending, at)

    def _time(self) -> float:
        if self._now is None:
            asked = self.issue(c.Now(), lambda data: int(data or b"0") / 1000)
            assert isinstance(asked, Pending)
            told = asked.outcome
            self._now = self.meta.created / 1000 if told is None else int(told.value or b"0") / 1000
        return self._now

    def _sleep(self, seconds: float, handle: asyncio.TimerHandle) -> None:
        if not seconds * 1000 <= LONGEST:
            raise ValueError(f"a sleep or a timeout of {seconds} seconds is longer than 100 years")
        self.surface()
        pending = self.issue(c.Sleep(max(1, round(seconds * 1000)), "asyncio"), lambda _: None)
        assert isinstance(pending, Pending)
        pending.timer = handle

    def _mismatch(self, what: str) -> Stopped:
        self.fault = self.fault or JournalMismatchError(
            f"{self.meta.target} ({self.meta.id}): {what}. If the code has changed since the invocation began, "
            "resume it on the version that it began on. Otherwise the handler is not deterministic: take the time, "
            "random values and I/O from its context"
        )
        return Stopped(str(self.fault))
