"""A session: an invocation, and those that it calls in this process, driven together and committed together.

What handlers do becomes effects in the session's commit log, in order. An effect in the log that is not committed has
no consequence outside. After a conflict the session can therefore rewind: its handlers are replayed from what is
committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from adapter.engine import suspensions
from adapter.engine.admission import Admission
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
from adapter.engine.events import REFRESHING, Events
from adapter.engine.execution import (
    Created,
    EffectGroup,
    Execution,
    JournalAppended,
    KeyReleased,
    KeyRequested,
    Suspended,
)
from adapter.engine.holding import Holding
from adapter.engine.notifications import Notifications
from adapter.engine.operator import Operator
from adapter.engine.preparation import INBOX_PAGE, Preparation
from adapter.engine.records import Head, Notification, Ref, Status
from adapter.engine.requests import NOBODY, Patience
from adapter.engine.residents import Residents
from adapter.engine.runner import MAX_EFFECTS, Runner
from adapter.engine.runtime import Runtime
from adapter.engine.state_reads import StateReads
from adapter.engine.together import Together
from adapter.engine.types import Outcome
from adapter.engine.under_way import Refresh, Stage, UnderWay
from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.engine.work import Work
from adapter.frozen import replace

log = logging.getLogger("adapter")


class Session:
    """A session.

    Args:
        runtime: What it shares with the other sessions of its process.
        operator: Acts on invocations that run elsewhere.
        root: The invocation that it begins with. One without a spec runs in another process and is only stored.
        patience: How long a client waits. So long a blocked handler is not suspended.
        head: The head of the root's key, if the caller has just read it.
        together: The invocations that were dispatched together with the root.
    """

    def __init__(
        self,
        runtime: Runtime,
        operator: Operator,
        root: Execution,
        *,
        patience: Patience = NOBODY,
        head: Head | None = None,
        together: Together | None = None,
    ) -> None:
        self._runtime = runtime
        self._operator = operator
        self._process = runtime.process
        self.root = root
        self.executions: dict[str, Execution] = {}
        self.interrupted: list[Execution] = []
        """After another attempt took over: the executions that ran here, or whose completion was not stored."""
        self.commit_log = CommitLog(self._process, self.executions)
        # Then a client gets its answer only when all executions here have ended, as in a Lambda function.
        client_waits = runtime.process.deadline is not None and root.meta.id in runtime.listeners
        self.residents = Residents(runtime.process, runtime.wakeups, self)
        self._progress_at = self._process.now()
        self._events = Events()
        self._notifications = Notifications(runtime, self.executions, self._events.post)
        reads = StateReads(runtime, self.commit_log)
        self._under_way = UnderWay(self.executions, self._events)
        self._work = Work(runtime, operator, reads, self._under_way, self._events, self._waits_for_retry)
        preparation = Preparation(runtime, self.commit_log)
        self._admission = Admission(
            runtime,
            self.commit_log,
            self._work,
            Batches(runtime, preparation, root, self.executions),
            self.executions,
            self.residents,
            root,
            client_waits,
            self._events,
        )
        self._runner = Runner(
            runtime,
            self.commit_log,
            self._under_way,
            reads,
            self._admission,
            self._events,
            self.executions,
            self.residents,
        )
        self._failures = self._runner.failures
        self._committer = Committer(
            runtime,
            operator,
            self._runner,
            self._notifications,
            self.residents,
            self.commit_log,
            preparation,
            root.meta.id,
            together,
        )
        self._cycles = Cycles(runtime, operator, self.commit_log, self.executions, self._under_way)
        self._holding = Holding(
            runtime, self.executions, self._under_way, self._events, self._notifications, self._cycles, patience
        )
        if head is not None:
            self.commit_log.key(head.key).head = head

    # --- the life of a session ---

    async def run(self) -> End | None:
        """Drive the session until all its executions have completed, failed or been suspended.

        Return why it ended before that: another attempt took over, or its first invocation existed already.
        """
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
            reading = partial(self._notifications.read_record, execution)
            self._work.read((notification.to.id, REFRESHING), Refresh(), reading)

    def expect_notifications(self, ref: Ref, count: int) -> None:
        """Take note that this process is about to count notifications, which it also delivers here."""
        self._notifications.expect(ref, count)

    def wake(self, id: str) -> None:
        """Read the store again soon. If the invocation is about to be suspended, resume it after that."""
        self.residents.woken.add(id)
        self._notifications.refreshed_at = 0
        self._events.signal.set()

    def reconsider(self) -> None:
        """Decide again what to do next."""
        self._events.signal.set()

    def _open(self) -> None:
        root = self.root
        created: EffectGroup = ()
        if not root.stored:
            created = (Created(root), *(JournalAppended(root, entry) for entry in root.journal))
        self._begin(root, created)

    def _begin(self, execution: Execution, created: EffectGroup = ()) -> None:
        """Start an execution. One that has to own its key requests the key first, unless it is known to own it.

        After a rewind the key of an execution that ran may be another's. Then another attempt has taken the execution
        over, and the commit of the request finds that out.
        """
        if execution.spec is not None:
            self.executions[execution.meta.id] = execution
            self.residents.enter(execution.meta.id)
        if execution.exclusive and execution.meta.status is not Status.SCHEDULED:
            key = self.commit_log.key(execution.key)
            owns = key.head is not None and key.head.owner == execution.ref
            requested: EffectGroup = () if owns else (KeyRequested(execution, self._process.moment()),)
            self.commit_log.record((*created, *requested))
            self._runner.enter_key(execution.key)
        else:
            self.commit_log.record(created)
            if execution.spec is not None:
                self._runner.start(execution)

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
        self.residents.leave(dropped.ref.id)
        if dropped.ref == self.root.ref:
            self._holding.release()  # the client gets its answer from the store
        self._rewind(dropped.ref)
        return True

    def _rewind(self, dropped: Ref | None = None) -> None:
        """Return to what is committed, and replay from there. Steps continue, and keep their results."""
        for execution in (executions := {execution.meta.id: execution for execution in self._involved()}).values():
            execution.stop()
        self.commit_log.rewind()
        self._runner.rewind()
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
        for id in [id for id in executions if id not in self.executions]:
            self.residents.leave(id)
        self._work.rewind()
        self.root.forget_deferred()  # it may run again although it is not among those that are stored
        if not self.root.stored or self.root.meta.id in self.executions:
            self._open()
        for execution in kept.values():
            if execution is not self.root:
                self._begin(execution)

    def _involved(self) -> Iterable[Execution]:
        """Return the executions that run, those whose failure is not logged yet, and all that the log names."""
        yield from self.commit_log.executions()
        for execution, _ in self._failures.waiting.values():
            yield execution

    async def _advance_once(self) -> bool:
        """Run the code, then commit, wait or suspend. Return True if the session is over."""
        ran_before = self._progress_at
        cancelling = self._run_code()
        if cancelling:
            await asyncio.gather(*cancelling)
        if self._runner.can_run:
            await asyncio.sleep(0)  # code that runs on and on gives others their turn
        if self._work.broken is not None:
            raise self._work.broken
        if self._process.now() - self._notifications.refreshed_at >= REFRESH_EVERY:
            await self._notifications.refresh()
            await self._holding.settle_calls()
        if self.commit_log.completed_from_inbox() >= INBOX_PAGE and not self._under_way.reading:
            await self._committer.commit(keep_last=self._process.now() - ran_before <= FLUSH_AFTER)
        elif len(self.commit_log.groups) > MAX_EFFECTS and not self._under_way.reads_state:
            await self._committer.commit(keep_last=True)
        view = self._view()
        if view.idle:
            if self._has_changed():
                return False
            view = self._patient(view)
        return await self._perform(decide(view))

    def _view(self) -> View:
        """Return what the decision about the next action depends on."""
        running = self._under_way.running > 0
        return View(
            now=self._process.now(),
            reading=self._under_way.reading,
            new_work=self._under_way.is_new,
            replays=self._runtime.always_replay and bool(self.commit_log.groups),
            over=not self.executions and not self._failures.waiting,
            outcome=self.commit_log.has_outcome(self.root),
            running=running,
            lost_by_crash=running and (self._root_may_be_lost() or self.commit_log.has_results()),
            for_others=self.commit_log.has_work_for_others,
            timer=self._under_way.next_timer(),
            refreshed_at=self._notifications.refreshed_at,
            progress_at=self._progress_at,
        )

    def _patient(self, view: View) -> View:
        """Return the view of an idle session, with how long it may stay."""
        return replace(
            view,
            hold_until=self._holding.until(self._progress_at),
            inactivity=self._holding.inactivity(),
            remaining=0 if self._runtime.always_replay else self._process.may_wait(),
        )

    def _root_may_be_lost(self) -> bool:
        """Return True if the store does not know that the root runs here."""
        return self.root.unclaimed is not None or (self.root.spec is not None and not self.root.stored)

    async def _perform(self, action: Action) -> bool:
        """Carry out an action. Return True if the session is over."""
        match action:
            case Commit(reason):
                await self._committer.commit(keep_steps=reason is Reason.WORK)
                if reason is Reason.REPLAY and self.executions:
                    raise Interrupted(REWIND)
                if reason is not Reason.OUTCOME:
                    await self._committer.claim(self.root)
                    self._work.begin()
            case Wait(until, reason):
                if reason is not None:
                    await self._committer.commit(keep_steps=self._under_way.running > 0)
                    await self._committer.claim(self.root)
                await self._wait(until)
            case Hold(until):
                await self._committer.commit()
                if self.executions and await self._holding.poll(until, self._can_continue):
                    self.residents.woken.clear()
                    await self._notifications.refresh()
            case Suspend():
                waiting = [execution for execution in self.executions.values() if execution.attempt is not None]
                if not (waiting or self.commit_log.groups):  # no attempt is left: the leases continue what there is
                    return True
                woken = self.residents.take_woken()  # the commit notices what arrived before this
                try:
                    await self._committer.suspend([self._suspension_of(execution) for execution in waiting])
                except Interrupted:  # another attempt may have suspended it since: then the wake-up is still needed
                    self.residents.woken |= woken
                    raise
                self._cycles.look_for(waiting)
            case Finish():
                await self._committer.commit()
                return not (self.executions or self._failures.waiting)
        return False

    def _has_changed(self) -> bool:
        """Return True if something has changed since the code ran, or an execution that can never continue has
        failed."""
        if self._runner.can_run or self._work.broken is not None:
            return True  # a step has ended, a head was read, or a read has failed
        if self._runner.fail_stuck():
            return True
        event = self._cycles.broken()
        if event is None:
            return False
        if event.child is not None:
            self._runner.end_child(event.child, event.outcome or Outcome())
        else:
            self._events.post(event)
        return True

    # --- running the code ---

    def _run_code(self) -> list[asyncio.Task[Any]]:
        """Run all code that can run.

        Return the cancellations that are on their way to calls. Nothing is committed before they have arrived, so that
        a crash repeats them.
        """
        # The end of a call that closes a cycle has run code, too.
        left = self._runner.cancellations or self._under_way.in_stage(Stage.NEXT)
        due = self._under_way.sleeps and self._under_way.due_timers(self._process.now())
        if not (left or due or self._runner.can_run):
            return []
        self._runner.advance()
        self._work.begin_at_once()
        calls, self._runner.cancellations = self._runner.cancellations, []
        self._progress_at = self._process.now()
        return [asyncio.create_task(self._operator.cancel(id, nth=nth)) for id, nth in calls]

    # --- waiting ---

    def _waits_for_retry(self, execution: Execution, left: int) -> bool:
        """Return True if an attempt waits so many milliseconds for a step's next try: it is a short time, a client
        waits, or something else runs."""
        if execution.meta.id in self._failures.waiting:
            return False
        alone = self._under_way.running == 1 and self._process.now() >= self._holding.until(self._progress_at)
        return not alone or left <= (0 if self._runtime.always_replay else MAX_INLINE_WAIT)

    def _suspension_of(self, execution: Execution) -> Suspended:
        return suspensions.suspension_of(execution, self._under_way.due, self._process.times())

    def _can_continue(self) -> bool:
        return self._runner.can_run or bool(self.residents.woken)

    async def _wait(self, until: int | None) -> None:
        """Wait until something happened, or a time has come."""
        if self._runner.can_run:
            return
        await self._process.wait(self._events.signal, until)
        self._events.signal.clear()
