"""The player: a handler of the engine that does what an SDK's endpoint answers.

The service protocol needs no second kind of attempt. The player sends the journal so far to the endpoint (an exchange,
which is a step), issues the commands of the answer as commands of the engine, awaits what the answer awaits, and sends
the journal again, with the results. Because answers are results of steps and the engine records the order of results,
a replay builds the same journal without calling the endpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapter.combinators import wait_all, wait_completed
from adapter.engine import commands as c
from adapter.engine.ids import idempotent_id, sdk_id, signal_name, workflow_id
from adapter.engine.types import Failure, Headers, Kind, Outcome, Target
from adapter.errors import InvocationCancelledError, TerminalError
from adapter.operations import Invocation, Operation
from adapter.restate import messages as m
from adapter.restate.answers import Answer, EndpointError, read_answer, recorded
from adapter.restate.awaiting import Leaf, leaves, resolved, uncancelled, wants_all
from adapter.restate.wire import Frame, write_frame

NO_SCOPES: Final = "scopes and limit keys are not supported: there is no flow control yet"

MAX_EXCHANGES: Final = 100_000
"""The most exchanges of one attempt. It ends an endpoint that answers forever and never completes."""

Exchange = Callable[[str, str, bytes], Awaitable[bytes]]
"""Sends a service's, a handler's and an invocation's journal to an endpoint, and returns the answer. Raises
`EndpointError` if there is none, or not one of the protocol; the exchange is then tried again."""


class Player:
    """Plays one handler of an endpoint; `play` is its code for the engine."""

    def __init__(self, exchange: Exchange, service: str, handler: str) -> None:
        self._send = exchange
        self._service = service
        self._handler = handler

    async def play(self, issuer: c.Issuer, body: bytes) -> bytes:
        """Run the handler to its end.

        Raises:
            TerminalError: If the handler ends with one.
            EndpointError: If the endpoint fails; the attempt is tried again.
        """
        play = _Play(issuer, self._exchange, body)
        for _ in range(MAX_EXCHANGES):
            answer = await play.exchange()
            play.apply(answer)
            match answer.end:
                case m.Suspension():
                    await play.wait(answer.end.future)
                case m.Error():
                    await play.back_off(answer.end)
                case _:
                    return _output(answer)
        raise TerminalError(f"{issuer.target} took more than {MAX_EXCHANGES} exchanges with its endpoint")

    async def _exchange(self, body: bytes) -> bytes:
        return await self._send(self._service, self._handler, body)


def _output(answer: Answer) -> bytes:
    output = next((each for each in answer.commands if isinstance(each, m.OutputCommand)), None)
    if output is None:
        raise TerminalError("the endpoint ended the invocation without an output")
    if output.failure is not None:
        raise _failure(output.failure).error()
    return _content(output.value)


@dataclass(slots=True)
class _Open:
    """A command whose result is still to be sent."""

    operation: Operation[bytes | None]
    notification: Callable[[bytes | None], m.Notification]
    type: int
    leaf: Leaf
    """What it is in a tree that the endpoint awaits."""


class _Play:
    """One attempt of an invocation."""

    def __init__(self, issuer: c.Issuer, exchange: Callable[[bytes], Awaitable[bytes]], body: bytes) -> None:
        self._issuer = issuer
        self._send = exchange
        self._journal: list[Frame] = []
        self._open: list[_Open] = []
        self._arrived: dict[Leaf, bool] = {}
        """The leaves whose results came since the last exchange began, and whether they are failures."""
        self._failed = 0
        """1 after an exchange that made progress and then failed: it is a failure since the last stored entry."""
        self._state: dict[str, bytes] | None = None
        headers = [m.Header(name, value) for name, value in issuer.headers.items()]
        self._add(m.InputCommand(headers, m.Value(body)), m.TYPE_OF[m.InputCommand])

    # --- exchanges ---

    async def exchange(self) -> Answer:
        """Send the journal and return the answer, as it was the first time."""
        issuer = self._issuer
        state = await self._load_state()
        start = m.Start(
            id=sdk_id(issuer.ref),
            debug_id=issuer.id,
            known_entries=len(self._journal),
            state_map=[m.StateEntry(name.encode(), value) for name, value in state.items()],
            partial_state=False,
            key=issuer.target.key,
            retry_count=issuer.failures + self._failed,
            random_seed=_seed(issuer),
        )
        body = b"".join(map(write_frame, [Frame(m.START, start.encode()), *self._journal]))
        self._arrived.clear()

        async def closure() -> bytes:
            answer = await self._send(body)
            return recorded(read_answer(answer), answer)

        return read_answer(await issuer.issue(c.Run("exchange", closure), _bytes), stamped=True)

    async def _load_state(self) -> Mapping[str, bytes]:
        """Return the state of the handler's key as it was when the invocation began."""
        if self._state is None:
            self._state = {}
            if self._issuer.kind is not Kind.SERVICE:
                names = await self._issuer.issue(c.StateKeys(), _names)
                reads = {name: self._issuer.issue(c.GetState(name), _optional) for name in names}
                for name, read in reads.items():
                    value = await read
                    if value is not None:
                        self._state[name] = value
        return self._state

    def apply(self, answer: Answer) -> None:
        """Issue the commands of an answer, and add them and the results of its steps to the journal."""
        self._failed = int(isinstance(answer.end, m.Error))
        for frame, command in answer.entries:
            self._journal.append(frame)
            if command is not None:
                self._issue(command, answer.at)
        for proposal in answer.runs:
            n = proposal.completion_id or 0
            result = m.Notification(completion_id=n, failure=proposal.failure)
            if proposal.failure is None:
                result.value = m.Value(proposal.value or b"")
            self._add(result, m.result_type(m.Run))
            self._arrived[n] = proposal.failure is not None

    async def back_off(self, error: m.Error) -> None:
        """Wait before the next exchange, after one that made progress and then failed."""
        delay = error.next_retry_delay
        if delay:
            await self._until(self._issuer.issue(c.Sleep(delay, "retry"), _bytes))

    def _add(self, message: m.Command | m.Notification, type: int) -> None:
        self._journal.append(Frame(type, message.encode()))

    # --- commands ---

    def _issue(self, command: m.Command, now: int) -> None:
        issue = self._issuer.issue
        match command:
            case m.GetState(key, n):
                self._await(issue(c.GetState(_text(key)), _optional), n, m.GetState, _value_or_void)
            case m.SetState(key, value):
                issue(c.SetState(_text(key), _content(value)), _bytes)
            case m.ClearState(key):
                issue(c.ClearState(_text(key)), _bytes)
            case m.ClearAllState():
                issue(c.ClearAllState(), _bytes)
            case m.GetStateKeys(n):
                self._await(issue(c.StateKeys(), _optional), n, m.GetStateKeys, _keys)
            case m.Sleep(wake_up, n, name):
                sleep = c.Sleep(max(0, (wake_up or 0) - now), name or "")
                self._await(issue(sleep, _optional), n, m.Sleep, _void)
            case m.Call():
                call = issue(c.Call(*_request(command)), _optional)
                self._tell_id(call, command.id_completion_id)
                self._await(call, command.completion_id, m.Call, _value)
            case m.OneWayCall():
                target, input, key, headers = _request(command)
                delay = max(0, (command.invoke_time or 0) - now)
                self._tell_id(issue(c.Send(target, input, delay, key, headers), _optional), command.id_completion_id)
            case m.Attach(completion_id=n):
                self._await(issue(c.Attach(_invocation(command)), _optional), n, m.Attach, _value)
            case m.GetOutput(completion_id=n):
                self._await(issue(c.Output(_invocation(command)), _optional), n, m.GetOutput, _output_or_void)
            case m.GetPromise(key, n):
                self._await(issue(c.GetPromise(key or ""), _optional), n, m.GetPromise, _value)
            case m.PeekPromise(key, n):
                self._await(issue(c.PeekPromise(key or ""), _optional), n, m.PeekPromise, _value_or_void)
            case m.CompletePromise(key, value, failure, n):
                completed = c.CompletePromise(key or "", _outcome(value, failure))
                self._await(issue(completed, _optional), n, m.CompletePromise, _completed)
            case m.SendSignal():
                self._signal(command)
            case m.CompleteAwakeable(id, value, failure):
                issue(c.Complete(id or "", _outcome(value, failure)), _optional)
            case _:  # the others have their results in them
                pass

    def _signal(self, command: m.SendSignal) -> None:
        target = command.target or ""
        if command.index == m.CANCEL:
            self._issuer.issue(c.Cancel(target), _optional)
        elif command.index is not None:
            raise TerminalError(f"signal {command.index} cannot be sent: only a name, or {m.CANCEL} to cancel")
        else:
            outcome = _outcome(command.value, command.failure)
            self._issuer.issue(c.SendSignal(target, command.name or "", outcome), _optional)

    def _tell_id(self, invocation: Invocation[Any], n: int | None) -> None:
        """Add the id of a call or message, which is known at once."""
        self._add(m.Notification(completion_id=n or 0, invocation_id=invocation.id), m.CALL_ID)
        self._arrived[n or 0] = False

    def _await(self, operation: Operation[bytes | None], n: int | None, command: type[m.Command], form: _Form) -> None:
        """Keep a command whose result is sent to the endpoint once it has come."""
        completion = n or 0

        def notification(value: bytes | None) -> m.Notification:
            return replace(form(value), completion_id=completion)

        self._open.append(_Open(operation, notification, m.result_type(command), completion))

    # --- waiting ---

    async def wait(self, future: m.Future) -> None:
        """Wait until what the endpoint awaits may have come, and add what has come to the journal."""
        future = uncancelled(future)
        await self._collect()
        while not (resolved(future, self._arrived) or _CANCEL in self._arrived):
            operations = self._awaited(future)
            if not operations:
                raise EndpointError("the endpoint waits for nothing that could come")
            await self._until(*operations, all=wants_all(future))
            await self._collect()

    def _awaited(self, future: m.Future) -> list[Operation[bytes | None]]:
        """Return the operations that a tree waits for. A signal becomes one when it is first awaited."""
        open = {each.leaf: each for each in self._open}
        for leaf in leaves(future):
            if isinstance(leaf, str) and leaf not in open and leaf not in self._arrived:
                open[leaf] = self._await_signal(leaf)
        return [open[leaf].operation for leaf in leaves(future) if leaf in open]

    def _await_signal(self, leaf: str) -> _Open:
        index = int(leaf[1:]) if leaf[0] == "#" else None
        name = signal_name(self._issuer.ref, index) if index is not None else leaf[1:]

        def notification(value: bytes | None) -> m.Notification:
            message = _value_or_void(value)
            return replace(message, signal_index=index, signal_name=leaf[1:] if index is None else None)

        awaited = _Open(self._issuer.issue(c.Signal(name), _optional), notification, m.SIGNAL, leaf)
        self._open.append(awaited)
        return awaited

    async def _until(self, *operations: Operation[bytes | None], all: bool = False) -> None:
        """Wait for one of them, or for all. A cancellation becomes the protocol's signal."""
        try:
            await (wait_all if all else wait_completed)(*operations)
        except InvocationCancelledError:
            self._add(m.Notification(signal_index=m.CANCEL, void=m.Void()), m.SIGNAL)
            self._arrived[_CANCEL] = False

    async def _collect(self) -> None:
        """Add the results that are there, in the order of their commands."""
        for each in [each for each in self._open if each.operation.done]:
            self._open.remove(each)
            failed = False
            try:
                message = each.notification(await each.operation)
            except TerminalError as error:
                failed = True
                metadata = [m.FailureMetadata(*item) for item in error.metadata.items()]
                failure = m.WireFailure(error.code, error.message, metadata)
                message = replace(each.notification(None), void=None, value=None, state_keys=None, failure=failure)
            self._add(message, each.type)
            self._arrived[each.leaf] = failed


_CANCEL: Final = f"#{m.CANCEL}"

_Form = Callable[[bytes | None], m.Notification]


# --- values ----------------------------------------------------------------------------------------------------------


def _bytes(value: bytes | None) -> bytes:
    return value or b""


def _optional(value: bytes | None) -> bytes | None:
    return value


def _names(value: bytes | None) -> list[str]:
    return list(json.loads(value or b"[]"))


def _value(value: bytes | None) -> m.Notification:
    return m.Notification(value=m.Value(value or b""))


def _value_or_void(value: bytes | None) -> m.Notification:
    return m.Notification(void=m.Void()) if value is None else _value(value)


def _void(_: bytes | None) -> m.Notification:
    return m.Notification(void=m.Void())


def _keys(value: bytes | None) -> m.Notification:
    return m.Notification(state_keys=m.WireKeys([name.encode() for name in _names(value)]))


def _output_or_void(value: bytes | None) -> m.Notification:
    if value is not None and value.startswith(c.READY):
        return _value(value.removeprefix(c.READY))
    if value == c.NOT_FOUND:
        return m.Notification(failure=m.WireFailure(404, "no such invocation, or it has expired"))
    return _void(None)


def _completed(value: bytes | None) -> m.Notification:
    if c.accepted(value):
        return _void(None)
    return m.Notification(failure=m.WireFailure(409, "the promise was completed before"))


def _content(value: m.Value | None) -> bytes:
    return (value.content if value is not None else None) or b""


def _text(key: bytes | None) -> str:
    return (key or b"").decode()


def _failure(failure: m.WireFailure) -> Failure:
    code = failure.code or 500
    metadata = {each.key or "": each.value or "" for each in failure.metadata}
    return Failure(code if 400 <= code <= 599 else 500, failure.message or "", metadata)


def _outcome(value: m.Value | None, failure: m.WireFailure | None) -> Outcome:
    return Outcome(_content(value)) if failure is None else Outcome(failure=_failure(failure))


def _request(command: m.Call | m.OneWayCall) -> tuple[Target, bytes, str | None, Headers]:
    _refuse_scope(command.scope or command.limit_key)
    target = Target(command.service or "", command.handler or "", command.key or None)
    headers = {each.key or "": each.value or "" for each in command.headers}
    return target, command.parameter or b"", command.idempotency_key, headers


def _refuse_scope(scope: str | None) -> None:
    if scope:
        raise TerminalError(NO_SCOPES, code=501)


def _invocation(command: m.Attach | m.GetOutput) -> str:
    if command.workflow is not None:
        _refuse_scope(command.workflow.scope)
        return workflow_id(command.workflow.workflow_name or "", command.workflow.workflow_key or "")
    if command.idempotent is not None:
        request = command.idempotent
        _refuse_scope(request.scope)
        target = Target(request.service_name or "", request.handler_name or "", request.service_key)
        return idempotent_id(target, request.idempotency_key or "")
    return command.invocation_id or ""


def _seed(issuer: c.Issuer) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(issuer.ref).encode(), digest_size=8).digest(), "big")
