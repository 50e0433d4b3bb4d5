"""Commit the log of a session.

Before anything outside depends on what handlers did, the first groups of the log become one commit. A conflict tells
what the store holds instead. The commit is then made anew, or the session has to do what the verdict says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from adapter.engine import journal, lifecycle
from adapter.engine.commit_log import CommitLog, is_step
from adapter.engine.conflicts import RETRY, REWIND, Drop, Interrupted, Notified
from adapter.engine.corrections import Corrections
from adapter.engine.execution import (
    EffectGroup,
    Execution,
    KeyEffect,
    KeyRequested,
    Suspended,
)
from adapter.engine.ids import new_commit_id
from adapter.engine.known_key import Key
from adapter.engine.notifications import Notifications
from adapter.engine.operator import Operator
from adapter.engine.ports import (
    Change,
    Conflict,
    Contended,
    TooLarge,
)
from adapter.engine.preparation import Preparation
from adapter.engine.process import Repeat
from adapter.engine.records import (
    Meta,
    Notification,
    Parent,
    Ref,
    Status,
)
from adapter.engine.residents import Residents
from adapter.engine.runner import Runner
from adapter.engine.runtime import Runtime
from adapter.engine.storage import CONTENDED
from adapter.engine.together import Together
from adapter.engine.transaction import MAX_ITEMS, Transaction, plan, within_reach
from adapter.engine.types import CANCELLED, ObjectKey, Outcome
from adapter.frozen import replace


class Committer:
    """Commits the log of one session.

    Args:
        runtime: What the session shares with others.
        operator: Cancels invocations.
        runner: The code that runs in the session.
        notifications: Reads the notifications to the executions.
        residents: The invocations that run in the session.
        log: The log.
        preparation: What it does before a commit.
        root: The id of the invocation that the session begins with.
        together: The invocations that were dispatched together with that.
    """

    def __init__(
        self,
        runtime: Runtime,
        operator: Operator,
        runner: Runner,
        notifications: Notifications,
        residents: Residents,
        log: CommitLog,
        preparation: Preparation,
        root: str,
        together: Together | None,
    ) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._storage = runtime.storage
        self._operator = operator
        self._runner = runner
        self._notifications = notifications
        self._residents = residents
        self._log = log
        self._preparation = preparation
        self._corrections = Corrections(runtime, log, runner, root)
        self._root = root
        self._together = together
        self._unsettled: dict[ObjectKey, set[Ref]] = {}
        """The keys to settle after the commit, with the invocations that went to their inboxes."""
        self._changed: dict[ObjectKey, Key] = {}
        """The keys that the commit has read or written."""

    async def suspend(self, waits: Iterable[Suspended]) -> None:
        """Commit the log, and end attempts in the same write.

        Raises:
            Interrupted: See `commit`.
        """
        self._log.groups += [(wait,) for wait in waits]
        try:
            await self.commit()
        finally:
            self._log.groups = [group for group in self._log.groups if not isinstance(group[0], Suspended)]

    async def commit(self, *, keep_steps: bool = False, keep_last: bool = False) -> None:
        """Commit the log in as few requests as possible, and start what became runnable.

        Args:
            keep_steps: Leave out the steps at the end of the log that were issued and have not begun. Nothing depends
                on them.
            keep_last: Leave out the last commit, which would not be full.

        Raises:
            Interrupted: If the session has to do something else first, or to end.
        """
        failure: Exception | None = None
        try:
            await self._commit(keep_steps=keep_steps, keep_last=keep_last)
        except Exception as error:  # not if the process ends: nothing can be awaited then
            failure = error
        self._grant_changed()
        if self._unsettled and not keep_last:
            await self._settle()
        if failure is not None:
            raise failure

    async def _commit_together(self, transaction: Transaction, changes: Sequence[Change]) -> bool:
        """Commit with the invocations that were dispatched together with the root, if this commit completes the root.

        Return False if nothing was committed.
        """
        if self._together is None:
            return False
        root = transaction.deltas.get(self._root)
        if root is None or root.completed is None:
            self._together.leave(self._root)
            return False
        return await self._together.commit(self._root, changes, transaction.bytes)

    async def claim(self, execution: Execution) -> None:
        """Store that an attempt has begun, if the store does not know.

        Raises:
            Interrupted: If another attempt was first.
        """
        if self._together is not None:
            self._together.leave(self._root)
        tries = 0
        while (stored := execution.unclaimed) is not None:
            deployment = None if stored.deployment == execution.meta.deployment else execution.meta.deployment
            claimed, change = lifecycle.claim(
                replace(stored, failures=execution.meta.failures),
                self._process.times(),
                deployment=deployment,
                segments=None,
            )
            try:
                await self._storage.commit([change], new_commit_id())
            except Conflict as conflict:
                found = conflict.found.get(0)
                if not isinstance(found, Meta) or not found.continues(stored):
                    raise Interrupted(Drop(stored.ref, f"{stored.id} was taken over")) from conflict
                execution.on_unclaimed_changed(found)  # it was counted, checked, moved or dispatched once more
                tries += 1
                await self._storage.back_off(tries)
            else:
                execution.meta, execution.unclaimed = claimed, None

    @staticmethod
    def _unclaimed(transaction: Transaction) -> Execution | None:
        """Return the execution of a commit that is not claimed. Only the first of a session can be."""
        for delta in transaction.deltas.values():
            if delta.execution.unclaimed is not None:
                return delta.execution
        return None

    def _grant_changed(self) -> None:
        """Start the next owners of the keys that were read or written."""
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        self._log.refresh_keys(changed.values())
        for key in changed.values():
            self._runner.grant(key)

    async def _settle(self) -> None:
        """Settle the keys at which invocations wait, and those that were released while some may wait."""
        names, self._unsettled = self._unsettled, {}
        await self._runtime.handover.settle(names)
        here = self._log.here()
        for name in names:  # the next commit may find the key free
            head = self._log.keys[name].head
            if head is None or head.owner not in here:
                self._log.reread(self._log.keys[name])
                self._log.keys[name].contended = False
                self._log.keys[name].lost_races = 0

    async def _commit(self, *, keep_steps: bool, keep_last: bool) -> None:
        end = len(self._log.groups)
        while keep_steps and end and is_step(self._log.groups[end - 1]):
            end -= 1
        tries, most = 0, end
        while end:
            groups = within_reach(self._log.groups[: min(end, most)])
            for key in await self._preparation.prepare(groups):
                self._changed[key.key] = key
            transaction, taken = plan(self._log.keys, self._process.times(), groups)
            if transaction.states and await self._preparation.read_next_owners(transaction):
                continue
            if keep_last and taken == end:
                return
            if not self._holds(transaction, taken):
                continue
            for delta in transaction.deltas.values():
                if delta.execution.calling is not None:
                    await self._runtime.calls.settle(delta.execution)
            unclaimed = self._unclaimed(transaction)
            if unclaimed is not None and not transaction.ends(unclaimed):
                await self.claim(unclaimed)
            commit_id = new_commit_id()
            following = _requested_keys(groups[taken:]) if taken < len(groups) else ()
            changes, out_of_line = transaction.changes(commit_id, following)
            if out_of_line and unclaimed is not None and unclaimed.unclaimed is not None:
                await self.claim(unclaimed)
                continue
            try:
                if out_of_line:
                    changes += await self._preparation.put_out_of_line(transaction, out_of_line)
                await self._write(transaction, taken, changes, commit_id)
            except Conflict as conflict:
                await self._learn_from(conflict, transaction, changes)
                tries += 1
                if tries > 1:
                    await self._storage.back_off(tries)
                continue
            except (TooLarge, Contended) as error:  # sizes are estimates: text with many escapes is larger
                if isinstance(error, Contended) and self._corrections.competes_for_key(transaction):
                    self._corrections.fall_back_to_inbox(transaction)
                    continue
                if taken == 1:
                    raise
                most = taken // 2
                continue
            tries = 0
            self._on_committed(transaction, taken)
            await self._make_call(transaction)
            if self._runs_queued(transaction):
                raise Interrupted(REWIND)
            end -= taken
        if not self._log.groups:
            self._log.on_empty()

    def _holds(self, transaction: Transaction, taken: int) -> bool:
        """Return True if the commit can be made; False if something was learned, and it is to be planned anew.

        Raises:
            Interrupted: If code ran as a key's owner that is not, or has not seen what arrived.
        """
        if taken < len(self._log.groups) and self._log.bring_forward(taken):
            return False
        if self._runner.has_unseen() and any(delta.suspended for delta in transaction.deltas.values()):
            raise Interrupted(Notified(()))
        if transaction.ran_without_key():  # an invocation ran, and its key turns out to be another's
            raise Interrupted(REWIND)
        return True

    async def _write(self, transaction: Transaction, taken: int, changes: Sequence[Change], commit_id: str) -> None:
        """Write the changes: together with others, or alone."""
        if len(changes) > MAX_ITEMS and taken > 1:
            raise TooLarge(f"{len(changes)} changes")  # some last segments were larger than a record holds
        if await self._commit_together(transaction, changes):
            return
        competes = self._corrections.competes_for_key(transaction)
        tries = 1 if competes else CONTENDED if taken > 1 else None
        if changes:
            await self._storage.commit(changes, commit_id, give_up_after=tries)

    async def _learn_from(self, conflict: Conflict, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Take note of what the store holds instead.

        Raises:
            Interrupted: If making the commit anew is not enough.
        """
        verdict = self._corrections.resolve(changes, conflict.found)
        if verdict == RETRY:
            return
        if isinstance(verdict, Notified):
            notified = [each for each in transaction.deltas.values() if each.execution.ref in verdict.refs]
            for delta in notified:
                await self._notifications.read(delta.execution)
            if not any(delta.suspended for delta in notified):
                return
        raise Interrupted(verdict) from conflict

    # --- after a commit ---

    def _runs_queued(self, transaction: Transaction) -> bool:
        """Return True if the log goes on with an invocation that the commit left in the inbox."""
        queued = {
            id
            for id, meta in transaction.metas.items()
            if meta.status is Status.QUEUED and transaction.deltas[id].execution.spec is not None
        }
        if not queued:
            return False
        return any(effect.execution.meta.id in queued for effect in chain.from_iterable(self._log.groups))

    def _on_committed(self, transaction: Transaction, taken: int) -> None:
        """Update what the session knows after a commit was applied."""
        del self._log.groups[:taken]
        for id, delta in transaction.deltas.items():
            execution, meta = delta.execution, transaction.metas[id]
            if delta.entries:
                execution.journal += delta.entries
                execution.progress = True
            execution.segments += transaction.segments.get(id, 0)
            execution.inline = transaction.inlines[id]
            created = not execution.stored
            if created:
                self._log.committed.add(id)
                if meta.notifications:
                    execution.notifications["x"] = Outcome(failure=CANCELLED)
                    execution.counted = 1
            execution.meta, execution.stored, execution.unclaimed = meta, True, None
            if delta.completed is not None:
                self._runtime.notifier.on_completed(meta, delta.completed.outcome)
                for at in journal.pending_sleeps(execution.journal) if meta.epoch > 1 else ():
                    self._runtime.wakeups.unschedule(lifecycle.slept(meta, at))
            elif delta.failed is not None:
                self._runtime.wakeups.schedule(meta)
                if meta.status is Status.PAUSED:
                    self._runtime.listeners.complete(id, None)
            elif delta.suspended is not None:
                self._runtime.reports.suspended(meta)
                self._runtime.wakeups.schedule(meta)
                self._runner.retire(execution)
                if id in self._residents.woken:  # it was to be resumed while the commit was under way
                    self._runtime.wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
                else:
                    self._runtime.listeners.on_suspended(id)
            elif meta.status is Status.QUEUED:
                self._on_queued(execution)
                execution.caller = None
                self._log.queued.add(id)
            elif execution.spec is not None:
                if id in self._runner.executions:
                    self._residents.enter(id)
            elif created and meta.status is Status.SCHEDULED:
                self._runtime.wakeups.schedule(meta)
            elif created and id != transaction.calling:
                batch = self._runtime.deployment.batch(meta.target)
                self._runtime.wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=True, batch=batch)
            if created and execution.cancelled and meta.status is Status.QUEUED:
                self._process.spawn(self._operator.cancel(id), repeated_by=Repeat.KEY)  # it need not wait for its key
        by_parent: dict[Parent, list[Notification]] = {}
        for notification, execution in transaction.notifications:
            assert execution.meta.parent is not None
            by_parent.setdefault(replace(execution.meta.parent, command=0), []).append(notification)
        for parent, notifications in by_parent.items():
            self._process.spawn(
                self._runtime.notifier.notify(notifications, parent.service, parent.deployment),
                repeated_by=Repeat.CHECK,
            )
        for name, ref in transaction.granted:
            self._runtime.wakeups.on_key_granted(ref, name)
        for name in transaction.unsettled:
            arrived = {entry.ref for entry in transaction.states[name].new_entries}
            self._unsettled.setdefault(name, set()).update(arrived)
        here = self._log.here() if transaction.states else ()
        for name, state in transaction.states.items():
            key = self._log.keys[name]
            key.head = replace(transaction.heads[name], version=state.base.version + 1)
            key.front = (state.stored_front() or None) if key.head.owner in here else None
            key.more = state.more
            key.contended = key.contended or bool(state.new_entries)
            key.dead_tickets.clear()
            key.lost_races = 0
            if state.garbage:
                key.blobs.clear()
            key.overflow = state.overflow_after(key.overflow)
            key.blobs |= {name: entry.blob if entry else None for name, entry in state.writes.items()}
            key.ran_uncommitted = key.ran_uncommitted and any(
                isinstance(effect, KeyEffect)
                and effect.execution.key == name
                and effect.execution.ref != key.head.owner
                for group in self._log.groups
                for effect in group
            )
            key.live = None
            self._changed[name] = key
            self._runtime.on_head_written(key.head)

    async def _make_call(self, transaction: Transaction) -> None:
        """Put the record of the call that a commit has issued, if that was not part of it.

        An attempt that goes on does nothing before that. So what it does later finds the call, as does its end.
        """
        if transaction.calling is None:
            return
        called = transaction.deltas[transaction.calling].execution
        calling = transaction.described
        assert called.meta.parent is not None
        assert calling is not None
        caller = transaction.deltas[called.meta.parent.ref.id].execution
        batch = self._runtime.deployment.batch(calling.target)
        make = self._runtime.calls.make(caller.meta, calling, batch)
        if caller.meta.status is Status.SUSPENDED:
            self._process.spawn(make, repeated_by=Repeat.CHECK)
        else:
            caller.calling = calling
            await self._process.persist(make, repeated_by=Repeat.LEASE)

    def _on_queued(self, execution: Execution) -> None:
        """Stop an execution that has to wait for its key. It no longer runs here."""
        self._runner.retire(execution)
        self._residents.leave(execution.meta.id)
        if execution.meta.id == self._root:
            self._runtime.gates.open(execution.key)


def _requested_keys(groups: Iterable[EffectGroup]) -> set[ObjectKey]:
    """Return the keys that invocations for other processes request."""
    requests = (effect for group in groups for effect in group if isinstance(effect, KeyRequested))
    return {each.execution.key for each in requests if each.execution.spec is None}
