"""The player: a handler of the engine that does what an SDK's endpoint answers.

The service protocol needs no second kind of attempt. The player tells the endpoint the journal so far (an exchange,
which is a step), issues the commands of the answer as commands of the engine, awaits what the answer awaits, and tells
the endpoint the results. Because answers are results of steps and the engine records the order of results, a replay
builds the same journal without calling the endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adapter.combinators import wait_all, wait_completed
from adapter.engine import commands as c
from adapter.engine.ids import sdk_id, signal_name
from adapter.engine.types import Kind
from adapter.errors import InvocationCancelledError, TerminalError
from adapter.operations import Invocation, Operation
from adapter.restate import messages as m
from adapter.restate import results as r
from adapter.restate.answers import Answer, EndpointError, failed, now, read_answer
from adapter.restate.awaiting import Leaf, is_unique, leaves, resolved, uncancelled, wants_all
from adapter.restate.conversation import Conversation, Way
from adapter.restate.limits import check
from adapter.restate.values import content_of, failure_of, invocation_of, outcome_of, request_of, text_of
from adapter.restate.wire import Frame

MAX_EXCHANGES: Final = 100_000
"""The most exchanges of one attempt. It ends an endpoint that answers forever and never completes."""

MAX_STATE: Final = 1024 * 1024
"""The most bytes of a key's state that an exchange sends ahead."""


class Player:
    """Plays one handler of an endpoint; `play` is its code for the engine.

    Args:
        way: Reaches the endpoint.
        service: The service's name.
        handler: The handler's name.
        lazy: True to have the handler ask for each state entry that it reads, instead of sending it the state.
    """

    def __init__(self, way: Way, service: str, handler: str, *, lazy: bool = False) -> None:
        self._way = way
        self._lazy = lazy
        self._service = service
        self._handler = handler

    async def play(self, issuer: c.Issuer, body: bytes) -> bytes:
        """Run the handler to its end.

        Raises:
            TerminalError: If the handler ends with one.
            EndpointError: If the endpoint fails; the attempt is tried again.
        """
        conversation = Conversation(self._way, self._service, self._handler)
        play = _Play(issuer, conversation, body, lazy=self._lazy)
        try:
            for _ in range(MAX_EXCHANGES):
                answer = await play.exchange()
                play.apply(answer)
                match answer.end:
                    case m.Suspension():
                        await play.wait(answer.end.future)
                    case m.AwaitingOn():
                        await play.wait(answer.end.future, play.told)
                    case m.ProposeRun():
                        pass
                    case m.Error(behavior=m.FAIL):
                        raise failure_of(m.WireFailure(answer.end.code, answer.end.message)).error()
                    case m.Error():
                        play.fail(answer.end)
                    case _:
                        return _output(answer)
        finally:
            conversation.close()
        raise TerminalError(f"{issuer.target} took more than {MAX_EXCHANGES} exchanges with its endpoint")


def _output(answer: Answer) -> bytes:
    output = next((each for each in answer.commands if isinstance(each, m.OutputCommand)), None)
    if output is None:
        raise TerminalError("the endpoint ended the invocation without an output")
    if output.failure is not None:
        raise failure_of(output.failure).error()
    return content_of(output.value)


def _eager(seen: c.SeenState) -> tuple[list[m.StateEntry], bool]:
    """Return the state to send with the journal, and whether that is all of it. The handler asks for the rest."""
    entries: list[m.StateEntry] = []
    left = MAX_STATE
    for name, value in seen.entries.items():
        left -= len(name) + len(value)
        if left < 0:
            return entries, False
        entries.append(m.StateEntry(name.encode(), value))
    return entries, seen.complete


_NOTHING: Final[Mapping[Leaf, bool]] = {}


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

    def __init__(self, issuer: c.Issuer, conversation: Conversation, body: bytes, *, lazy: bool) -> None:
        self._issuer = issuer
        self._conversation = conversation
        self._stateful = issuer.kind is not Kind.SERVICE
        self._eager = self._stateful and not lazy
        self._journal: list[Frame] = []
        self._open: list[_Open] = []
        self._arrived: dict[Leaf, bool] = {}
        """The leaves whose results came since the last exchange began, and whether they are failures."""
        self.told: dict[Leaf, bool] = {}
        """The leaves whose results came before, if they cannot come again."""
        self._failed = 0
        """1 after an exchange that made progress and then failed."""
        self._seed = issuer.random.getrandbits(64)
        headers = [m.Header(name, value) for name, value in issuer.headers.items()]
        self._add(m.InputCommand(headers, m.Value(body)), m.TYPE_OF[m.InputCommand])

    # --- exchanges ---

    async def exchange(self) -> Answer:
        """Tell the endpoint the journal and return the answer, as it was the first time."""
        journal = list(self._journal)
        issuer = self._issuer
        # What an earlier attempt began is the last progress, and each failure since then was a failure of it.
        retries = self._failed + (issuer.failures if issuer.replaying else 0)
        since = issuer.failing_since if retries else None
        seen = c.SeenState(complete=not self._stateful)
        id = sdk_id(self._issuer.origin)
        self.told |= {leaf: failed for leaf, failed in self._arrived.items() if is_unique(leaf)}
        self._arrived.clear()
        arrived = dict(self.told)
        conversation, goes_on = self._conversation, self._conversation.goes_on

        async def closure() -> bytes:
            if goes_on and not conversation.goes_on:
                raise EndpointError("the endpoint ended the stream while it was to be told results")
            entries, complete = _eager(seen)
            start = m.Start(
                id=id,
                debug_id=self._issuer.id,
                known_entries=len(journal),
                state_map=entries,
                partial_state=not complete,
                key=self._issuer.target.key,
                retry_count=retries,
                duration=0 if since is None else max(0, now() - since),
                random_seed=self._seed,
                idempotency_key=self._issuer.idempotency_key,
            )
            return await conversation.exchange(start, journal, arrived)

        shown = seen if self._eager and not goes_on else None
        operation = self._issuer.issue(c.Run("exchange", closure, kind="exchange", state=shown), r.read_bytes)
        while not operation.done:  # a cancellation meanwhile is for the handler to know
            await self._until(operation)
        await self._until(operation)  # so is one that no failure of a call has told of
        return read_answer(await operation, stamped=True)

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

    def fail(self, error: m.Error) -> None:
        """Fail the attempt in which an exchange made progress and then failed. A later attempt goes on from there.

        Raises:
            EndpointError: If the answer came in this attempt.
        """
        if not self._issuer.recalling:
            raise failed(error)

    def _add(self, message: m.Command | m.Notification, type: int) -> None:
        self._journal.append(Frame(type, message.encode()))

    # --- commands ---

    def _issue(self, command: m.Command, now: int) -> None:
        issue = self._issuer.issue
        if isinstance(command, _STATE) and not self._stateful:
            raise TerminalError(f"{self._issuer.target} is a service's handler: only objects and workflows have state")
        if isinstance(command, _WRITES) and self._issuer.kind is Kind.SHARED:
            raise TerminalError(f"{self._issuer.target} is a shared handler: only others write state")
        check(command, now)
        match command:
            case m.GetState(key, n):
                self._await(issue(c.GetState(text_of(key)), r.read_optional), n, m.GetState, r.value_or_void)
            case m.SetState(key, value):
                issue(c.SetState(text_of(key), content_of(value)), r.read_bytes)
            case m.ClearState(key):
                issue(c.ClearState(text_of(key)), r.read_bytes)
            case m.ClearAllState():
                issue(c.ClearAllState(), r.read_bytes)
            case m.GetStateKeys(n):
                self._await(issue(c.StateKeys(), r.read_optional), n, m.GetStateKeys, r.state_keys)
            case m.Sleep(wake_up, n, name):
                sleep = c.Sleep(max(0, (wake_up or 0) - now), name or "")
                self._await(issue(sleep, r.read_optional), n, m.Sleep, r.void)
            case m.Call():
                call = issue(c.Call(*request_of(command)), r.read_optional)
                self._tell_id(call, command.id_completion_id)
                self._await(call, command.completion_id, m.Call, r.value)
            case m.OneWayCall():
                target, input, key, headers = request_of(command)
                delay = max(0, (command.invoke_time or 0) - now)
                self._tell_id(
                    issue(c.Send(target, input, delay, key, headers), r.read_optional), command.id_completion_id
                )
            case m.Attach(completion_id=n):
                self._await(issue(c.Attach(invocation_of(command)), r.read_optional), n, m.Attach, r.value)
            case m.GetOutput(completion_id=n):
                self._await(issue(c.Output(invocation_of(command)), r.read_optional), n, m.GetOutput, r.output_or_void)
            case m.GetPromise(key, n):
                self._await(issue(c.GetPromise(key or ""), r.read_optional), n, m.GetPromise, r.value)
            case m.PeekPromise(key, n):
                self._await(issue(c.PeekPromise(key or ""), r.read_optional), n, m.PeekPromise, r.value_or_void)
            case m.CompletePromise(key, value, failure, n):
                completed = c.CompletePromise(key or "", outcome_of(value, failure))
                self._await(issue(completed, r.read_optional), n, m.CompletePromise, r.accepted)
            case m.SendSignal():
                self._signal(command)
            case m.CompleteAwakeable(id, value, failure):
                issue(c.Complete(id or "", outcome_of(value, failure)), r.read_optional)
            case _:  # the others have their results in them
                pass

    def _signal(self, command: m.SendSignal) -> None:
        target = command.target or ""
        if command.index == m.CANCEL:
            self._issuer.issue(c.Cancel(target), r.read_optional)
        elif command.index is not None:
            raise TerminalError(f"signal {command.index} cannot be sent: only a name, or {m.CANCEL} to cancel")
        else:
            outcome = outcome_of(command.value, command.failure)
            self._issuer.issue(c.SendSignal(target, command.name or "", outcome), r.read_optional)

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

    async def wait(self, future: m.Future, told: Mapping[Leaf, bool] = _NOTHING) -> None:
        """Wait until what the endpoint awaits may have come, and add what has come to the journal.

        Args:
            future: What the endpoint awaits.
            told: Results that it may not have taken note of when it said so.
        """
        future = uncancelled(future)
        await self._collect()
        while not (resolved(future, {**told, **self._arrived}) or _CANCEL in self._arrived):
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
        name = signal_name(self._issuer.origin, index) if index is not None else leaf[1:]

        def notification(value: bytes | None) -> m.Notification:
            message = r.value_or_void(value)
            return replace(message, signal_index=index, signal_name=leaf[1:] if index is None else None)

        awaited = _Open(self._issuer.issue(c.Signal(name), r.read_optional), notification, m.SIGNAL, leaf)
        self._open.append(awaited)
        return awaited

    async def _until(self, *operations: Operation[Any], all: bool = False) -> None:
        """Wait for one of them, or for all. A cancellation becomes the protocol's signal."""
        try:
            await (wait_all if all else wait_completed)(*operations)
        except InvocationCancelledError:
            self._add(m.Notification(signal_index=m.CANCEL, void=m.Void()), m.SIGNAL)
            self._arrived[_CANCEL] = False

    async def _collect(self) -> None:
        """Add the results that are there, in the order of their commands."""
        ended = [each for each in self._open if each.operation.done]
        if ended:  # a cancellation that a call's failure was to tell of, and did not
            await self._until(*(each.operation for each in ended))
        for each in ended:
            self._open.remove(each)
            failed = False
            try:
                message = each.notification(await each.operation)
            except TerminalError as error:
                failed = True
                message = replace(
                    each.notification(None), void=None, value=None, state_keys=None, failure=r.failure(error)
                )
            self._add(message, each.type)
            self._arrived[each.leaf] = failed


_WRITES: Final = (m.SetState, m.ClearState, m.ClearAllState)
_STATE: Final = (*_WRITES, m.GetState, m.GetStateKeys)
_CANCEL: Final = f"#{m.CANCEL}"

_Form = Callable[[bytes | None], m.Notification]
