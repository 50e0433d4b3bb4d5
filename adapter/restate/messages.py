"""The messages of Restate's service protocol, versions 5 to 7, as far as a runtime reads or writes them.

Field numbers and types are those of ``protocol.proto`` (https://github.com/restatedev/service-protocol, MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapter.restate.wire import Frame, Message, ProtocolError, data, flag, many, number, one, text

VERSIONS: Final = (5, 6, 7)
"""The versions of the protocol that are spoken, lowest first."""

ACKS_FROM: Final = 7
"""The version from which on an endpoint says when it waits, and is sent acknowledgements of its steps' results instead
of the results."""

CANCEL: Final = 1
"""The index of the signal that cancels an invocation."""

FIRST_AWAKEABLE: Final = 17
"""Signals from this index on are awakeables. Those below are the protocol's own."""

START, SUSPENSION, ERROR, END = 0x0000, 0x0001, 0x0002, 0x0003
PROPOSE_RUN, AWAITING_ON, RUN_ACK = 0x0005, 0x0006, 0x0007
ENDS: Final = (SUSPENSION, ERROR, END)
"""The types with one of which an endpoint ends its answer."""

COMMANDS, NOTIFICATIONS, CUSTOM = 0x0400, 0x8000, 0xFC00
"""Where the ranges of types begin. Types from `CUSTOM` on are commands again, of the SDK's own."""

SIGNAL: Final = 0xFBFF
"""The type of a signal's notification. The notification of a command's result has the command's type, with the high bit
set in place of `COMMANDS`."""

RETRY, PAUSE, FAIL = 0, 1, 2
"""What an `Error` asks for."""

JOURNAL_MISMATCH: Final = 570
"""The code of an `Error` that says that the handler's code does not match its journal."""


# --- parts -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Value(Message):
    content: bytes | None = data(1)


@dataclass(slots=True)
class Header(Message):
    key: str | None = text(1)
    value: str | None = text(2)


@dataclass(slots=True)
class FailureMetadata(Message):
    key: str | None = text(1)
    value: str | None = text(2)


@dataclass(slots=True)
class WireFailure(Message):
    code: int | None = number(1)
    message: str | None = text(2)
    metadata: list[FailureMetadata] = many(3, "one", lambda: FailureMetadata)


@dataclass(slots=True)
class Void(Message):
    pass


@dataclass(slots=True)
class WireKeys(Message):
    keys: list[bytes] = many(1, "data")


@dataclass(slots=True)
class StateEntry(Message):
    key: bytes | None = data(1)
    value: bytes | None = data(2)


@dataclass(slots=True)
class WorkflowTarget(Message):
    workflow_name: str | None = text(1)
    workflow_key: str | None = text(2)
    scope: str | None = text(3)


@dataclass(slots=True)
class IdempotentRequestTarget(Message):
    service_name: str | None = text(1)
    service_key: str | None = text(2)
    handler_name: str | None = text(3)
    idempotency_key: str | None = text(4)
    scope: str | None = text(5)


FIRST_COMPLETED, ALL_COMPLETED, FIRST_SUCCEEDED, ALL_SUCCEEDED = 1, 2, 3, 4
"""How a `Future` combines its parts. The third fails when all have failed, the fourth at the first failure."""


@dataclass(slots=True)
class Future(Message):
    """What an invocation waits for: a tree."""

    completions: list[int] = many(1, "number")
    signals: list[int] = many(2, "number")
    named_signals: list[str] = many(3, "text")
    nested: list[Future] = many(4, "one", lambda: Future)
    combinator: int | None = number(5)


# --- control ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Start(Message):
    id: bytes | None = data(1)
    debug_id: str | None = text(2)
    known_entries: int | None = number(3)
    state_map: list[StateEntry] = many(4, "one", lambda: StateEntry)
    partial_state: bool | None = flag(5)
    key: str | None = text(6)
    retry_count: int | None = number(7)
    duration: int | None = number(8)
    random_seed: int | None = number(9)
    idempotency_key: str | None = text(12)


@dataclass(slots=True)
class Suspension(Message):
    """Fields 1 to 3 are those of versions 5 and 6, which have no tree."""

    completions: list[int] = many(1, "number")
    signals: list[int] = many(2, "number")
    named_signals: list[str] = many(3, "text")
    awaiting_on: Future | None = one(4, lambda: Future)

    @property
    def future(self) -> Future:
        """What is waited for, in either form."""
        if self.awaiting_on is not None:
            return self.awaiting_on
        return Future(self.completions, self.signals, self.named_signals, combinator=FIRST_COMPLETED)


@dataclass(slots=True)
class Error(Message):
    code: int | None = number(1)
    message: str | None = text(2)
    stacktrace: str | None = text(3)
    command_index: int | None = number(4)
    command_name: str | None = text(5)
    command_type: int | None = number(6)
    next_retry_delay: int | None = number(8)
    behavior: int | None = number(9)


@dataclass(slots=True)
class ProposeRun(Message):
    completion_id: int | None = number(1)
    value: bytes | None = data(14)
    failure: WireFailure | None = one(15, lambda: WireFailure)


@dataclass(slots=True)
class AwaitingOn(Message):
    awaiting_on: Future | None = one(1, lambda: Future)
    executing_side_effects: bool | None = flag(2)

    @property
    def future(self) -> Future:
        """What is waited for."""
        return self.awaiting_on or Future()


@dataclass(slots=True)
class RunAck(Message):
    completion_id: int | None = number(1)


# --- notifications ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Notification(Message):
    """A result: of a command by its completion id, or a signal's by its index or its name."""

    completion_id: int | None = number(1)
    signal_index: int | None = number(2)
    signal_name: str | None = text(3)
    void: Void | None = one(4, lambda: Void)
    value: Value | None = one(5, lambda: Value)
    failure: WireFailure | None = one(6, lambda: WireFailure)
    invocation_id: str | None = text(16)
    state_keys: WireKeys | None = one(17, lambda: WireKeys)


# --- commands --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class InputCommand(Message):
    headers: list[Header] = many(1, "one", lambda: Header)
    value: Value | None = one(14, lambda: Value)


@dataclass(slots=True)
class OutputCommand(Message):
    value: Value | None = one(14, lambda: Value)
    failure: WireFailure | None = one(15, lambda: WireFailure)


@dataclass(slots=True)
class GetState(Message):
    key: bytes | None = data(1)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class SetState(Message):
    key: bytes | None = data(1)
    value: Value | None = one(3, lambda: Value)


@dataclass(slots=True)
class ClearState(Message):
    key: bytes | None = data(1)


@dataclass(slots=True)
class ClearAllState(Message):
    pass


@dataclass(slots=True)
class GetStateKeys(Message):
    completion_id: int | None = number(11)


@dataclass(slots=True)
class EagerState(Message):
    """A read that the SDK answered from the state in `Start`. Without a value, the entry is not set."""

    key: bytes | None = data(1)
    void: Void | None = one(13, lambda: Void)
    value: Value | None = one(14, lambda: Value)


@dataclass(slots=True)
class EagerStateKeys(Message):
    value: WireKeys | None = one(14, lambda: WireKeys)


@dataclass(slots=True)
class GetPromise(Message):
    key: str | None = text(1)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class PeekPromise(Message):
    key: str | None = text(1)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class CompletePromise(Message):
    key: str | None = text(1)
    value: Value | None = one(2, lambda: Value)
    failure: WireFailure | None = one(3, lambda: WireFailure)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class Sleep(Message):
    wake_up_time: int | None = number(1)
    completion_id: int | None = number(11)
    name: str | None = text(12)


@dataclass(slots=True)
class Call(Message):
    service: str | None = text(1)
    handler: str | None = text(2)
    parameter: bytes | None = data(3)
    headers: list[Header] = many(4, "one", lambda: Header)
    key: str | None = text(5)
    idempotency_key: str | None = text(6)
    scope: str | None = text(7)
    limit_key: str | None = text(8)
    id_completion_id: int | None = number(10)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class OneWayCall(Message):
    service: str | None = text(1)
    handler: str | None = text(2)
    parameter: bytes | None = data(3)
    invoke_time: int | None = number(4)
    headers: list[Header] = many(5, "one", lambda: Header)
    key: str | None = text(6)
    idempotency_key: str | None = text(7)
    scope: str | None = text(8)
    limit_key: str | None = text(9)
    id_completion_id: int | None = number(10)


@dataclass(slots=True)
class SendSignal(Message):
    target: str | None = text(1)
    index: int | None = number(2)
    name: str | None = text(3)
    void: Void | None = one(4, lambda: Void)
    value: Value | None = one(5, lambda: Value)
    failure: WireFailure | None = one(6, lambda: WireFailure)


@dataclass(slots=True)
class Run(Message):
    completion_id: int | None = number(11)
    name: str | None = text(12)


@dataclass(slots=True)
class Attach(Message):
    invocation_id: str | None = text(1)
    idempotent: IdempotentRequestTarget | None = one(3, lambda: IdempotentRequestTarget)
    workflow: WorkflowTarget | None = one(4, lambda: WorkflowTarget)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class GetOutput(Message):
    invocation_id: str | None = text(1)
    idempotent: IdempotentRequestTarget | None = one(3, lambda: IdempotentRequestTarget)
    workflow: WorkflowTarget | None = one(4, lambda: WorkflowTarget)
    completion_id: int | None = number(11)


@dataclass(slots=True)
class CompleteAwakeable(Message):
    awakeable_id: str | None = text(1)
    value: Value | None = one(2, lambda: Value)
    failure: WireFailure | None = one(3, lambda: WireFailure)


Command = (
    InputCommand
    | OutputCommand
    | GetState
    | SetState
    | ClearState
    | ClearAllState
    | GetStateKeys
    | EagerState
    | EagerStateKeys
    | GetPromise
    | PeekPromise
    | CompletePromise
    | Sleep
    | Call
    | OneWayCall
    | SendSignal
    | Run
    | Attach
    | GetOutput
    | CompleteAwakeable
)

TYPES: Final[Mapping[int, type[Command]]] = {
    0x0400: InputCommand,
    0x0401: OutputCommand,
    0x0402: GetState,
    0x0403: SetState,
    0x0404: ClearState,
    0x0405: ClearAllState,
    0x0406: GetStateKeys,
    0x0407: EagerState,
    0x0408: EagerStateKeys,
    0x0409: GetPromise,
    0x040A: PeekPromise,
    0x040B: CompletePromise,
    0x040C: Sleep,
    0x040D: Call,
    0x040E: OneWayCall,
    0x0410: SendSignal,
    0x0411: Run,
    0x0412: Attach,
    0x0413: GetOutput,
    0x0414: CompleteAwakeable,
}
"""The commands by their types on the wire."""

TYPE_OF: Final[Mapping[type[Command], int]] = {command: type for type, command in TYPES.items()}
"""The types on the wire by the commands."""

ANSWERED: Final = frozenset(
    TYPE_OF[each]
    for each in (GetState, GetStateKeys, GetPromise, PeekPromise, CompletePromise, Sleep, Call, Attach, GetOutput)
)
"""The types of the commands whose results only a runtime can give."""

CALL_ID: Final = 0x800E
"""The type of the notification that carries a call's or a message's invocation id."""


def is_command(type: int) -> bool:
    """Return True if frames of this type are commands, which the journal keeps."""
    return COMMANDS <= type < NOTIFICATIONS or type >= CUSTOM


def result_type(command: type[Command]) -> int:
    """Return the type of the notification that carries a command's result.

    >>> hex(result_type(Call))
    '0x800d'
    """
    return TYPE_OF[command] - COMMANDS + NOTIFICATIONS


def read_command(frame: Frame) -> Command | None:
    """Return a frame's command; ``None`` for one of the SDK's own, which is kept and not interpreted.

    Raises:
        ProtocolError: If its type is not known, or its payload is damaged.
    """
    if frame.type >= CUSTOM:
        return None
    if frame.type not in TYPES:
        raise ProtocolError(f"command {frame.type:#06x} is unknown: it is of a newer version than {VERSIONS[-1]}")
    return TYPES[frame.type].decode(frame.payload)
