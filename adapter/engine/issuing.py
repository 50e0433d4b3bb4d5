"""What happens when handler code issues a command, and when a later attempt takes up one without a result."""

from __future__ import annotations

from typing import Any, Protocol

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.attempt import Attempt
from adapter.engine.blobs import blob_for
from adapter.engine.commit_log import CommitLog
from adapter.engine.events import BY_NOTIFICATION, Event, Events, NotImmediate
from adapter.engine.execution import Created, EffectGroup, Execution, JournalAppended, KeyRequested, StateWritten
from adapter.engine.journal import CommandIssued
from adapter.engine.limits import oversize, refusal
from adapter.engine.pending import Pending, PendingInvocation
from adapter.engine.records import Parent, Ref
from adapter.engine.runtime import Runtime
from adapter.engine.state_reads import StateReads
from adapter.engine.suspensions import derived
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome, Target
from adapter.engine.under_way import REQUIRED, UnderWay
from adapter.errors import NotDeployedError

IMMEDIATE = c.Now | c.GetState | c.SetState | c.ClearState | c.ClearAllState | c.StateKeys
"""The commands that need nothing but the key's state."""


class Starter(Protocol):
    """Starts the executions that commands create."""

    executions: dict[str, Execution]
    """The executions that run, by their ids."""

    def start(self, execution: Execution) -> None:
        """Start an execution."""

    def enter_key(self, at: ObjectKey) -> None:
        """Start an execution that requested this key, if it now owns the key."""


class Hosting(Protocol):
    """Which invocations of other origin run in the session."""

    hosted: set[str]
    """The ids of the invocations that run or ran here, and were not created here."""
    batched: set[Ref]
    """The invocations of an inbox that run here and have to complete at once."""


class Issuing:
    """Turns commands into effects and work (`attempt.Host`)."""

    def __init__(
        self,
        runtime: Runtime,
        log: CommitLog,
        under_way: UnderWay,
        reads: StateReads,
        hosting: Hosting,
        events: Events,
        runner: Starter,
    ) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._log = log
        self._under_way = under_way
        self._reads = reads
        self._hosting = hosting
        self._events = events
        self._runner = runner

    def kind_of(self, target: Target) -> Kind:
        return self._runtime.deployment.kind_of(target)

    def difference(self, attempt: Attempt, pending: Pending[Any]) -> str | None:
        contents = self._runtime.contents
        return None if contents is None else contents.difference(attempt.meta.ref, pending.n, pending.command)

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        execution, n, command = self._runner.executions[attempt.meta.id], pending.n, pending.command
        if self._runtime.contents is not None:
            self._runtime.contents.note(execution, n, command)
        at: int | None = None
        value: Outcome | None = None
        more: EffectGroup = ()
        if self._hosting.batched and execution.ref in self._hosting.batched and not isinstance(command, IMMEDIATE):
            raise NotImmediate
        match command:
            case c.Run():
                at_once = command.deferred and self._own_their_keys()
                self._under_way.step(execution, n, self._reads.seen_by(execution, command), at_once=at_once)
            case _ if (failure := refusal(command)) is not None:
                value = Outcome(failure=failure)
            case c.Now():
                value = Outcome(str(self._process.now()).encode())
            case c.Sleep(milliseconds):
                at = self._process.now() + milliseconds
                self._under_way.sleep(execution, n, at)
            case c.GetState() | c.StateKeys():
                value = self._reads.known(execution, command)
                if value is None:
                    self._under_way.read(execution, n, command, self._reads.snapshot(execution))
            case c.SetState(entry, data):
                more, value = (StateWritten(execution, entry, data, blob_for(data)),), Outcome()
            case c.ClearState(entry):
                more, value = (StateWritten(execution, entry, None),), Outcome()
            case c.ClearAllState():
                more, value = (StateWritten(execution, None, None),), Outcome()
            case c.Call() | c.Send():
                assert isinstance(pending, PendingInvocation)
                self._invoke(execution, pending, command)
                return
            case c.Awakeable():
                pass
            case c.Signal():
                self._match_signals(execution)
            case _:
                self._under_way.request(execution, n, command)
        pending.outcome = value
        self._log.record((JournalAppended(execution, CommandIssued(n, *pending.described, at, value)), *more))

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        execution, n, command = self._runner.executions[attempt.meta.id], pending.n, pending.command
        match command:
            case _ if n in attempt.read_results:
                execution.required_requests += command.__class__ in REQUIRED
                self._events.post(Event(execution.meta.id, n, attempt.read_results[n]))
            case c.Run(at_most_once=True) if n not in execution.issued_here and not attempt.retries_step(n):
                reason = f"step {command.name!r} may have run in an earlier attempt, and is to run at most once"
                self._events.post(Event(execution.meta.id, n, Outcome(failure=Failure(500, reason))))
            case c.Run():
                self._under_way.step(execution, n, self._reads.seen_by(execution, command))
            case c.Sleep():
                assert at is not None
                self._under_way.sleep(execution, n, at)
            case c.GetState() | c.StateKeys():
                self._under_way.read(execution, n, command, self._reads.snapshot(execution))
            case c.Attach() | c.GetPromise() if f"a{n}" in execution.notifications:
                pass
            case c.Call() if f"c{n}" not in execution.notifications:
                assert isinstance(pending, PendingInvocation)
                if not derived(pending):
                    self._under_way.request(execution, n, c.Attach(pending.id))
            case c.Call() | c.Send() | c.Awakeable() | c.Signal():
                pass
            case c.Now() | c.SetState() | c.ClearState() | c.ClearAllState():
                pass
            case _:
                self._under_way.request(execution, n, command)

    def _own_their_keys(self) -> bool:
        """Return True if all exclusive executions here own their keys by what is committed."""
        exclusive = (execution for execution in self._runner.executions.values() if execution.exclusive)
        heads = ((execution.ref, self._log.key(execution.key).head) for execution in exclusive)
        return all(head is not None and head.owner == ref for ref, head in heads)

    def _match_signals(self, execution: Execution) -> None:
        """Look for a signal that arrived before the handler asked for it."""
        assert execution.attempt is not None
        for notification_id, outcome in execution.notifications.items():
            if notification_id.startswith("s") and notification_id not in execution.attempt.delivered:
                self._events.append(Event(execution.meta.id, BY_NOTIFICATION, outcome, notification_id))

    def _invoke(self, execution: Execution, pending: PendingInvocation[Any], command: c.Call | c.Send) -> None:
        """Create another invocation. Run it here if it is called and its handler is here; otherwise store it for
        another process."""
        n, target = pending.n, command.target
        call = isinstance(command, c.Call)
        problem = self._runtime.deployment.unknown(target)
        if problem is not None and not self._runtime.deployment.deployed(target):
            raise NotDeployedError(f"{problem}: deploy it, or correct the name")
        failure = Failure(404, problem) if problem is not None else None
        if failure is None:
            failure = oversize(f"the input for {target}", command.input)
        known = (self._log.existing, self._log.created, self._hosting.hosted)
        there = any(pending.id in ids for ids in known)
        if failure is None and call and there and pending.kind is Kind.WORKFLOW:
            failure = Failure(409, f"workflow {target.object} ran already, or is running: attach to {pending.id}")
        if failure is not None:
            pending.outcome = Outcome(failure=failure)
            self._log.record((JournalAppended(execution, CommandIssued(n, *pending.described, value=pending.outcome)),))
            return
        if there:
            self._log.record((JournalAppended(execution, CommandIssued(n, *pending.described)),))
            if call:
                self._under_way.request(execution, n, c.Attach(pending.id))
            return
        delay = command.delay if isinstance(command, c.Send) else 0
        spec = self._runtime.deployment.handler(target) if call else None
        meta = lifecycle.accepted(
            pending.id,
            target,
            pending.kind,
            now=self._process.now(),
            deployment=self._runtime.deployment.id if spec else "",
            parent=Parent(execution.ref, n, execution.meta.target.service, execution.meta.deployment) if call else None,
            sender=None if call else execution.ref,
            headers=command.headers,
            input=command.input,
            idempotent=command.idempotency_key is not None,
            idempotency_key=command.idempotency_key,
        )
        child = Execution(
            lifecycle.delayed(meta, delay),
            command.input,
            spec,
            caller=execution if spec else None,
        )
        requests_key = pending.kind.exclusive and not delay
        requested: EffectGroup = ()
        if requests_key:
            execution.moment = self._process.moment(after=execution.moment)
            requested = (KeyRequested(child, execution.moment, direct=str(child.key) not in execution.requested_keys),)
        issued = CommandIssued(n, *pending.described, at=execution.moment if requests_key else None)
        self._log.record((Created(child), *requested, JournalAppended(execution, issued)))
        if spec is None:
            return
        self._runner.executions[child.meta.id] = child
        if requests_key:
            self._runner.enter_key(child.key)
        else:
            self._runner.start(child)
