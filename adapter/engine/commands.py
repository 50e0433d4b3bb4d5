"""What handler code may ask of the engine, as plain data.

A context turns each of its methods into one of these; another producer may issue them as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeVar, overload

from adapter import operations
from adapter.engine.types import Headers, Kind, Outcome, RetryPolicy, Target
from adapter.operations import Invocation, Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """A step: run the closure once, and keep what it returns. A `TerminalError` that it raises is kept as well."""

    name: str
    closure: Callable[[], Awaitable[bytes]]
    retry: RetryPolicy | None = None
    context: Context = field(default_factory=copy_context, compare=False, repr=False)
    """The context variables of the code that asks for it, which it runs with."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for so many milliseconds; a result with no value."""

    milliseconds: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class GetState:
    """Read a state entry; the value is ``None`` where it is not set."""

    name: str


@dataclass(frozen=True, slots=True)
class SetState:
    """Write a state entry."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class ClearState:
    """Remove a state entry."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAllState:
    """Remove every state entry of the key."""


@dataclass(frozen=True, slots=True)
class StateKeys:
    """List the names of the state entries, sorted, as a JSON array."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time, in milliseconds since the epoch, as decimal digits."""


@dataclass(frozen=True, slots=True)
class Call:
    """Run another handler and wait for its output."""

    target: Target
    input: bytes
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    kind: Kind | None = None
    """The handler's kind, where the caller knows it."""


@dataclass(frozen=True, slots=True)
class Send:
    """Have another handler run, now or after a delay, without waiting for it."""

    target: Target
    input: bytes
    delay: int = 0
    """Milliseconds."""
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    kind: Kind | None = None
    """The handler's kind, where the caller knows it."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Wait for the output of an invocation that somebody else made."""

    id: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask another invocation to end."""

    id: str


@dataclass(frozen=True, slots=True)
class Output:
    """The output of an invocation as it stands: ``ready:`` and its value, `NOT_READY`, `NOT_FOUND`, or its failure."""

    id: str


@dataclass(frozen=True, slots=True)
class Awakeable:
    """Wait for a result that somebody outside gives by id."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Give an awakeable its result."""

    id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Signal:
    """Wait for the next signal of this name to the invocation."""

    name: str


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Send a signal to an invocation."""

    id: str
    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class GetPromise:
    """Wait for a durable promise of the workflow that the handler belongs to."""

    name: str


@dataclass(frozen=True, slots=True)
class PeekPromise:
    """A promise's result as it stands; the value is ``None`` where there is none yet."""

    name: str


@dataclass(frozen=True, slots=True)
class CompletePromise:
    """Give a promise its result."""

    name: str
    outcome: Outcome


OutboundRequest = Attach | Cancel | Output | Complete | SendSignal | GetPromise | PeekPromise | CompletePromise
"""What is asked of other records: done once the command is committed, and again if a crash leaves it unknown."""

Asked = Attach | Output | Complete | SendSignal
"""What a client outside may ask for as well."""

Command = (
    Run
    | Sleep
    | GetState
    | SetState
    | ClearState
    | ClearAllState
    | StateKeys
    | Now
    | Call
    | Send
    | Awakeable
    | Signal
    | OutboundRequest
)


READY, NOT_READY, NOT_FOUND = b"ready:", b"not ready", b"not found"


def accepted(said: bytes | None) -> bool:
    """Whether an errand that gives, sends or ends something was the first to."""
    return said == b'"accepted"'


class Issuer(Protocol):
    """What a context needs of the attempt that it belongs to."""

    @property
    def id(self) -> str:
        """The invocation's id."""
        ...

    @property
    def target(self) -> Target:
        """The handler that runs."""
        ...

    @property
    def kind(self) -> Kind:
        """The handler's kind."""
        ...

    @property
    def headers(self) -> Headers:
        """The request's headers, names in lower case."""
        ...

    @property
    def replaying(self) -> bool:
        """Whether the code is still retracing what an earlier attempt did."""
        ...

    @property
    def random(self) -> Random:
        """A generator seeded by the invocation: a replay draws the same numbers."""
        ...

    @overload
    def issue(self, command: Call | Send, decode: Callable[[bytes | None], T]) -> Invocation[T]: ...
    @overload
    def issue(self, command: Awakeable, decode: Callable[[bytes | None], T]) -> operations.Awakeable[T]: ...
    @overload
    def issue(self, command: Command, decode: Callable[[bytes | None], T]) -> Operation[T]: ...
    def issue(self, command: Command, decode: Callable[[bytes | None], T]) -> Operation[T]:
        """Number the command, check it against the journal, start it. ``decode`` turns the value into the result."""
        ...
