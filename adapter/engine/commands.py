"""The commands that handler code may issue, as plain data.

Each method of a context issues one of these. Another producer may issue them as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeVar, overload

from adapter import operations
from adapter.engine.records import Ref
from adapter.engine.types import Headers, Kind, Outcome, RetryPolicy, Target
from adapter.frozen import frozen
from adapter.operations import Invocation, Operation

T = TypeVar("T")


@dataclass(slots=True)
class SeenState:
    """The state of a key, as a step sees it."""

    entries: dict[str, bytes] = field(default_factory=dict[str, bytes])
    complete: bool = True
    """False if there are further entries, which are too large."""


@frozen
class Run:
    """A step: run the closure once and record its result. A `TerminalError` that it raises is recorded as well."""

    name: str
    closure: Callable[[], Awaitable[bytes]]
    retry: RetryPolicy | None = None
    context: Context = field(default_factory=copy_context, compare=False, repr=False)
    """The context variables of the code that issues the step. The step runs with them."""
    at_most_once: bool = False
    """True to fail the step, and not to run it again, if its process ended while it may have run."""
    deferred: bool = False
    """True to run it at once, and to record its result with the next commit instead of one of its own."""
    kind: str = "run"
    """What the journal calls it."""
    arguments: tuple[object, ...] = field(default=(), compare=False, repr=False)
    """What its function is given. A replay in replay mode compares it."""
    state: SeenState | None = field(default=None, compare=False, repr=False)
    """Where to put the state of the handler's key before each try. The handler writes none while the step runs."""


@frozen
class Sleep:
    """Wait for a number of milliseconds. The result has no value."""

    milliseconds: int
    name: str = ""


@frozen
class GetState:
    """Read a state entry. The value is ``None`` if the entry is not set."""

    name: str


@frozen
class SetState:
    """Write a state entry."""

    name: str
    value: bytes


@frozen
class ClearState:
    """Remove a state entry."""

    name: str


@frozen
class ClearAllState:
    """Remove every state entry of the key."""


@frozen
class StateKeys:
    """List the names of the state entries, sorted, as a JSON array."""


@frozen
class Now:
    """Return the time in milliseconds since the epoch, as decimal digits."""


@frozen
class Call:
    """Run another handler and wait for its output."""

    target: Target
    input: bytes
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    kind: Kind | None = None
    """The handler's kind, if the caller knows it."""


@frozen
class Send:
    """Run another handler, now or after a delay, without waiting for it."""

    target: Target
    input: bytes
    delay: int = 0
    """Milliseconds."""
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    kind: Kind | None = None
    """The handler's kind, if the caller knows it."""


@frozen
class Attach:
    """Wait for the output of an invocation that this one did not call."""

    id: str


@frozen
class Cancel:
    """Cancel another invocation."""

    id: str


@frozen
class Output:
    """Read the output of an invocation: ``ready:`` and its value, `NOT_READY`, `NOT_FOUND`, or its failure."""

    id: str


@frozen
class Awakeable:
    """Wait for a result that comes from outside by an id."""


@frozen
class Complete:
    """Complete an awakeable with a result."""

    id: str
    outcome: Outcome


@frozen
class Signal:
    """Wait for the next signal of this name to the invocation."""

    name: str


@frozen
class SendSignal:
    """Send a signal to an invocation: a value, or a failure."""

    id: str
    name: str
    outcome: Outcome


@frozen
class GetPromise:
    """Wait for a durable promise of the workflow that the handler belongs to."""

    name: str


@frozen
class PeekPromise:
    """Read a promise's result. The value is ``None`` if there is none yet."""

    name: str


@frozen
class CompletePromise:
    """Complete a promise with a result."""

    name: str
    outcome: Outcome


OutboundRequest = Attach | Cancel | Output | Complete | SendSignal | GetPromise | PeekPromise | CompletePromise
"""The commands that act on other records. They are carried out after the command is committed, and again if a crash
leaves their outcome unknown."""

Asked = Attach | Output | Complete | SendSignal
"""The commands that a client outside may issue as well."""

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


UNAWAITED = Send | SetState | Complete | CompletePromise | SendSignal
"""The commands that need not be awaited. If one is refused, that is raised at once."""

READY, NOT_READY, NOT_FOUND = b"ready:", b"not ready", b"not found"


def describe(command: Command) -> tuple[str, str]:
    """Return a command's kind and name, which replay compares."""
    match command:
        case Run(name, kind=kind):
            return kind, name
        case Sleep(_, name):
            return "sleep", name
        case GetState(name):
            return "get", name
        case SetState(name):
            return "set", name
        case ClearState(name):
            return "clear", name
        case ClearAllState():
            return "clear-all", ""
        case StateKeys():
            return "state-keys", ""
        case Now():
            return "now", ""
        case Call(target, idempotency_key=key):
            return "call", str(target) if key is None else f"{target}?{key}"
        case Send(target, idempotency_key=key):
            return "send", str(target) if key is None else f"{target}?{key}"
        case Attach(id):
            return "attach", id
        case Cancel(id):
            return "cancel", id
        case Output(id):
            return "output", id
        case Awakeable():
            return "awakeable", ""
        case Complete(id):
            return "complete", id
        case Signal(name):
            return "signal", name
        case SendSignal(id, name):
            return "send-signal", f"{id}/{name}"
        case GetPromise(name):
            return "promise", name
        case PeekPromise(name):
            return "peek-promise", name
        case CompletePromise(name):
            return "complete-promise", name


def accepted(answer: bytes | None) -> bool:
    """Return True if an outbound request was carried out, and not too late or before."""
    return answer == b'"accepted"'


class Issuer(Protocol):
    """What a context needs of its attempt."""

    @property
    def id(self) -> str:
        """The invocation's id."""
        ...

    @property
    def ref(self) -> Ref:
        """The invocation's id and generation. The generation cannot be guessed."""
        ...

    @property
    def origin(self) -> Ref:
        """The invocation that first issued the next command: an earlier one, if the command is copied from there."""
        ...

    @property
    def failures(self) -> int:
        """The number of attempts that failed since the last progress, when this attempt began."""
        ...

    @property
    def failing_since(self) -> int | None:
        """When the first of the attempts failed that have not got a result, in milliseconds; ``None`` if none has."""
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
    def idempotency_key(self) -> str | None:
        """The request's idempotency key, if it had one."""
        ...

    @property
    def replaying(self) -> bool:
        """True while the code repeats what an earlier attempt did."""
        ...

    @property
    def recalling(self) -> bool:
        """True while the code continues with a result from the journal. After a conflict the code is replayed in the
        same attempt; the results that were not committed are then not from the journal."""
        ...

    @property
    def random(self) -> Random:
        """A generator seeded by the invocation. A replay draws the same numbers."""
        ...

    @overload
    def issue(self, command: Call | Send, decode: Callable[[bytes | None], T]) -> Invocation[T]: ...
    @overload
    def issue(self, command: Awakeable, decode: Callable[[bytes | None], T]) -> operations.Awakeable[T]: ...
    @overload
    def issue(self, command: Command, decode: Callable[[bytes | None], T]) -> Operation[T]: ...
    def issue(self, command: Command, decode: Callable[[bytes | None], T]) -> Operation[T]:
        """Number the command, compare it with the journal, and start it. ``decode`` turns the value into the result."""
        ...
