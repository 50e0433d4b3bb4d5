"""Run the code of a session's executions: events in, effects out.

Nothing here awaits, reads the store or starts a task. Events come from the session's queue. Effects go to the commit
log, and what the code asks for goes to the table of what is under way.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from adapter.engine.attempt import Attempt
from adapter.engine.commit_log import CommitLog
from adapter.engine.decide import FLUSH_AFTER
from adapter.engine.events import BY_NOTIFICATION, ENDED, LOADING, Event, Events, NotImmediate
from adapter.engine.execution import Completed, EffectGroup, Execution, JournalAppended, KeyReleased
from adapter.engine.failures import Failures
from adapter.engine.issuing import Issuing
from adapter.engine.journal import CANCEL, Entry, NotificationDelivered, ResultDelivered, key_requests
from adapter.engine.known_key import Key
from adapter.engine.limits import bounded
from adapter.engine.loop import HELP
from adapter.engine.notifications import earliest, expected, receiving_command
from adapter.engine.preparation import INBOX_PAGE
from adapter.engine.records import Ref, cancellations
from adapter.engine.residents import Residents
from adapter.engine.runtime import Runtime
from adapter.engine.state_reads import StateReads
from adapter.engine.types import CANCELLED, Failure, ObjectKey, Outcome
from adapter.engine.under_way import REQUIRED, Load, UnderWay
from adapter.errors import NonDeterminismError

MAX_EFFECTS = 400
"""The number of groups in the log at which it is committed without another reason."""


class Keys(Protocol):
    """What the runner needs of the keys of its executions."""

    hosted: set[str]
    """The ids of the invocations that run or ran here, and were not created here."""
    batched: set[Ref]
    """The invocations of an inbox that run here and have to complete at once."""

    def load(self, key: Key) -> None:
        """Read a key's head, and grant the key after that."""

    def next_to_start(self, key: Key) -> Execution | None:
        """Return the key's owner if it is to run here and does not run yet."""


class Runner:
    """The code of one session's executions.

    Args:
        runtime: What the session shares with others.
        log: The session's commit log.
        under_way: What the code has asked for.
        reads: Answers state reads from what is known.
        keys: The keys of the executions.
        events: The events that the code has not seen.
        executions: The executions that run, by their ids.
        residents: The invocations that run in the session.

    Attributes:
        failures: The failures of attempts.
        cancellations: The calls to cancel, by their ids, with how often.
    """

    def __init__(
        self,
        runtime: Runtime,
        log: CommitLog,
        under_way: UnderWay,
        reads: StateReads,
        keys: Keys,
        events: Events,
        executions: dict[str, Execution],
        residents: Residents,
    ) -> None:
        self._process = runtime.process
        self._context = runtime.context
        self._log = log
        self._under_way = under_way
        self._keys = keys
        self._events = events
        self.executions = executions
        self._issuing = Issuing(runtime, log, under_way, reads, keys, events, self)
        self.failures = Failures(runtime, log, under_way, residents)
        self._max_effects = 0 if runtime.always_replay else MAX_EFFECTS
        self._ready: deque[Execution] = deque()
        self.cancellations: list[tuple[str, int]] = []
        self._passed_on: set[tuple[str, int]] = set()
        """The cancellations that calls were sent: a replay in this session does not send them again."""

    # --- one turn ---

    @property
    def can_run(self) -> bool:
        """True if an execution is to start, or an event waits."""
        return bool(self._ready or self._events.waiting)

    def has_unseen(self) -> bool:
        """Return True if an event waits."""
        return bool(self._events.waiting)

    def advance(self) -> None:
        """Run all code that can run, until there is enough to commit."""
        start, until = len(self._log.groups), self._process.now() + FLUSH_AFTER
        while self._ready or self._events.waiting or self._under_way.sleeps:
            if self._ready:
                execution = self._ready.popleft()
                if execution.attempt is not None:
                    execution.attempt.run()
                    self._cancel_calls(execution.attempt)
                    self._check(execution)
            elif self._events.waiting:
                self._handle(event := self._events.waiting.popleft())
                if event.n == LOADING and self._log.completed_from_inbox() >= INBOX_PAGE:
                    return
            else:
                due = self._under_way.due_timers(self._process.now())
                if not due:
                    return
                for name in due:
                    self._under_way.remove(name)
                    self._events.append(Event(*name, Outcome(None)))
            if len(self._log.groups) - start > self._max_effects or self._process.now() > until:
                return

    def fail_stuck(self) -> bool:
        """Fail an execution whose code waits for nothing that is durable. Return True if there is one."""
        for execution in list(self.executions.values()):
            if execution.attempt is not None and not execution.attempt.waits():
                stuck = f"the handler waits for something that no durable operation will ever complete; {HELP}"
                self._fail(execution, NonDeterminismError(stuck))
                return True
        return False

    def rewind(self) -> None:
        """Forget what was to run. The replay asks for all of it again; results of steps stay with their executions."""
        self._ready.clear()
        self._events.waiting.clear()
        self.failures.waiting.clear()

    # --- executions begin ---

    def start(self, execution: Execution) -> None:
        """Start an execution: replay its journal, then continue."""
        assert execution.spec is not None
        execution.required_requests = 0
        if execution.meta.epoch > 1:
            execution.moment, execution.requested_keys = key_requests(execution.journal)
            if execution.exclusive and str(execution.key) in execution.requested_keys:
                key = self._log.key(execution.key)
                key.unannounced, key.live = True, None
                self._log.refresh_key(key)
        execution.attempt = Attempt(
            self._issuing,
            execution.spec,
            execution.meta,
            execution.input,
            execution.journal,
            execution.notifications,
            self._context.copy(),
        )
        self._ready.append(execution)
        if execution.cancelled:
            self._events.append(Event(execution.meta.id, CANCEL, Outcome(failure=CANCELLED)))
        for notification_id, outcome in execution.notifications.items():
            if notification_id not in execution.attempt.delivered:
                self._events.append(Event(execution.meta.id, BY_NOTIFICATION, outcome, notification_id))

    def enter_key(self, at: ObjectKey) -> None:
        """Start an execution that requested this key, if it now owns the key."""
        key = self._log.key(at)
        if key.head is not None:
            self._log.refresh_key(key)
            self.grant(key)
        else:
            self._keys.load(key)

    def grant(self, key: Key) -> None:
        """Start the key's owner if it is to run here and does not run yet."""
        execution = self._keys.next_to_start(key)
        if execution is not None:
            self.start(execution)
            self._events.signal.set()

    # --- events arrive ---

    def _handle(self, event: Event) -> None:
        execution = self.executions.get(event.id)
        if event.child is not None:
            if self.executions.get(event.child.meta.id) is event.child:  # an event of its completion comes once
                self.end_child(event.child, event.outcome or Outcome())
            return
        read = self._under_way.take_read((event.id, event.n))
        if isinstance(read, Load):
            self.grant(read.key)
            return
        if event.id in self.failures.waiting:
            self.failures.log_late_result(event, read)
            return
        if execution is None or execution.attempt is None:
            return
        if event.error is not None:
            self._fail(execution, event.error)
            return
        assert event.outcome is not None
        attempt, id, n, outcome = execution.attempt, event.notification_id, event.n, event.outcome
        if id is None:
            if not expected(attempt, n):
                return
            entry: Entry = ResultDelivered(n, event.outcome)
            if n == CANCEL:
                attempt.delivered.add("x")  # which the commit that creates the record need not put
        else:
            id = earliest(id, execution.notifications, attempt)
            command = receiving_command(attempt, id)
            if command is None:
                return
            outcome = execution.notifications.get(id, outcome)
            n, entry = command, NotificationDelivered(command, id)
            attempt.delivered.add(id)
        self._log.record((JournalAppended(execution, entry),))
        attempt.deliver(n, outcome)
        if n == CANCEL:
            self._cancel_calls(attempt)
        elif attempt.operations[n].command.__class__ in REQUIRED:
            execution.required_requests -= 1
        self._check(execution)

    def _cancel_calls(self, attempt: Attempt) -> None:
        """Pass a cancellation on to the calls that are under way."""
        for call in attempt.to_cancel():
            child = self._log.uncommitted(call.id)
            if child is not None:
                child.cancelled = True
                self._events.post(Event(call.id, CANCEL, Outcome(failure=CANCELLED)))
            elif (cancellation := (call.id, attempt.cancellations_of(call))) not in self._passed_on:
                self._passed_on.add(cancellation)
                self.cancellations.append(cancellation)

    # --- executions end ---

    def retire(self, execution: Execution) -> None:
        """Stop an execution. The executions that it called continue, and notify its record."""
        self.executions.pop(execution.meta.id, None)
        self._process.active.pop(execution.meta.id, None)
        execution.stop()
        for other in self.executions.values():
            if other.caller is execution:
                other.caller = None
        self._under_way.drop(execution)

    def end_child(self, child: Execution, outcome: Outcome) -> None:
        """Complete a call that ran here, and deliver its result to its caller if that is here too."""
        self.retire(child)
        caller = child.caller
        if caller is None or caller.attempt is None:
            child.caller = None
            self._end(child, outcome)
            return
        assert child.meta.parent is not None
        n = child.meta.parent.command
        self._end(child, outcome, JournalAppended(caller, ResultDelivered(n, outcome)))
        caller.attempt.deliver(n, outcome)
        self._check(caller)

    def _check(self, execution: Execution) -> None:
        """End the execution if its attempt has ended."""
        attempt = execution.attempt
        if attempt is None or not attempt.ended:
            return
        if attempt.fault is None and not attempt.failed and (execution.required_requests or attempt.unawaited_steps()):
            return
        try:
            outcome = bounded(attempt.result(), f"the output of {execution.meta.target}")
        except BaseException as error:
            self._fail(execution, error)
            return
        if execution.caller is not None:
            self._events.append(Event(execution.caller.meta.id, ENDED, outcome, child=execution))
        else:
            self.retire(execution)
            self._end(execution, outcome)

    def _end(self, execution: Execution, outcome: Outcome, *more: JournalAppended) -> None:
        released: EffectGroup = (KeyReleased(execution),) if execution.exclusive else ()
        self._log.record((Completed(execution, outcome), *released, *more))
        if released:
            self.grant(self._log.keys[execution.key])

    def _fail(self, execution: Execution, error: BaseException) -> None:
        """End a failed attempt. Its effects stay, and a later attempt continues from there."""
        attempt = execution.attempt
        new = execution.notifications.keys() - attempt.known - attempt.delivered if attempt is not None else ()
        unseen = cancellations(new) > 0
        not_begun = self.failures.not_begun(execution)
        self.retire(execution)
        if isinstance(error, NotImmediate):
            self._log.take_back(execution)
            return
        execution.caller = None
        verdict = self.failures.judge(execution, error, unseen=unseen)
        if isinstance(verdict, Failure):
            self._end(execution, Outcome(failure=verdict))
        else:
            self.failures.log(execution, (*not_begun, *verdict))
