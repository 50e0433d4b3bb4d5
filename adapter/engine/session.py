"""A session: an invocation, and those that it calls in this process, driven together and committed together.

What handlers do becomes effects in the session's commit log, in order. An effect in the log that is not committed has
no consequence outside. After a conflict the session can therefore rewind: its handlers are replayed from what is
committed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from adapter.engine import commands as c
from adapter.engine import suspensions
from adapter.engine.attempt import Attempt
from adapter.engine.batches import Batches
from adapter.engine.commit_log import CommitLog
from adapter.engine.committer import Committer
from adapter.engine.conflicts import REWIND, Drop, End, Interrupted, Notified, Retry, Rewind
from adapter.engine.cycles import Cycles
from adapter.engine.decide import (
    FLUSH_AFTER,
    REFRESH_EVERY,
    Action,
    Commit,
    Finish,
    Hold,
    Reason,
    Suspend,
    View,
    Wait,
    decide,
)
from adapter.engine.events import BY_NOTIFICATION, ENDED, Event, NotImmediate
from adapter.engine.execution import (
    AttemptFailed,
    Completed,
    Created,
    EffectGroup,
    Execution,
    JournalAppended,
    KeyReleased,
    KeyRequested,
    Suspended,
)
from adapter.engine.failures import Failures
from adapter.engine.issuing import Issuing
from adapter.engine.journal import CANCEL, Entry, NotificationDelivered, ResultDelivered, StateRead, key_requests
from adapter.engine.keys import UNKNOWN
from adapter.engine.known_key import Key
from adapter.engine.limits import bounded
from adapter.engine.loop import HELP
from adapter.engine.notifications import Notifications, expected, receiving_command
from adapter.engine.operator import Operator
from adapter.engine.preparation import INBOX_PAGE, Preparation
from adapter.engine.records import Head, Notification, Ref, Status
from adapter.engine.runtime import Runtime
from adapter.engine.state_reads import StateReads
from adapter.engine.types import CANCELLED, Failure, ObjectKey, Outcome
from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.engine.work import REQUIRED, Work
from adapter.errors import NonDeterminismError

log = logging.getLogger("adapter")

READING_NOTIFICATIONS = -3
"""The command number under which a session reads notifications in the background."""

LOADING = -1
"""The number under which a key's head or inbox is read in the background."""

DEADLOCK_CHECK = 1000
"""Milliseconds after which a session that waits for calls checks whether they are part of a deadlock."""

MAX_EFFECTS = 400
"""The number of groups in the log at which it is committed without another reason."""


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
        self.hosted = {root.meta.id}
        """The ids of the invocations that run or ran here, and were not created here."""
        self.interrupted: list[Execution] = []
        """After another attempt took over: the executions that ran here, or whose completion was not stored."""
        self.commit_log = CommitLog(self._process, self.executions)
        preparation = Preparation(runtime, self.commit_log)
        self._committer = Committer(runtime, self, self.commit_log, preparation, root.meta.id)
        self._hold_until = 0 if runtime.always_replay else hold_until
        self._max_effects = 0 if runtime.always_replay else MAX_EFFECTS
        self._ready: deque[Execution] = deque()
        self._events: deque[Event] = deque()
        self._signal = asyncio.Event()
        self._loading: set[ObjectKey] = set()
        """The keys whose heads or inboxes are being read."""
        self.batched: set[Ref] = set()
        """The invocations of an inbox that run here and have to complete at once."""
        self.woken: set[str] = set()
        self._progress_at = self._process.now()
        self._cancelling: set[asyncio.Task[Any]] = set()
        """Cancellations on their way to calls. Nothing is committed before they have arrived, so that a crash repeats
        them."""
        self._notifications = Notifications(runtime, self.executions, self.post)
        reads = StateReads(runtime, self.commit_log)
        self._work = Work(runtime, operator, reads, self.executions, self.post, self._signal.set, self._waits_for_retry)
        self._issuing = Issuing(runtime, self.commit_log, self._work, reads, self)
        self._failures = Failures(runtime, self.commit_log, self._work, self)
        self._batches = Batches(runtime, preparation, root, self.executions)
        self._cycles = Cycles(runtime, operator, self.commit_log, self.executions, self._suspension_of)
        if head is not None:
            self.commit_log.key(head.key).head = head

    # --- the life of a session ---

    async def run(self) -> End | None:
        """Drive the session until all its executions have completed, failed or been suspended.

        Return why it ended before that: another attempt took over, or its first invocation existed already.
        """
        self._loop = asyncio.get_running_loop()
        try:
            self._open()
            while True:
                try:
                    if await self._advance_once():
                        return None
                except Interrupted as interrupted:
                    match interrupted.verdict:
                        case Rewind():
                            self._rewind()
                        case Drop() as dropped if self._rewind_without(dropped):
                            pass
                        case Notified() | Retry():
                            pass  # the next turn delivers the notifications
                        case end:
                            self.interrupted = list(dict.fromkeys(self._involved()))
                            self.commit_log.rewind()
                            return end
        finally:
            for execution in (*self.executions.values(), *(each for each, _ in self._failures.waiting.values())):
                self._process.active.pop(execution.meta.id, None)
                execution.stop()
            self._work.close()

    async def release(self) -> None:
        """Release the key of the root, which no longer exists."""
        self.commit_log.record((KeyReleased(self.root),))
        with suppress(Interrupted):  # another process has released it
            await self._committer.commit()

    def on_notification(self, notification: Notification) -> None:
        """Accept a notification that was committed."""
        execution = self._notifications.accept(notification)
        if execution is not None:
            reading = self._notifications.read_record(execution)
            self._work.background((notification.to.id, READING_NOTIFICATIONS), reading)

    def expect_notifications(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""
        self._notifications.expect(ref, count)

    def wake(self, id: str) -> None:
        """Read the store again soon. If the invocation is about to be suspended, resume it after that."""
        self.woken.add(id)
        self._notifications.refreshed_at = 0
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
            self.enter_key(root.key)
        else:
            self.commit_log.record(group)
            if root.spec is not None:
                self.start(root)

    def _rewind_without(self, dropped: Drop) -> bool:
        """Drop the invocation that was taken over. Return True if others can continue, with their steps.

        The uncommitted effects of all are undone, as they may follow from what the dropped invocation did.
        """
        others = {
            execution.meta.id for execution in self._involved() if execution.ref != dropped.ref and execution.stored
        }
        if not others:
            return False
        log.info("attempt dropped: %s", dropped.reason, extra={"invocation_id": dropped.ref.id})
        if dropped.ref.id in self.woken:
            self.woken.discard(dropped.ref.id)
            self._runtime.wakeups.resume(dropped.ref.id)
        self._process.active.pop(dropped.ref.id, None)
        if dropped.ref == self.root.ref:
            self._hold_until = 0  # the client gets its answer from the store
        self._rewind(dropped.ref)
        return True

    def _rewind(self, dropped: Ref | None = None) -> None:
        """Return to what is committed, and replay from there. Steps continue, and keep their results."""
        for execution in (executions := {execution.meta.id: execution for execution in self._involved()}).values():
            execution.stop()
        self.commit_log.rewind()
        self._ready.clear()
        kept = {
            id: execution
            for id, execution in executions.items()
            if execution.stored and execution.spec is not None and execution.meta.status is not Status.QUEUED
            if execution.ref != dropped
        }
        self.executions.clear()
        self.executions.update(kept)
        for execution in self.executions.values():
            if execution.caller is not None and execution.caller.ref == dropped:
                execution.caller = None
        for id in executions.keys() - self.executions.keys():
            self._process.active.pop(id, None)
        self._events.clear()  # the replay asks for all of it again; results of steps stay with their executions
        self._work.rewind()
        self._loading.clear()
        self._failures.waiting.clear()
        if not self.root.stored or self.root.meta.id in self.executions:
            self._open()
        for id, execution in kept.items():
            if execution is not self.root:
                self._process.active[id] = self
                if execution.exclusive:
                    self.enter_key(execution.key)
                else:
                    self.start(execution)

    def _involved(self) -> Iterable[Execution]:
        """Return the executions that run, those whose failure is not logged yet, and all that the log names."""
        yield from self.commit_log.executions()
        for execution, _ in self._failures.waiting.values():
            yield execution

    async def _advance_once(self) -> bool:
        """Run the code, then commit, wait or suspend. Return True if the session is over."""
        if not self._loading and self._completed_from_inbox() >= INBOX_PAGE:
            await self._committer.commit()
        await self._run_code()
        if self._cancelling:
            cancelling, self._cancelling = self._cancelling, set()
            await asyncio.gather(*cancelling)
        if self._work.broken is not None:
            raise self._work.broken
        if self._process.now() - self._notifications.refreshed_at >= REFRESH_EVERY:
            await self._notifications.refresh()
        if len(self.commit_log.groups) > MAX_EFFECTS and not self._work.reads:
            await self._committer.commit(keep_last=True)
        view = self._view()
        if view.idle and self._has_changed():
            return False
        return await self._perform(decide(view))

    def _view(self) -> View:
        """Return what the decision about the next action depends on."""
        running = bool(self._work.running)
        return View(
            now=self._process.now(),
            reading=bool(self._loading or self._work.reads),
            new_work=self._work.is_new,
            replays=self._runtime.always_replay and bool(self.commit_log.groups),
            over=not self.executions and not self._failures.waiting,
            outcome=self._has_outcome(),
            running=running,
            lost_by_crash=running and (self._ran_steps() or (self.root.spec is not None and not self.root.stored)),
            for_others=self.commit_log.has_work_for_others,
            timer=self._work.next_timer(),
            refreshed_at=self._notifications.refreshed_at,
            progress_at=self._progress_at,
            hold_until=self._hold_until,
            inactivity=self._inactivity(),
            remaining=0 if self._runtime.always_replay else self._process.remaining(),
        )

    async def _perform(self, action: Action) -> bool:
        """Carry out an action. Return True if the session is over."""
        match action:
            case Commit(reason):
                await self._committer.commit(keep_steps=reason is Reason.WORK)
                if reason is Reason.REPLAY and self.executions:
                    raise Interrupted(REWIND)
                if reason is not Reason.OUTCOME:
                    self._work.begin()
            case Wait(until, reason):
                if reason is not None:
                    await self._committer.commit(keep_steps=bool(self._work.running))
                await self._wait(until)
            case Hold(until):
                await self._committer.commit()
                if self.executions:
                    await self._poll(until)
            case Suspend():
                waiting = [execution for execution in self.executions.values() if execution.attempt is not None]
                if not (waiting or self.commit_log.groups):  # no attempt is left: the leases continue what there is
                    return True
                self.woken.clear()  # the commit notices what arrived before this
                await self._committer.suspend([self._suspension_of(execution) for execution in waiting])
                self._cycles.look_for(waiting)
            case Finish():
                await self._committer.commit()
                return True
        return False

    def _has_changed(self) -> bool:
        """Return True if something has changed since the code ran, or an execution that can never continue has
        failed."""
        if self._events or self._ready or self._work.broken is not None:
            return True  # a step has ended, a head was read, or a read has failed
        for execution in list(self.executions.values()):
            if execution.attempt is not None and not execution.attempt.waits():
                stuck = f"the handler waits for something that no durable operation will ever complete; {HELP}"
                self._fail(execution, NonDeterminismError(stuck))
                return True
        event = self._cycles.broken()
        if event is None:
            return False
        if event.child is not None:
            self._end_child(event.child, event.outcome or Outcome())
        else:
            self.post(event)
        return True

    def _ran_steps(self) -> bool:
        """Return True if the log holds the result of a step, which a crash would run again."""
        for effect in chain.from_iterable(self.commit_log.groups):
            match effect:
                case JournalAppended(Execution(attempt=None), ResultDelivered() | StateRead()):
                    return True
                case JournalAppended(Execution(attempt=Attempt() as attempt), ResultDelivered(n)) if (
                    n != CANCEL and isinstance(command := attempt.operations[n].command, c.Run) and not command.deferred
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

        if self._ready or self._events or self._work.due_timers():
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
                due = self._work.due_timers()
                if not due:
                    return
                for id, n in due:
                    del self._work.timers[id, n]
                    self._events.append(Event(id, n, Outcome(None)))

    def _handle(self, event: Event) -> None:
        execution = self.executions.get(event.id)
        if event.child is not None:
            if self.executions.get(event.child.meta.id) is event.child:  # an event of its completion comes once
                self._end_child(event.child, event.outcome or Outcome())
            return
        reader = self._work.reads.pop((event.id, event.n), None)
        if event.id in self._failures.waiting:
            self._failures.log_late_result(event, reader)
            return
        if execution is None or execution.attempt is None:
            return
        if event.error is not None:
            self._fail(execution, event.error)
            return
        assert event.outcome is not None
        attempt, id, n = execution.attempt, event.notification_id, event.n
        if id is None:
            if not expected(attempt, n):
                return
            entry: Entry = ResultDelivered(n, event.outcome)
            if n == CANCEL:
                attempt.delivered.add("x")  # which the commit that creates the record need not put
        else:
            command = receiving_command(attempt, id)
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

    def _cancel_calls(self, attempt: Attempt) -> None:
        """Pass a cancellation on to the calls that are under way."""
        for call in attempt.to_cancel():
            child = self.commit_log.uncommitted(call.id)
            if child is not None:
                child.cancelled = True
                self.post(Event(call.id, CANCEL, Outcome(failure=CANCELLED)))
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
            outcome = bounded(attempt.result(), f"the output of {execution.meta.target}")
        except BaseException as error:
            self._fail(execution, error)
            return
        if execution.caller is not None:
            self._events.append(Event(execution.caller.meta.id, ENDED, outcome, child=execution))
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
        self.retire(execution)
        if isinstance(error, NotImmediate):
            self.commit_log.take_back(execution)
            return
        execution.caller = None
        verdict = self._failures.judge(execution, error)
        if isinstance(verdict, Failure):
            self._end(execution, Outcome(failure=verdict))
        else:
            self._failures.log(execution, verdict)

    # --- what the committer reports (`committer.Driver`) ---

    def on_stored(self, execution: Execution) -> None:
        if execution.meta.id in self.executions:
            self._process.active[execution.meta.id] = self

    def has_unseen(self) -> bool:
        return bool(self._events)

    def on_queued(self, execution: Execution) -> None:
        self.retire(execution)
        if execution is self.root:
            self._runtime.gates.open(execution.key)

    async def read_notifications(self, execution: Execution) -> None:
        await self._notifications.read(execution)

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
        self._work.drop(execution)

    def start(self, execution: Execution) -> None:
        """Start an execution: replay its journal, then continue."""
        assert execution.spec is not None
        execution.required_requests = 0
        if execution.meta.epoch > 1:
            execution.moment, execution.requested_keys = key_requests(execution.journal)
        execution.attempt = Attempt(
            self._issuing,
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

    def post(self, event: Event) -> None:
        """Post an event, and wake the session."""
        self._events.append(event)
        self._signal.set()

    def enqueue(self, event: Event) -> None:
        """Post an event while the session runs code."""
        self._events.append(event)

    # --- keys and state ---

    def enter_key(self, at: ObjectKey) -> None:
        """Start an execution that requested this key, if it now owns the key."""
        key = self.commit_log.key(at)
        if key.head is not None:
            self.commit_log.refresh_key(key)
            self.grant(key)
        elif at not in self._loading:
            self._loading.add(at)
            self._work.background((str(at), LOADING), self._load(key))

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
        if key.live.owner == UNKNOWN and self._batches.allowed(len(self.hosted), self._client_waits()):
            if key.key not in self._loading:
                self._loading.add(key.key)
                self._work.background((str(key.key), LOADING), self._load_next(key))
            return
        execution = self.executions.get(key.live.owner.id) or self._start_next(key, key.live.owner)
        if execution is None or execution.ref != key.live.owner or execution.attempt is not None:
            return
        if key.head.owner != execution.ref:
            key.ran_uncommitted = True
        self.start(execution)
        self._signal.set()

    def _start_next(self, key: Key, owner: Ref) -> Execution | None:
        """Begin to run the next invocation of the inbox, if it was read and there is time."""
        execution = key.next.pop(owner, None) if self._batches.allowed(len(self.hosted), self._client_waits()) else None
        assert key.head is not None
        if execution is None or owner.id in self._process.active or key.head.owner == owner:  # already handed over
            return None
        execution.meta = replace(execution.meta, deployment=self._runtime.deployment.id)
        self.executions[owner.id] = execution
        self.hosted.add(owner.id)
        self._process.active[owner.id] = self
        self.commit_log.grant_here(execution)
        if self._client_waits():
            self.batched.add(owner)
        return execution

    async def _load_next(self, key: Key) -> None:
        """Read the first invocations of a key's inbox, and start those that can run here."""
        await self._batches.read(key)
        self._loading.discard(key.key)
        self.grant(key)

    def _client_waits(self) -> bool:
        """Return True if a client gets its answer only when all executions here have ended, as in a Lambda function."""
        return self._process.deadline is not None and self._hold_until > 0

    # --- waiting ---

    def _waits_for_retry(self, execution: Execution, left: int) -> bool:
        """Return True if an attempt waits so many milliseconds for a step's next try: it is a short time, a client
        waits, or something else runs."""
        if execution.meta.id in self._failures.waiting:
            return False
        alone = len(self._work.running) == 1 and self._process.now() >= self._holds_until()
        return not alone or left <= (0 if self._runtime.always_replay else MAX_INLINE_WAIT)

    def _suspension_of(self, execution: Execution) -> Suspended:
        return suspensions.suspension_of(execution, self._work.timers, self._process.times())

    async def _wait(self, until: int | None) -> None:
        """Wait until something happened, or a time has come."""
        if self._events or self._ready:
            return
        await self._process.wait(self._signal, until)
        self._signal.clear()

    async def _poll(self, until: int) -> None:
        """Wait for notifications while a client waits. This process delivers them, or finds them in the store."""
        remote = any(
            (execution.meta.id, pending.n) not in self._work.timers
            for execution in self.executions.values()
            if execution.attempt is not None
            for pending in execution.attempt.waits()
        )
        interval = self._runtime.poll if remote else REFRESH_EVERY
        began = self._process.now()
        check = began + DEADLOCK_CHECK
        while not self._events and not self._ready and not self.woken:
            now = self._process.now()
            limit = min(until, self._holds_until(), now + self._process.remaining())
            if now >= limit:
                return
            woken = await self._process.wait(self._signal, min(limit, now + interval))
            self._signal.clear()
            if woken:
                return
            interval = min(interval * 2, 1000)
            await self._notifications.refresh()
            if remote and self._process.now() >= check and not self._events:
                await self._cycles.check()
                check += check - began
        self.woken.clear()
        await self._notifications.refresh()
