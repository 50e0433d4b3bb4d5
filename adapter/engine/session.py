"""A session: an invocation, and those that it calls in this process, driven together and committed together.

What handlers do becomes effects in the session's commit log, in order. An effect in the log that is not committed has
no consequence outside. After a conflict the session can therefore rewind: its handlers are replayed from what is
committed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, dropwhile
from typing import Any, Protocol

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.attempt import Attempt, Pending, PendingInvocation
from adapter.engine.blobs import blob_for
from adapter.engine.commit_log import INBOX_PAGE, CommitLog, Fenced, NewNotifications, Rewind
from adapter.engine.deadlocks import attached, awaited_ids, deadlock, ranges, report
from adapter.engine.execution import (
    AttemptFailed,
    Completed,
    Created,
    Execution,
    JournalAppended,
    KeyReleased,
    KeyRequested,
    StateWritten,
    Suspended,
)
from adapter.engine.ids import parse_awakeable
from adapter.engine.journal import (
    CANCEL,
    CommandIssued,
    Entry,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
    key_requests,
)
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.loop import HELP
from adapter.engine.notifier import Acknowledgement
from adapter.engine.outbound import acknowledged, command_commit_id
from adapter.engine.ports import Unavailable
from adapter.engine.records import (
    Awaits,
    Head,
    Meta,
    Notification,
    Parent,
    Ref,
    Status,
    Unreadable,
    cancellations,
)
from adapter.engine.runtime import Runtime
from adapter.engine.transaction import EffectGroup, Key
from adapter.engine.types import (
    CANCELLED,
    MAX_ERROR,
    MAX_PAYLOAD,
    Failure,
    Kind,
    ObjectKey,
    Outcome,
    RetryPolicy,
    Target,
    format_error,
    truncate,
)
from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.errors import NonDeterminismError, NotDeployedError, TerminalError

log = logging.getLogger("adapter")

FLUSH_AFTER = 50
"""Milliseconds that a handler may wait before its effects are committed, so that a crash does not lose them."""

BY_NOTIFICATION = -2
"""The command number of an event that a notification brings. The notification's id tells the command."""

READING_NOTIFICATIONS = -3
"""The command number under which a session reads notifications in the background."""

REQUIRED = frozenset({c.Cancel, c.Complete, c.SendSignal, c.CompletePromise})
"""The commands that are carried out even if the handler returns without awaiting them."""

IMMEDIATE = c.Now | c.GetState | c.SetState | c.ClearState | c.ClearAllState | c.StateKeys
"""The commands that need nothing but the key's state."""

RETRY_POLL = 500
"""Milliseconds after which a step that waits for its next try checks whether anything else still runs."""

MIN_BATCH_TIME = 2_000
"""Milliseconds that have to be left to run more invocations of a key's inbox in the same session."""

MAX_HOSTED = 1000
"""The most invocations that run in one session. Then a new one begins, so that a session's memory stays bounded."""

DEADLOCK_CHECK = 1000
"""Milliseconds after which a session that waits for calls checks whether they are part of a deadlock."""

MAX_NAMED = 20
"""The number of calls that a record lists by id as what it waits for. Of further calls with derived ids it lists the
numbers."""

REFRESH_EVERY = 3000
"""Milliseconds after which a session reads its records again, to learn of a cancellation or of another attempt."""

MAX_EFFECTS = 400
"""The number of groups in the log at which it is committed without another reason."""


@dataclass(frozen=True, slots=True)
class Event:
    """News for a handler: the result of command ``n``, or the reason why its attempt failed."""

    id: str
    n: int
    outcome: Outcome | None = None
    notification_id: str | None = None
    child: Execution | None = None
    error: BaseException | None = None


class Postponed(Exception):
    """A step failed, and its next try is later than the attempt waits for."""

    def __init__(self, retry: StepRetried, due: int, text: str, error: BaseException) -> None:
        super().__init__(text)
        self.retry = retry
        self.due = due
        self.error = error


class NotImmediate(Exception):
    """An invocation of the inbox does not complete at once. It therefore does not run in a session whose client
    waits."""


class Operator(Protocol):
    """Acts on other invocations in ways that need sessions of their own."""

    async def cancel(self, id: str, *, commit_id: str | None = None, nth: int | None = None) -> Acknowledgement:
        """Cancel an invocation (see `Control.cancel`)."""
        ...

    async def check_deadlock(self, start: Meta) -> bool:
        """Fail the youngest call of a cycle that the invocation leads to. Return True if there was a cycle."""
        ...


class Session:
    """A session.

    Args:
        runtime: What it shares with the other sessions of its process.
        operator: Acts on invocations that run elsewhere.
        root: The invocation that it begins with. One without a spec runs in another process and is only stored.
        hold_until: Until when a client waits, in milliseconds. Until then a blocked handler is not suspended.
        head: The head of the root's key, if the caller has just read it.
    """

    def __init__(
        self, runtime: Runtime, operator: Operator, root: Execution, *, hold_until: int = 0, head: Head | None = None
    ) -> None:
        self._runtime = runtime
        self._operator = operator
        self._process = runtime.process
        self._storage = runtime.storage
        self.root = root
        self.executions: dict[str, Execution] = {}
        self._hosted = {root.meta.id}
        """The ids of the invocations that run or ran here, and were not created here."""
        self.interrupted: list[Execution] = []
        """After another attempt took over: the executions that ran here, or whose completion was not stored."""
        self.commit_log = CommitLog(runtime, self, root.meta.id)
        self._hold_until = 0 if runtime.always_replay else hold_until
        self._max_effects = 0 if runtime.always_replay else MAX_EFFECTS
        self._ready: deque[Execution] = deque()
        self._events: deque[Event] = deque()
        self._signal = asyncio.Event()
        self._new_steps: list[tuple[Execution, int, c.Run]] = []
        self._outbound: list[tuple[Execution, int, c.OutboundRequest]] = []
        self._receiver_locks = defaultdict[tuple[str, str], asyncio.Lock](asyncio.Lock)
        """One lock for each sender and receiver, so that outbound requests are made in the order in which they were
        issued."""
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._steps: set[tuple[str, int]] = set()
        self._loading: set[ObjectKey] = set()
        self._batched: set[Ref] = set()
        """The invocations of an inbox that run here and have to complete at once."""
        self._reads: dict[tuple[str, int], Execution] = {}
        """State reads whose results are not in the log yet. Until then no write is committed that they must not see."""
        self._failing: dict[str, tuple[Execution, EffectGroup]] = {}
        """The attempts that failed while reads or steps were under way, with the effects to log when those have
        ended."""
        self._timers: dict[tuple[str, int], int] = {}
        self.woken: set[str] = set()
        self._refreshed_at = self._progress_at = self._process.now()
        self._cancelling: set[asyncio.Task[Any]] = set()
        """Cancellations on their way to calls. Nothing is committed before they have arrived, so that a crash repeats
        them."""
        self._broken: Exception | None = None
        """The error of a read that prevents the session from continuing."""
        if head is not None:
            self.commit_log.key(head.key).head = head

    # --- the life of a session ---

    async def run(self) -> None:
        """Drive the session until all its executions have completed, failed or been suspended.

        Raises:
            Fenced: If another attempt took over.
        """
        self._loop = asyncio.get_running_loop()
        try:
            self._open()
            while True:
                try:
                    if await self._advance_once():
                        return
                except Rewind:
                    self._rewind()
                except Fenced as fenced:
                    if not self._rewind_without(fenced):
                        raise
        except Fenced:
            self.interrupted = list(dict.fromkeys(self._involved()))
            self.commit_log.rewind()
            raise
        finally:
            for execution in (*self.executions.values(), *(execution for execution, _ in self._failing.values())):
                self._process.active.pop(execution.meta.id, None)
                execution.stop()
            for task in self._running.values():
                task.cancel()

    async def release(self) -> None:
        """Release the key of the root, which no longer exists."""
        self.commit_log.record((KeyReleased(self.root),))
        await self.commit_log.commit()

    def on_notification(self, notification: Notification) -> None:
        """Accept a notification that was committed."""
        execution = self.executions.get(notification.to.id)
        if execution is None or execution.ref != notification.to or notification.id in execution.notifications:
            return
        if len(execution.notifications) < notification.after:  # an earlier signal has not been read
            self._background((notification.to.id, READING_NOTIFICATIONS), self._refresh_record(execution))
        else:
            self._accept_notification(execution, notification)

    def expect_notifications(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""
        execution = self.executions.get(ref.id)
        if execution is not None and execution.ref == ref:
            execution.counted += count

    def _accept_notification(self, execution: Execution, notification: Notification) -> None:
        if notification.id not in execution.notifications:
            execution.notifications[notification.id] = notification.outcome
            self._post(Event(notification.to.id, BY_NOTIFICATION, notification.outcome, notification.id))

    def wake(self, id: str) -> None:
        """Read the store again soon. If the invocation is about to be suspended, resume it after that."""
        self.woken.add(id)
        self._refreshed_at = 0
        self._signal.set()

    def _open(self) -> None:
        root = self.root
        group: EffectGroup = ()
        if not root.stored:
            group = (Created(root), *(JournalAppended(root, entry) for entry in root.journal))
        if root.spec is not None:
            self.executions[root.meta.id] = root
            self._process.active[root.meta.id] = self
        if root.exclusive and root.meta.status is not Status.SCHEDULED:
            key = self.commit_log.key(root.key)
            if key.head is None or key.head.owner != root.ref:
                group = (*group, KeyRequested(root, self._process.moment()))
            self.commit_log.record(group)
            self._enter_key(root.key)
        else:
            self.commit_log.record(group)
            if root.spec is not None:
                self._start(root)

    def _rewind_without(self, fenced: Fenced) -> bool:
        """Drop the invocation that was taken over. Return True if others can continue, with their steps.

        The uncommitted effects of all are undone, as they may follow from what the dropped invocation did.
        """
        others = {
            execution.meta.id for execution in self._involved() if execution.ref != fenced.ref and execution.stored
        }
        if fenced.ref is None or not others:
            return False
        log.info("attempt dropped: %s", fenced, extra={"invocation_id": fenced.ref.id})
        if fenced.ref.id in self.woken:
            self.woken.discard(fenced.ref.id)
            self._runtime.wakeups.resume(fenced.ref.id)
        self._process.active.pop(fenced.ref.id, None)
        if fenced.ref == self.root.ref:
            self._hold_until = 0  # the client gets its answer from the store
        self._rewind(fenced.ref)
        return True

    def _rewind(self, dropped: Ref | None = None) -> None:
        """Return to what is committed, and replay from there. Steps continue, and keep their results."""
        for execution in (executions := {execution.meta.id: execution for execution in self._involved()}).values():
            execution.stop()
        self.commit_log.rewind()
        self._ready.clear()
        self._new_steps.clear()
        self._outbound.clear()
        self._timers.clear()
        self.executions = {
            id: execution
            for id, execution in executions.items()
            if execution.stored and execution.spec is not None and execution.meta.status is not Status.QUEUED
            if execution.ref != dropped
        }
        for execution in self.executions.values():
            if execution.caller is not None and execution.caller.ref == dropped:
                execution.caller = None
        for id in executions.keys() - self.executions.keys():
            self._process.active.pop(id, None)
        self._events.clear()  # the replay asks for all of it again; results of steps stay with their executions
        for name, task in list(self._running.items()):
            if name not in self._steps or name[0] not in self.executions:
                del self._running[name]
                self._steps.discard(name)
                task.cancel()
        self._loading.clear()
        self._reads.clear()
        self._failing.clear()
        if not self.root.stored or self.root.meta.id in self.executions:
            self._open()
        for id, execution in self.executions.items():
            if execution is not self.root:
                self._process.active[id] = self
                if execution.exclusive:
                    self._enter_key(execution.key)
                else:
                    self._start(execution)

    def _involved(self) -> Iterable[Execution]:
        """Return the executions that run, those whose failure is not logged yet, and all that the log names."""
        yield from self.commit_log.executions()
        for execution, _ in self._failing.values():
            yield execution

    async def _advance_once(self) -> bool:
        """Run the code, then commit, wait or suspend. Return True if the session is over."""
        if not self._loading and self._completed_from_inbox() >= INBOX_PAGE:
            await self.commit_log.commit()
        await self._run_code()
        if self._cancelling:
            cancelling, self._cancelling = self._cancelling, set()
            await asyncio.gather(*cancelling)
        if self._broken is not None:
            raise self._broken
        if self._process.now() - self._refreshed_at >= REFRESH_EVERY:
            await self._refresh_records()
        replay = self._runtime.always_replay and bool(self.commit_log.groups)
        if len(self.commit_log.groups) > MAX_EFFECTS and not self._reads:
            await self.commit_log.commit(keep_last=True)
        if self._loading or self._reads:
            await self._wait(None)
        elif self._new_steps or self._outbound or replay:
            await self.commit_log.commit(keep_steps=not replay)
            if replay and self.executions:
                raise Rewind
            self._begin_steps()
        elif not self.executions and not self._failing:
            await self.commit_log.commit()
            return True
        elif self._has_outcome():
            await self.commit_log.commit()
        elif self._running:
            keeps = self._progress_at + FLUSH_AFTER if self._ran_steps() else sys.maxsize
            if self.commit_log.has_work_for_others or self._process.now() >= keeps:
                await self.commit_log.commit(keep_steps=True)
                keeps = sys.maxsize
            await self._wait(min(self._next_timer() or sys.maxsize, self._refreshed_at + REFRESH_EVERY, keeps))
        else:
            await self._idle()
        return False

    def _ran_steps(self) -> bool:
        """Return True if the log holds the result of a step, which a crash would run again."""
        for effect in chain.from_iterable(self.commit_log.groups):
            match effect:
                case JournalAppended(Execution(attempt=None), ResultDelivered() | StateRead()):
                    return True
                case JournalAppended(Execution(attempt=Attempt() as attempt), ResultDelivered(n)) if (
                    n != CANCEL and isinstance(attempt.operations[n].command, c.Run)
                ):
                    return True
                case _:
                    pass
        return False

    def _completed_from_inbox(self) -> int:
        """Return how many invocations of an inbox have completed in the log."""
        effects = chain.from_iterable(self.commit_log.groups)
        return sum(isinstance(effect, Completed) and effect.execution.meta.ticket is not None for effect in effects)

    def _has_outcome(self) -> bool:
        """Return True if the log holds a failure, or an outcome that a caller waits for."""
        return any(
            isinstance(effect, AttemptFailed)
            or (
                isinstance(effect, Completed)
                and (effect.execution is self.root or effect.execution.meta.ticket is not None)
            )
            for group in self.commit_log.groups
            for effect in group
        )

    async def _idle(self) -> None:
        """Wait or suspend: all code is blocked, and nothing that runs here would unblock it."""
        if self._events or self._ready or self._broken is not None:
            return  # since the code ran, a step has ended, a head was read, or a read has failed
        now = self._process.now()
        timer = self._next_timer()
        waiting = [execution for execution in self.executions.values() if execution.attempt is not None]
        for execution in waiting:
            assert execution.attempt is not None
            if not execution.attempt.waits():
                self._fail(
                    execution,
                    NonDeterminismError(
                        f"the handler waits for something that no durable operation will ever complete; {HELP}"
                    ),
                )
                return
        if self._break_cycle():
            return
        stay = 0 if self._runtime.always_replay else self._process.remaining()
        if timer is not None and timer - now <= min(MAX_INLINE_WAIT, stay, self._inactivity()):
            if self.commit_log.has_work_for_others or timer - now > FLUSH_AFTER:
                await self.commit_log.commit()
            await self._wait(timer)
        elif now < self._holds_until() and stay > 0:
            await self.commit_log.commit()
            if self.executions:
                await self._poll(timer)
        else:
            self.woken.clear()  # the commit notices what arrived before this
            try:
                await self.commit_log.suspend([self._suspension_of(execution) for execution in waiting])
            except NewNotifications:
                pass  # the next turn delivers the notifications
            else:
                self._look_for_cycles(waiting)

    def _inactivity(self) -> int:
        """Return the shortest inactivity timeout of the executions, in milliseconds."""
        timeouts = [
            round(execution.spec.options.inactivity_timeout.total_seconds() * 1000)
            for execution in self.executions.values()
            if execution.spec is not None and execution.spec.options.inactivity_timeout is not None
        ]
        return min(timeouts, default=sys.maxsize)

    def _holds_until(self) -> int:
        """Return until when blocked attempts are not suspended, in milliseconds."""
        return min(self._hold_until, self._progress_at + self._inactivity())

    # --- running the code ---

    async def _run_code(self) -> None:
        """Run all code that can run, outside of any task: handlers have an event loop of their own."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def advance() -> None:
            try:
                if not done.done():
                    self._advance()
                    done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        if self._ready or self._events or self._due_timers():
            loop.call_soon(advance)
            await done
            self._progress_at = self._process.now()

    def _advance(self) -> None:
        start, until = len(self.commit_log.groups), self._process.now() + FLUSH_AFTER
        while len(self.commit_log.groups) - start <= self._max_effects and self._process.now() <= until:
            if self._ready:
                execution = self._ready.popleft()
                if execution.attempt is not None:
                    execution.attempt.run()
                    self._cancel_calls(execution.attempt)
                    self._check(execution)
            elif self._events:
                self._handle(self._events.popleft())
            else:
                due = self._due_timers()
                if not due:
                    return
                for id, n in due:
                    del self._timers[id, n]
                    self._events.append(Event(id, n, Outcome(None)))

    def _handle(self, event: Event) -> None:
        execution = self.executions.get(event.id)
        if event.child is not None:
            if self.executions.get(event.child.meta.id) is event.child:  # an event of its completion comes once
                self._end_child(event.child, event.outcome or Outcome())
            return
        reader = self._reads.pop((event.id, event.n), None)
        if event.id in self._failing:
            self._log_late_result(event, reader)
            return
        if execution is None or execution.attempt is None:
            return
        if event.error is not None:
            self._fail(execution, event.error)
            return
        assert event.outcome is not None
        attempt, id, n = execution.attempt, event.notification_id, event.n
        if id is None:
            if not self._expected(attempt, n):
                return
            entry: Entry = ResultDelivered(n, event.outcome)
            if n == CANCEL:
                attempt.delivered.add("x")  # which the commit that creates the record need not put
        else:
            command = self._receiving_command(attempt, id)
            if command is None:
                return
            n, entry = command, NotificationDelivered(command, id)
            attempt.delivered.add(id)
        self.commit_log.record((JournalAppended(execution, entry),))
        attempt.deliver(n, event.outcome)
        if n == CANCEL:
            self._cancel_calls(attempt)
        elif attempt.operations[n].command.__class__ in REQUIRED:
            execution.required_requests -= 1
        self._check(execution)

    @staticmethod
    def _expected(attempt: Attempt, n: int) -> bool:
        """Return True if command ``n`` was issued and has no result yet."""
        if n == CANCEL:
            return "x" not in attempt.delivered
        return n < len(attempt.operations) and attempt.operations[n].outcome is None

    @classmethod
    def _receiving_command(cls, attempt: Attempt, notification_id: str) -> int | None:
        """Return the command that a notification is for. Return ``None`` if it has its result, or is not issued yet."""
        if notification_id in attempt.delivered:
            return None
        if notification_id.startswith("x"):
            return CANCEL
        operations = attempt.operations
        if notification_id.startswith("s"):
            name = notification_id.split(":", 1)[1]
            waiting = (p.n for p in operations if p.command == c.Signal(name) and p.outcome is None)
            return next(waiting, None)
        n = int(notification_id[1:])
        awakeable = n >= len(operations) or isinstance(operations[n].command, c.Awakeable)
        if notification_id.startswith("w") and not awakeable:
            return None  # a sender that knows one awakeable's id can make up the ids of others
        return n if cls._expected(attempt, n) else None

    def _cancel_calls(self, attempt: Attempt) -> None:
        """Pass a cancellation on to the calls that are under way."""
        for call in attempt.to_cancel():
            child = self.commit_log.uncommitted(call.id)
            if child is not None:
                child.cancelled = True
                self._post(Event(call.id, CANCEL, Outcome(failure=CANCELLED)))
            else:
                passing_on = self._operator.cancel(call.id, nth=attempt.cancellations_of(call))
                self._cancelling.add(asyncio.ensure_future(passing_on, loop=self._loop))

    def _check(self, execution: Execution) -> None:
        """End the execution if its attempt has ended."""
        attempt = execution.attempt
        if attempt is None or not attempt.ended:
            return
        if attempt.fault is None and not attempt.failed and (execution.required_requests or attempt.unheeded_steps()):
            return
        try:
            outcome = _bounded(attempt.result(), f"the output of {execution.meta.target}")
        except BaseException as error:
            self._fail(execution, error)
            return
        if execution.caller is not None:
            self._events.append(Event(execution.caller.meta.id, -1, outcome, child=execution))
        else:
            self.retire(execution)
            self._end(execution, outcome)

    def _end_child(self, child: Execution, outcome: Outcome) -> None:
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

    def _end(self, execution: Execution, outcome: Outcome, *more: JournalAppended) -> None:
        exclusive = execution.exclusive
        released = (KeyReleased(execution),) if exclusive else ()
        self.commit_log.record((Completed(execution, outcome), *released, *more))
        if exclusive:
            self.grant(self.commit_log.keys[execution.key])

    def _fail(self, execution: Execution, error: BaseException) -> None:
        """End a failed attempt. Its effects stay, and a later attempt continues from there."""
        assert execution.spec is not None
        if isinstance(error, NotImmediate):
            self.retire(execution)
            self.commit_log.take_back(execution)
            return
        policy = execution.spec.options.retry
        progress = execution.progress or self.commit_log.advances(execution)
        failures = 1 if progress else execution.meta.failures + 1
        self.retire(execution)
        execution.caller = None
        cancelled = cancellations(execution.notifications)
        if isinstance(error, Postponed):
            self._report(execution.meta, 0, error.error, error.due)
            failed = AttemptFailed(execution, truncate(str(error), MAX_ERROR), 0, error.due, cancelled)
            self._log_failure(execution, (JournalAppended(execution, error.retry), failed))
            return
        text = truncate(format_error(error), MAX_ERROR)
        if policy.attempts is None or failures < policy.attempts:
            due: int | None = self._process.now() + round(policy.wait(error, failures) * 1000)
        else:
            due = None
        self._report(execution.meta, failures, error, due)
        if due is None and policy.exhausted == "kill":
            self._end(execution, Outcome(failure=Failure(500, f"gave up after {failures} attempts: {text}")))
            return
        self._log_failure(execution, (AttemptFailed(execution, text, failures, due, cancelled),))

    def _report(self, meta: Meta, failures: int, error: BaseException, due: int | None) -> None:
        policy = self._runtime.deployment.spec(meta).options.retry
        self._runtime.reports.attempt_failed(meta, policy, failures, error, due, self._process.now())

    def _log_failure(self, execution: Execution, failure: EffectGroup) -> None:
        """Log a failure after what is under way. Otherwise the next attempt would run the steps again, and its reads
        would see what this attempt wrote after it had asked."""
        id = execution.meta.id
        if execution in self._reads.values() or any(name[0] == id for name in self._steps):
            self._failing[id] = execution, failure
            self._process.active[id] = self
        else:
            self.commit_log.record(failure)

    def _log_late_result(self, event: Event, reader: Execution | None) -> None:
        """Log a result that arrived after its attempt failed. After the last of them, log the failure."""
        execution, failure = self._failing[event.id]
        if reader is None and event.n not in execution.step_results:
            return
        if event.outcome is not None:
            self.commit_log.record((JournalAppended(execution, StateRead(event.n, event.outcome)),))
        elif isinstance(event.error, Postponed):
            self.commit_log.record((JournalAppended(execution, event.error.retry),))
        del self._failing[event.id]
        self._process.active.pop(event.id, None)
        self._log_failure(execution, failure)

    # --- what the commit log reports (`commit_log.Driver`) ---

    def on_stored(self, execution: Execution) -> None:
        if execution.meta.id in self.executions:
            self._process.active[execution.meta.id] = self

    def has_unseen(self) -> bool:
        return bool(self._events)

    def on_queued(self, execution: Execution) -> None:
        self.retire(execution)
        if execution is self.root:
            self._runtime.gates.open(execution.key)

    def cancel(self, id: str) -> None:
        self._process.spawn(self._operator.cancel(id))

    def retire(self, execution: Execution) -> None:
        """Stop an execution. The executions that it called continue, and notify its record."""
        self.executions.pop(execution.meta.id, None)
        self._process.active.pop(execution.meta.id, None)
        execution.stop()
        for other in self.executions.values():
            if other.caller is execution:
                other.caller = None
        for key in [key for key in self._timers if key[0] == execution.meta.id]:
            del self._timers[key]
        self._new_steps = [step for step in self._new_steps if step[0] is not execution]
        self._outbound = [request for request in self._outbound if request[0] is not execution]

    def _start(self, execution: Execution) -> None:
        assert execution.spec is not None
        execution.required_requests = 0
        if execution.meta.epoch > 1:
            execution.moment, execution.requested_keys = key_requests(execution.journal)
        execution.attempt = Attempt(
            self,
            execution.spec,
            execution.meta,
            execution.input,
            execution.journal,
            execution.notifications,
            self._runtime.context.copy(),
        )
        self._ready.append(execution)
        if execution.cancelled:
            self._events.append(Event(execution.meta.id, CANCEL, Outcome(failure=CANCELLED)))
        for notification_id, outcome in execution.notifications.items():
            if notification_id not in execution.attempt.delivered:
                self._events.append(Event(execution.meta.id, BY_NOTIFICATION, outcome, notification_id))

    def _post(self, event: Event) -> None:
        self._events.append(event)
        self._signal.set()

    # --- commands (`attempt.Host`) ---

    def kind_of(self, target: Target) -> Kind:
        return self._runtime.deployment.kind_of(target)

    def difference(self, attempt: Attempt, pending: Pending[Any]) -> str | None:
        contents = self._runtime.contents
        return None if contents is None else contents.difference(attempt.meta.ref, pending.n, pending.command)

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        execution, n, command = self.executions[attempt.meta.id], pending.n, pending.command
        if self._runtime.contents is not None:
            self._runtime.contents.note(execution.ref, n, command)
        at: int | None = None
        value: Outcome | None = None
        more: EffectGroup = ()
        if execution.ref in self._batched and not isinstance(command, IMMEDIATE):
            raise NotImmediate
        match command:
            case _ if (refusal := _refusal(command)) is not None:
                value = Outcome(failure=refusal)
            case c.Now():
                value = Outcome(str(self._process.now()).encode())
            case c.Sleep(milliseconds):
                at = self._process.now() + milliseconds
                self._timers[execution.meta.id, n] = at
            case c.Run():
                self._request_step(execution, n, command)
            case c.GetState() | c.StateKeys():
                value = self._read_here(execution, command)
                if value is None:
                    self._read_elsewhere(execution, n, command)
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
                self._request(execution, n, command)
        pending.outcome = value
        self.commit_log.record((JournalAppended(execution, CommandIssued(n, *pending.described, at, value)), *more))

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        execution, n, command = self.executions[attempt.meta.id], pending.n, pending.command
        match command:
            case _ if n in attempt.read_results:
                self._post(Event(execution.meta.id, n, attempt.read_results[n]))
            case c.Run():
                self._request_step(execution, n, command)
            case c.Sleep():
                assert at is not None
                self._timers[execution.meta.id, n] = at
            case c.GetState() | c.StateKeys():
                self._read_elsewhere(execution, n, command)
            case c.Attach() | c.GetPromise() if f"a{n}" in execution.notifications:
                pass
            case c.Call() if f"c{n}" not in execution.notifications:
                assert isinstance(pending, PendingInvocation)
                if not _derived(pending):
                    self._outbound.append((execution, n, c.Attach(pending.id)))
            case c.Call() | c.Send() | c.Awakeable() | c.Signal():
                pass
            case c.Now() | c.SetState() | c.ClearState() | c.ClearAllState():
                pass
            case _:
                self._request(execution, n, command)

    def _request(self, execution: Execution, n: int, command: c.OutboundRequest) -> None:
        self._outbound.append((execution, n, command))
        if command.__class__ in REQUIRED:
            execution.required_requests += 1

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
            failure = _oversize(f"the input for {target}", command.input)
        known = (self.commit_log.existing, self.commit_log.created, self._hosted)
        there = any(pending.id in ids for ids in known)
        if failure is None and call and there and pending.kind is Kind.WORKFLOW:
            failure = Failure(409, f"workflow {target.object} ran already, or is running: attach to {pending.id}")
        if failure is not None:
            pending.outcome = Outcome(failure=failure)
            self.commit_log.record(
                (JournalAppended(execution, CommandIssued(n, *pending.described, value=pending.outcome)),)
            )
            return
        if there:
            self.commit_log.record((JournalAppended(execution, CommandIssued(n, *pending.described)),))
            if call:
                self._outbound.append((execution, n, c.Attach(pending.id)))
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
            headers=command.headers,
            input=command.input,
            idempotent=command.idempotency_key is not None,
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
        self.commit_log.record((Created(child), *requested, JournalAppended(execution, issued)))
        if spec is None:
            return
        self.executions[child.meta.id] = child
        if requests_key:
            self._enter_key(child.key)
        else:
            self._start(child)

    # --- keys and state ---

    def _enter_key(self, at: ObjectKey) -> None:
        """Start an execution that requested this key, if it now owns the key."""
        key = self.commit_log.key(at)
        if key.head is not None:
            self.commit_log.refresh_key(key)
            self.grant(key)
        elif at not in self._loading:
            self._loading.add(at)
            self._background((str(at), -1), self._load(key))

    async def _load(self, key: Key) -> None:
        heads = await self._storage.heads([key.key])
        key.head = key.head or heads[key.key]
        self._loading.discard(key.key)
        self.commit_log.refresh_key(key)
        self.grant(key)

    def grant(self, key: Key) -> None:
        """Start the key's owner if it is to run here and does not run yet."""
        if key.live is None or key.head is None or key.live.owner is None:
            return
        if key.live.owner == UNKNOWN and self._can_batch():
            if key.key not in self._loading:
                self._loading.add(key.key)
                self._background((str(key.key), -1), self._load_next(key))
            return
        execution = self.executions.get(key.live.owner.id) or self._start_next(key, key.live.owner)
        if execution is None or execution.ref != key.live.owner or execution.attempt is not None:
            return
        if key.head.owner != execution.ref:
            key.ran_uncommitted = True
        self._start(execution)
        self._signal.set()

    # --- the next invocations of a key's inbox ---

    def _can_batch(self) -> bool:
        """Return True if further invocations of an inbox may run here after the key's owner."""
        if self._runtime.always_replay or self._process.remaining() < MIN_BATCH_TIME or len(self._hosted) > MAX_HOSTED:
            return False
        return not self._client_waits() or self.root.meta.live

    def _client_waits(self) -> bool:
        """Return True if a client gets its answer only when all executions here have ended, as in a Lambda function."""
        return self._process.deadline is not None and self._hold_until > 0

    async def _load_next(self, key: Key) -> None:
        """Read the first invocations of a key's inbox, and run those that can run here."""
        await self.commit_log.read_front(key)
        owner = key.live.owner if key.live is not None else None
        front = list(dropwhile(lambda entry: entry.ref != owner, key.front or ()))[:INBOX_PAGE]
        records: dict[str, Meta] = {}
        with suppress(Unreadable):  # the owner completes all the same: each of them is then read on its own
            records = await self._storage.peek_all([entry.ref.id for entry in front]) if front else {}
        key.next.clear()
        for entry in front:
            meta = records.get(entry.ref.id)
            execution = self._next_execution(meta) if meta is not None and meta.ref == entry.ref else None
            if execution is None or execution.meta.ticket != entry.ticket:
                break
            key.next[entry.ref] = execution
        self._loading.discard(key.key)
        self.grant(key)

    def _next_execution(self, meta: Meta) -> Execution | None:
        """Return a waiting invocation if it can run here: it is of this deployment, and has no notifications."""
        spec = self._runtime.deployment.handler(meta.target)
        untouched = meta.status is Status.QUEUED and meta.outcome is None and meta.epoch <= 1 and not meta.segments
        # A message runs on the current deployment. An attempt that resumes may run on a former one.
        current = not meta.deployment and self.root.meta.epoch <= 1
        here = spec is not None and (current or meta.deployment == self._runtime.deployment.id)
        if not untouched or not here or meta.notifications or meta.input is None or meta.id in self.executions:
            return None
        return Execution(meta, meta.input, spec, stored=True)

    def _start_next(self, key: Key, owner: Ref) -> Execution | None:
        """Begin to run the next invocation of the inbox, if it was read and there is time."""
        execution = key.next.pop(owner, None) if self._can_batch() else None
        assert key.head is not None
        if execution is None or owner.id in self._process.active or key.head.owner == owner:  # already handed over
            return None
        execution.meta = replace(execution.meta, deployment=self._runtime.deployment.id)
        self.executions[owner.id] = execution
        self._hosted.add(owner.id)
        self._process.active[owner.id] = self
        self.commit_log.grant_here(execution)
        if self._client_waits():
            self._batched.add(owner)
        return execution

    def _read_here(self, execution: Execution, command: c.GetState | c.StateKeys) -> Outcome | None:
        """Return the result of a state read if all that it needs is known here."""
        if execution.meta.target.key is None:
            return Outcome(failure=Failure(500, f"{execution.meta.target} has no state"))
        state = execution.snapshot or self._known_state(execution)
        return None if state is None else _answer(state, command)

    def _known_state(self, execution: Execution) -> KeyState | None:
        """Return the state of the execution's key. Return ``None`` if a later state was read, or others may have
        written since."""
        key = self.commit_log.keys.get(execution.key)
        if key is None or key.head is None or key.head.version < execution.version:
            return None
        ours = key.ran_uncommitted or any(each.ref == key.head.owner for each in self.commit_log.executions())
        return key.live if ours or execution.exclusive else None

    def _read_elsewhere(self, execution: Execution, n: int, command: c.GetState | c.StateKeys) -> None:
        live = self._known_state(execution)
        state = live.snapshot() if live is not None else None
        self._reads[execution.meta.id, n] = execution
        self._background((execution.meta.id, n), self._read(execution, n, command, state))

    async def _read(
        self, execution: Execution, n: int, command: c.GetState | c.StateKeys, state: KeyState | None
    ) -> None:
        """Read state from the store: the overflow entries, or, for a shared handler, all of it."""
        shared = state is None
        if state is None:
            head = (await self._storage.heads([execution.key]))[execution.key]
            execution.version, state = head.version, KeyState(head, self._process.now())
        generation = state.state_generation
        if execution.spec is not None and not execution.spec.options.lazy_state:
            if state.has_overflow and state.overflow is None:
                state.overflow = await self._storage.entries(execution.key, generation, values=True)
            if shared:
                execution.snapshot = state
            else:
                self._keep_overflow(self.commit_log.keys[execution.key], state)
        outcome = _answer(state, command)
        if outcome is None and isinstance(command, c.GetState):
            outcome = Outcome(await self._runtime.blobs.read(execution.key, generation, command.name))
        elif outcome is None:
            overflow = (await self._storage.entries(execution.key, generation)).keys() - state.writes.keys()
            outcome = _names({*overflow, *state.state, *state.entries()})
        self._post(Event(execution.meta.id, n, outcome))

    def _keep_overflow(self, key: Key, state: KeyState) -> None:
        """Keep the overflow entries that were read, if they belong to the stored state."""
        if key.overflow is None and key.head is not None and key.head.state_generation == state.state_generation:
            key.overflow, key.live = state.overflow, None
            self.commit_log.refresh_key(key)

    # --- what runs in the background: steps, reads ---

    def _background(
        self, name: tuple[str, int], work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> None:
        async def run() -> None:
            try:
                await work
            except BaseException as error:
                if self._running.get(name) is task:  # else the session has dropped the task
                    self._broken = error if isinstance(error, Exception) else RuntimeError(format_error(error))
                if not isinstance(error, Exception):
                    raise
            finally:
                if self._running.get(name) is task:
                    del self._running[name]
                    self._steps.discard(name)
                self._signal.set()

        # Not `asyncio.create_task`: a handler's command may lead here, and the handler has an event loop of its own.
        self._running[name] = task = self._loop.create_task(run(), context=context)
        task.add_done_callback(
            lambda _: work.close()
        )  # a coroutine whose task is cancelled before it begins would never be awaited

    def _request_step(self, execution: Execution, n: int, command: c.Run) -> None:
        """Start a step after the next commit, unless it was started before a rewind."""
        if n in execution.step_results:
            self._post_step(execution, n)
        elif (execution.meta.id, n) not in self._running:
            self._new_steps.append((execution, n, command))

    def _post_step(self, execution: Execution, n: int) -> None:
        """Post the result of a step, or the error that it raised."""
        result = execution.step_results[n]
        event = Event(execution.meta.id, n)
        self._post(replace(event, outcome=result) if isinstance(result, Outcome) else replace(event, error=result))

    def _begin_steps(self) -> None:
        """Start the steps and outbound requests that had to wait for a commit."""
        new_steps, self._new_steps = self._new_steps, []
        for execution, n, command in new_steps:
            assert execution.attempt is not None
            self._steps.add((execution.meta.id, n))
            abort = execution.attempt.spec.options.abort_timeout
            retry = execution.attempt.retries.get(n) or StepRetried(n, 0, self._process.now())
            self._background((execution.meta.id, n), self._step(execution, command, abort, retry), command.context)
        requests, self._outbound = self._outbound, []
        for execution, n, request in requests:
            self._background((execution.meta.id, n), self._perform(execution, n, request))

    async def _step(self, execution: Execution, command: c.Run, abort: timedelta | None, retry: StepRetried) -> None:
        execution.step_results[retry.n] = await self._result(execution.meta.id, command, abort, retry)
        self._post_step(execution, retry.n)

    async def _result(
        self, id: str, command: c.Run, abort: timedelta | None, retry: StepRetried
    ) -> Outcome | BaseException:
        """Run a step by its retry policy. Return its result, or the error that ends the attempt."""
        n, tries, began = retry.n, retry.tries, retry.began
        task = asyncio.current_task()
        while True:
            tries += 1
            try:
                self._process.steps += 1
                try:
                    result = await self._limited(command, abort)
                    outcome = _bounded(Outcome(result), f"the result of step {command.name!r}")
                finally:
                    self._process.steps -= 1
            except TerminalError as error:
                outcome = Outcome(failure=Failure.of(error))
            except BaseException as error:
                if self._dropped(error, task):
                    raise
                policy: RetryPolicy | None = command.retry
                if policy is None:
                    return error
                wait = policy.wait(error, tries)
                lasted = timedelta(milliseconds=self._process.now() - began, seconds=wait)
                last = policy.attempts is not None and tries >= policy.attempts
                text = f"step {command.name!r} failed {tries} times: {format_error(error)}"
                if not last and (policy.duration is None or lasted <= policy.duration):
                    due = self._process.now() + round(wait * 1000)
                    self._report_step(id, command.name, tries, policy, error, due)
                    if await self._await_retry(id, due):
                        continue
                    return Postponed(StepRetried(n, tries, began), due, text, error)
                self._report_step(id, command.name, tries, policy, error, None)
                outcome = Outcome(failure=Failure(500, truncate(text, MAX_ERROR)))
            return outcome

    def _report_step(
        self, id: str, name: str, tries: int, policy: RetryPolicy, error: BaseException, due: int | None
    ) -> None:
        execution = self.executions.get(id)
        if execution is not None:
            self._runtime.reports.step_failed(execution.meta, name, policy, tries, error, due, self._process.now())

    def _dropped(self, error: BaseException, task: asyncio.Task[Any] | None) -> bool:
        """Return True if a step was stopped from outside; otherwise the step itself raised the error."""
        if isinstance(error, asyncio.CancelledError):
            return task is not None and bool(task.cancelling())
        return isinstance(error, GeneratorExit) and asyncio.current_task(self._loop) is not task

    async def _await_retry(self, id: str, due: int) -> bool:
        """Wait for a step's next try. Return False if the attempt should not wait so long: no client waits and nothing
        else runs."""
        patience = 0 if self._runtime.always_replay else MAX_INLINE_WAIT
        while (left := due - (now := self._process.now())) > 0:
            stay, alone = self._process.remaining(), len(self._running) == 1 and now >= self._holds_until()
            if stay <= 0 or (alone and left > patience) or id in self._failing:
                return False
            await self._process.clock.sleep(min(left, stay, RETRY_POLL) / 1000)
        return True

    async def _limited(self, command: c.Run, abort: timedelta | None) -> bytes:
        """Run a step's closure for at most a given time."""
        if abort is None:
            return await command.closure()

        async def run() -> bytes | BaseException:
            try:
                return await command.closure()
            except (SystemExit, KeyboardInterrupt) as error:  # a task that raises either would end the process
                return error

        task = asyncio.ensure_future(run())
        try:
            await self._process.first(task, self._process.now() + round(abort.total_seconds() * 1000))
            if not task.done():
                raise TimeoutError(f"step {command.name!r} took longer than its abort_timeout, {abort}")
            result = task.result()
        finally:
            task.cancel()
        if isinstance(result, BaseException):
            raise result
        return result

    async def _perform(self, execution: Execution, n: int, request: c.OutboundRequest) -> None:
        async with self._receiver_locks[execution.meta.id, _receiver(request)]:
            match request:
                case c.Cancel(id):
                    commit_id = command_commit_id(execution.ref, n)
                    outcome: Outcome | None = acknowledged(await self._operator.cancel(id, commit_id=commit_id))
                case _:
                    outcome = await self._runtime.outbound.perform(execution, n, request)
        if outcome is not None:
            self._post(Event(execution.meta.id, n, outcome))

    # --- waiting ---

    def _next_timer(self) -> int | None:
        timers = [
            at
            for (id, n), at in self._timers.items()
            if (execution := self.executions.get(id)) and execution.attempt and n < len(execution.attempt.operations)
            and execution.attempt.operations[n].awaited
        ]  # fmt: skip
        return min(timers, default=None)

    def _due_timers(self) -> list[tuple[str, int]]:
        if not self._timers:
            return []
        now = self._process.now()
        return sorted((key for key, at in self._timers.items() if at <= now), key=lambda key: (self._timers[key], key))

    async def _wait(self, until: int | None) -> None:
        """Wait until something happened, or a time has come."""
        if self._events or self._ready:
            return
        await self._process.wait(self._signal, until)
        self._signal.clear()

    async def _poll(self, timer: int | None) -> None:
        """Wait for notifications while a client waits. This process delivers them, or finds them in the store."""
        remote = any(
            (execution.meta.id, pending.n) not in self._timers
            for execution in self.executions.values()
            if execution.attempt is not None
            for pending in execution.attempt.waits()
        )
        interval = self._runtime.poll if remote else REFRESH_EVERY
        began = self._process.now()
        check = began + DEADLOCK_CHECK
        while not self._events and not self._ready and not self.woken:
            now = self._process.now()
            limit = min(self._holds_until(), now + self._process.remaining(), timer or sys.maxsize)
            if now >= limit:
                return
            woken = await self._process.wait(self._signal, min(limit, now + interval))
            self._signal.clear()
            if woken:
                return
            interval = min(interval * 2, 1000)
            await self._refresh_records()
            if remote and self._process.now() >= check and not self._events:
                await self._check_deadlocks()
                check += check - began
        self.woken.clear()
        await self._refresh_records()

    async def _refresh_records(self) -> None:
        """Read the records of the executions again: notifications may have arrived, or another attempt may have begun.

        Raises:
            Fenced: If an attempt here is no longer the latest.
        """
        self._refreshed_at = self._process.now()
        executions = [
            execution for execution in self.executions.values() if execution.stored and execution.attempt is not None
        ]
        for start in range(0, len(executions), 16):
            some = executions[start : start + 16]
            try:
                metas = await asyncio.gather(*(self._storage.find(execution.meta.id) for execution in some))
            except Unavailable:
                return  # nothing depends on this: the next time is soon
            for execution, meta in zip(some, metas, strict=True):
                if meta is None or meta.ref != execution.ref or not meta.live or meta.epoch != execution.meta.epoch:
                    raise Fenced(f"{execution.meta.id} was taken over", execution.ref)
                if meta.notifications > execution.counted:
                    execution.meta = replace(execution.meta, notifications=meta.notifications)
                    await self.read_notifications(execution)

    async def _refresh_record(self, execution: Execution) -> None:
        """Read the record, then the notifications, and accept those."""
        meta = await self._storage.find(execution.meta.id)
        if meta is not None and meta.ref == execution.ref:
            execution.meta = replace(execution.meta, notifications=meta.notifications)
            await self.read_notifications(execution)

    async def read_notifications(self, execution: Execution) -> None:
        """Read the notifications to an invocation, and accept them. Its record was read before."""
        counted = execution.meta.notifications
        for notification in await self._storage.notifications(execution.ref):
            self._accept_notification(execution, notification)
        execution.counted = max(execution.counted, counted)

    def _suspension_of(self, execution: Execution) -> Suspended:
        """Return the suspension of a blocked attempt: what it waits for."""
        assert execution.attempt is not None
        waits = execution.attempt.waits()
        groups: dict[int, int] = {}
        for pending in waits:
            group = pending.wait_group if pending.wait_group is not None and len(pending.waiters) == 1 else pending
            groups[id(group)] = groups.get(id(group), 0) + 1
        due = min((at for p in waits if (at := self._timers.get((execution.meta.id, p.n))) is not None), default=None)
        awaited = [(other, pending.n) for pending in waits if (other := _awaited(pending)) is not None]
        all = len(groups) == 1
        awaits: Awaits | None = None
        if awaited and (all or len(awaited) == len(waits)):
            calls = dict.fromkeys([pending.n for pending in waits if _derived(pending)][MAX_NAMED:])
            ids, commands = zip(*((other, n) for other, n in awaited if n not in calls), strict=True)
            awaits = Awaits(execution.counted, all, ids, commands, ranges(calls))
        return Suspended(execution, min(groups.values()), due, awaits, self._check_at(execution, waits))

    def _check_at(self, execution: Execution, waits: Sequence[Pending[Any]]) -> int | None:
        """Return when the sweeper checks an invocation that waits for these operations."""
        times, kinds = self._process.times(), {type(pending.command) for pending in waits}
        if kinds == {c.Sleep}:
            return None
        # A queued invocation has a check of its own. Nothing else checks a cycle of attached results.
        lease = times.grace if c.Attach in kinds else execution.meta.due or times.lease
        return lease if lease > times.now else times.grace

    def _look_for_cycles(self, suspended: Iterable[Execution]) -> None:
        """Check each suspended execution for a cycle. The last to suspend has to look: after that nothing in the cycle
        moves."""
        for execution in suspended:
            awaits, free = execution.meta.awaits, self.commit_log.created - self.commit_log.queued
            if awaits is not None and not free.issuperset(awaited_ids(execution.ref, awaits)):
                self._process.spawn(self._operator.check_deadlock(execution.meta))

    async def _check_deadlocks(self) -> None:
        """Store what the executions wait for, and check whether they are part of a deadlock."""
        for execution in list(self.executions.values()):
            if execution.attempt is None or not execution.stored:
                continue
            awaits = self._suspension_of(execution).awaits
            if awaits is not None and awaits != execution.meta.awaits:
                waiting, change = lifecycle.awaiting(execution.meta, awaits)
                if not await self._storage.apply(change):
                    raise Fenced(f"{execution.meta.id} was taken over", execution.ref)
                execution.meta = waiting
            if awaits is not None:
                await self._operator.check_deadlock(execution.meta)

    def _break_cycle(self) -> bool:
        """Fail the youngest call of a cycle of executions in this session that wait for each other."""
        for execution in self.executions.values():
            cycle: list[Execution] = []
            at: Execution | None = execution
            while at is not None and at not in cycle:
                cycle.append(at)
                at = self._blocker(at)
            if at is not None and self._break(cycle[cycle.index(at) :]):
                return True
        return False

    def _break(self, cycle: list[Execution]) -> bool:
        failure = deadlock([execution.meta for execution in cycle])
        queued = [execution for execution in cycle if execution.attempt is None]
        if not queued:  # they wait for attached results
            awaits = [self._suspension_of(execution).awaits for execution in cycle]
            id, command = attached([execution.meta for execution in cycle], awaits)
            self._post(Event(id, command, Outcome(failure=failure)))
            return True
        youngest = max(queued, key=lambda m: (m.meta.created, m.meta.parent.command if m.meta.parent else 0))
        if youngest.spec is not None and youngest.spec.options.deadlocks == "report":
            report(youngest.meta, failure)
            return False
        self._end_child(youngest, Outcome(failure=failure))
        return True

    def _blocker(self, execution: Execution) -> Execution | None:
        """Return the execution in this session that has to continue first, if there is exactly one."""
        if execution.attempt is None:
            key = self.commit_log.keys.get(execution.key)
            owner = key.live.owner if key is not None and key.live is not None else None
            found = self.executions.get(owner.id) if owner is not None else None
            return found if found is not execution else None
        awaits = self._suspension_of(execution).awaits if execution.attempt.waits() else None
        if awaits is None or (len(awaits.ids) > 1 and not awaits.all):
            return None
        here = [child for id in awaited_ids(execution.ref, awaits) if (child := self.executions.get(id)) is not None]
        return next((child for child in here if child.attempt is None), here[0] if here else None)


def _awaited(pending: Pending[Any]) -> str | None:
    """Return the id of the invocation whose result the operation waits for, if it waits for one."""
    if isinstance(pending, PendingInvocation) and pending.called:
        return pending.id
    return pending.command.id if isinstance(pending.command, c.Attach) else None


def _receiver(request: c.OutboundRequest) -> str:
    """Return the receiver of an outbound request. An awakeable's result is for the invocation that waits for it."""
    if isinstance(request, c.GetPromise | c.PeekPromise | c.CompletePromise):
        return request.name
    awakeable = parse_awakeable(request.id)
    return awakeable[0].id if awakeable is not None else request.id


def _derived(pending: Pending[Any]) -> bool:
    """Return True if the operation is a call whose id derives from the command's number."""
    if not isinstance(pending, PendingInvocation) or not isinstance(pending.command, c.Call):
        return False
    shared = pending.kind is Kind.WORKFLOW or pending.command.idempotency_key is not None
    meta = pending.attempt.meta
    return not shared and meta.issuer(pending.n) == meta.ref


def _refusal(command: c.Command) -> Failure | None:
    """Return why a command is refused: its value is too large."""
    match command:
        case c.SetState(name, data):
            return _oversize(f"state entry {name!r}", data)
        case c.SendSignal(_, name, outcome):
            return _oversize(f"signal {name!r}", outcome.value)
        case c.Complete(id, outcome):
            return _oversize(f"the result of awakeable {id}", outcome.value)
        case c.CompletePromise(name, outcome):
            return _oversize(f"the result of promise {name!r}", outcome.value)
        case _:
            return None


def _oversize(what: str, data: bytes | None) -> Failure | None:
    size = len(data or b"")
    return Failure(413, f"{what} has {size} bytes; the most is {MAX_PAYLOAD}") if size > MAX_PAYLOAD else None


def _bounded(outcome: Outcome, what: str) -> Outcome:
    failure = _oversize(what, outcome.value)
    return outcome if failure is None else Outcome(failure=failure)


def _answer(state: KeyState, command: c.GetState | c.StateKeys) -> Outcome | None:
    """Return the result of a state read, if it is known."""
    if isinstance(command, c.GetState):
        return state.read(command.name)
    names = state.names()
    return None if names is None else _names(names)


def _names(names: Iterable[str]) -> Outcome:
    return Outcome(json.dumps(sorted(names)).encode())
