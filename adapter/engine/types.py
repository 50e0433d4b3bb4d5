"""The plain data that the engine and its ports share."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from math import inf
from typing import ClassVar, NamedTuple, cast

from adapter.errors import DeadlockError, InvocationCancelledError, TerminalError, retry_after
from adapter.frozen import frozen


class Kind(StrEnum):
    """The relation of a handler to a key."""

    SERVICE = "service"
    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    WORKFLOW = "workflow"

    @property
    def exclusive(self) -> bool:
        """True if the handler owns its key while it runs: an exclusive handler, or a workflow's ``run``."""
        return self in (Kind.EXCLUSIVE, Kind.WORKFLOW)


@frozen
class Target:
    """A handler, and the key that it is called for.

    >>> str(Target("Counter", "add", "Mary"))
    'Counter/Mary/add'
    """

    service: str
    handler: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.service}/{self.handler}" if self.key is None else f"{self.service}/{self.key}/{self.handler}"

    @property
    def object(self) -> ObjectKey:
        """The key that the handler is bound to.

        Raises:
            ValueError: If the target has no key.
        """
        if self.key is None:
            raise ValueError(f"{self} has no key")
        return ObjectKey(self.service, self.key)


class ObjectKey(NamedTuple):
    """One key of one virtual object or workflow."""

    service: str
    key: str

    def __str__(self) -> str:
        return f"{self.service}/{self.key}"


def truncate(text: str, most: int) -> str:
    """Return an error's text as it can be stored: cut after ``most`` bytes, and without lone surrogates.

    Names of odd files contain lone surrogates.

    >>> truncate("no such file: \\udcff", 100), truncate("and so on and on", 9)
    ('no such file: ?', 'and so on …')
    """
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= most else data[:most].decode(errors="ignore") + " …"


def span(milliseconds: int) -> str:
    """Return a duration as a person reads it.

    >>> span(250), span(1500), span(90_000), span(7_200_000), span(2_592_000_000)
    ('250 ms', '1.5 s', '1.5 min', '2.0 h', '30.0 d')
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds >= size:
            return f"{milliseconds / size:.1f} {unit}"
    return f"{milliseconds} ms"


def format_error(error: BaseException) -> str:
    """Return an exception's type and text. For an exception group, add those of its exceptions.

    >>> format_error(ExceptionGroup("unhandled errors", [ValueError("boom"), KeyError("x")]))
    "ExceptionGroup: unhandled errors (2 sub-exceptions): ValueError: boom; KeyError: 'x'"
    """
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException as unprintable:
        text = f"{type(error).__name__} (its text cannot be had: {type(unprintable).__name__})"
    if not isinstance(error, BaseExceptionGroup):
        return text
    group = cast("BaseExceptionGroup[BaseException]", error)
    return f"{text}: {'; '.join(map(format_error, group.exceptions))}"


@frozen
class Failure:
    """A terminal failure, as it is stored."""

    code: int
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    reason: str = ""
    """What it is, if it is more than a `TerminalError`: ``"cancelled"`` or ``"deadlock"``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", truncate(self.message, MAX_MESSAGE))

    @staticmethod
    def of(error: TerminalError) -> Failure:
        """Return a terminal error as it is stored. Its class need not set a message and a code.

        >>> Failure.of(TerminalError("no such account", code=404))
        Failure(code=404, message='no such account', metadata={}, reason='')
        """
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        return Failure(
            code if isinstance(code, int) and 400 <= code <= 599 else 500,
            message if isinstance(message, str) else format_error(error),
            getattr(error, "metadata", {}),
            next((reason for reason, kind in _REASONS.items() if isinstance(error, kind)), ""),
        )

    def error(self) -> TerminalError:
        """Return the exception that stands for the failure.

        >>> CANCELLED.error()
        InvocationCancelledError('cancelled')
        """
        kind = _REASONS.get(self.reason)
        if kind is not None:
            return kind(self.message, metadata=self.metadata)
        return TerminalError(self.message, code=self.code, metadata=self.metadata)


_REASONS: dict[str, type[InvocationCancelledError | DeadlockError]] = {
    "cancelled": InvocationCancelledError,
    "deadlock": DeadlockError,
}


@frozen
class Outcome:
    """How an invocation or a command ended: a failure, or a value. ``None`` is the value of an unset state entry."""

    value: bytes | None = None
    failure: Failure | None = None


@frozen
class RetryPolicy:
    """How often and how soon a failed attempt, or a failed step, is tried again.

    Attributes:
        initial: The wait before the second try.
        factor: Each further wait is so many times the one before.
        maximum: The longest wait.
        attempts: The number of tries in all; ``None`` for no end. A try of a step is not counted if its process
            crashed.
        duration: For a step: how long after its first try another may begin; ``None`` for no end.
        jitter: The share of each wait that is drawn at random, from 0 to 1: 0.5 waits for half to all of it. It spreads
            the tries of many invocations that fail at the same time.
        exhausted: What follows the last attempt: ``"pause"`` keeps the invocation for an operator, ``"kill"`` fails it.
            After a step's last try, awaiting it raises `TerminalError` in either case.

    Raises:
        TypeError: If a duration is no timedelta.
        ValueError: If a value is out of range, or the longest wait is shorter than the first.

    >>> RetryPolicy().backoff(1), RetryPolicy().backoff(2), RetryPolicy().backoff(50)
    (0.05, 0.1, 60.0)
    >>> RetryPolicy.TRANSIENT.attempts, RetryPolicy.NONE.attempts
    (6, 1)
    """

    NONE: ClassVar[RetryPolicy]
    """One try."""
    TRANSIENT: ClassVar[RetryPolicy]
    """For failures that pass in seconds, such as a lost connection: 6 tries within about a minute."""
    THROTTLED: ClassVar[RetryPolicy]
    """For a service that limits requests: 20 tries within about three hours, spread at random."""
    UNAVAILABLE: ClassVar[RetryPolicy]
    """For a service that is down for long: tries for a week, at last once an hour."""

    initial: timedelta = timedelta(milliseconds=50)
    factor: float = 2.0
    maximum: timedelta = timedelta(seconds=60)
    attempts: int | None = 70
    exhausted: str = "pause"
    duration: timedelta | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "duration"):
            value = getattr(self, name)
            if not isinstance(value, timedelta) and (name, value) != ("duration", None):
                raise TypeError(f"{name} is a timedelta, not {value!r}")
        if self.initial <= timedelta(0):
            raise ValueError("initial is a positive duration")
        if self.maximum < self.initial:
            raise ValueError("maximum is not shorter than initial")
        if not 1 <= self.factor < inf:
            raise ValueError("factor is at least 1, and finite")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError("attempts is at least 1, or None for no end")
        if self.exhausted not in ("pause", "kill"):
            raise ValueError('exhausted is "pause" or "kill"')
        if self.duration is not None and self.duration <= timedelta(0):
            raise ValueError("duration is positive, or None for no end")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is a share from 0 to 1")

    def backoff(self, failures: int) -> float:
        """Return the most seconds to wait after a number of failures, which is at least 1."""
        longest = self.maximum.total_seconds()
        try:
            return min(self.initial.total_seconds() * self.factor ** min(failures - 1, 64), longest)
        except OverflowError:
            return longest

    def wait(self, error: BaseException, failures: int) -> float:
        """Return the seconds to wait after an error, which may say so itself, and a number of failures."""
        asked = retry_after(error)
        return self.spread(failures, random.random()) if asked is None else asked.total_seconds()

    def spread(self, failures: int, drawn: float) -> float:
        """Return the seconds to wait after a number of failures, with a random number from 0 to 1."""
        return self.backoff(failures) * (1 - self.jitter * drawn)


RetryPolicy.NONE = RetryPolicy(attempts=1)
RetryPolicy.TRANSIENT = RetryPolicy(timedelta(seconds=1), 2, timedelta(seconds=30), 6, jitter=0.5)
RetryPolicy.THROTTLED = RetryPolicy(timedelta(seconds=5), 2, timedelta(minutes=15), 20, jitter=1)
RetryPolicy.UNAVAILABLE = RetryPolicy(timedelta(minutes=1), 2, timedelta(hours=1), 174, jitter=0.2)


MAX_BATCH = 25
"""The most messages that one process is sent at a time."""


@frozen
class Options:
    """The options of a handler, or of a service for all its handlers.

    Attributes:
        retry: How failed attempts are retried.
        idempotency_retention: How long the result of a request with an idempotency key stays readable.
        workflow_retention: How long a workflow's result, state and promises stay readable.
        journal_retention: How long a completed invocation's journal stays readable, within the other retentions. For an
            invocation without an idempotency key that is not a workflow's, it applies to the result as well.
        inactivity_timeout: How long an attempt may wait without progress before it is suspended although its client
            still waits. ``None``: as long as the client waits.
        abort_timeout: How long a step may take before its attempt is given up. ``None``: until the process ends.
        lazy_state: True to read overflow entries of the state one by one, when they are asked for. False to read all
            with the first.
        private: True if only other handlers may call it, and not the ingress.
        deadlocks: ``"fail"``: of calls that wait for each other's keys the youngest gets a terminal error.
            ``"report"``: the calls are left waiting, and the deadlock is logged.
        batch: The most messages that one process is sent at a time. It runs them at the same time.
    """

    retry: RetryPolicy = RetryPolicy()
    idempotency_retention: timedelta = timedelta(hours=24)
    workflow_retention: timedelta = timedelta(hours=24)
    journal_retention: timedelta = timedelta(hours=24)
    inactivity_timeout: timedelta | None = None
    abort_timeout: timedelta | None = None
    lazy_state: bool = True
    private: bool = False
    deadlocks: str = "fail"
    batch: int = MAX_BATCH

    def retention(self, kind: Kind, *, idempotent: bool) -> timedelta:
        """Return how long a result stays readable.

        Args:
            kind: The handler's kind.
            idempotent: True for a request with an idempotency key.
        """
        if kind is Kind.WORKFLOW:
            return self.workflow_retention
        return self.idempotency_retention if idempotent else self.journal_retention

    def __post_init__(self) -> None:
        if self.retry.duration is not None:
            raise ValueError("retry: a duration is for a step's policy; attempts limit a handler's")
        for name in ("idempotency_retention", "workflow_retention", "journal_retention"):
            if getattr(self, name) < timedelta(0):
                raise ValueError(f"{name} is not negative")
        for name in ("inactivity_timeout", "abort_timeout"):
            timeout = getattr(self, name)
            if timeout is not None and timeout <= timedelta(0):
                raise ValueError(f"{name} is positive")
        if self.deadlocks not in ("fail", "report"):
            raise ValueError('deadlocks is "fail" or "report"')
        if not 1 <= self.batch <= MAX_BATCH:
            raise ValueError(f"batch is from 1 to {MAX_BATCH}")


Headers = Mapping[str, str]

TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
"""See `Trace Context <https://www.w3.org/TR/trace-context/>`_ and `Baggage <https://www.w3.org/TR/baggage/>`_."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
"""The form of a service's or a handler's name."""

LONGEST = 100 * 365 * 86_400_000
"""The longest sleep or delay, in milliseconds: 100 years."""

ENCODED = b"\x00enc\x01"
"""What values begin with that a codec has encoded. Two encodings of one value may differ."""

MAX_KEY = 512
"""The longest object key, in UTF-8 bytes."""

MAX_IDEMPOTENCY_KEY = 512
"""The longest idempotency key, in UTF-8 bytes."""

MAX_MESSAGE = 32 * 1024
"""The longest message of a failure, in bytes. A longer one is cut."""

MAX_ERROR = 1000
"""The longest text of an error that is retried, in bytes."""

MAX_HEADERS = 8 * 1024
"""The most bytes of the headers of a handler together. They are stored with the invocation."""

MAX_PAYLOAD = 4 * 1024 * 1024
"""The largest input, output, state entry or step result, in bytes."""

CANCELLED = Failure(409, "cancelled", reason="cancelled")
"""The failure of a cancelled invocation, unless its handler catches the cancellation."""

KILLED = Failure(409, "killed")
"""The failure of a killed invocation."""
