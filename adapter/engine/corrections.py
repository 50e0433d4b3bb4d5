"""Correct what a session knows of the store, after a conflict has told what the store holds instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from adapter.engine.commit_log import CommitLog
from adapter.engine.conflicts import REWIND, Interrupted, Verdict, View, judge
from adapter.engine.execution import Created
from adapter.engine.known_key import Key
from adapter.engine.ports import Change, Create, Delete, Finish, TakeKey, Update, WriteHead
from adapter.engine.process import Repeat
from adapter.engine.records import Head, InboxEntry, Meta, Record, Ref, Status
from adapter.engine.runner import Runner
from adapter.engine.runtime import Runtime
from adapter.engine.transaction import Transaction
from adapter.frozen import replace

MAX_TAKE_TRIES = 2
"""How often an invocation tries to take a free key before it goes to the key's inbox."""


class Corrections:
    """Corrects what one session knows.

    Args:
        runtime: What the session shares with others.
        log: The session's log, with what is known of the keys.
        runner: The code that runs in the session.
        root: The id of the invocation that the session begins with.
    """

    def __init__(self, runtime: Runtime, log: CommitLog, runner: Runner, root: str) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._log = log
        self._runner = runner
        self._root = root

    def resolve(self, changes: Sequence[Change], found: Mapping[int, Record | None]) -> Verdict:
        """Return what a conflict means, and take note of what the store holds, so that the commit can be made anew."""
        ran_as_owner = {name for name, key in self._log.keys.items() if key.ran_uncommitted}
        blobs, now = self._log.blobs(), self._process.now()
        verdict = judge(changes, found, View(now, self._root, ran_as_owner, self._log.ran_from_inbox(), blobs))
        for place, record in found.items():
            match changes[place]:
                case Create() if isinstance(record, Meta) and record.waiters and record.expired(now):
                    fan_out = self._runtime.notifier.fan_out(record)  # then it can be replaced
                    self._process.spawn(fan_out, repeated_by=Repeat.WAITERS)
                case Create(meta) if isinstance(record, Meta) and meta.id != self._root:
                    self._leave_out(meta, record)
                case WriteHead(head=Head(key=name)) | TakeKey(key=name):
                    self._on_key_changed(self._log.keys[name], record)
                case Finish(ref):
                    for key in self._log.keys.values():
                        key.blobs = {name: None if blob == ref else blob for name, blob in key.blobs.items()}
                case Update(epoch=int()) as change:
                    self._on_record_changed(change, record)
                case Update(ref) if ref not in blobs:
                    self._mark_dead(ref)
                case Delete(InboxEntry(name)):
                    self._log.reread(self._log.keys[name])
                case _:
                    pass
        return verdict

    def _leave_out(self, meta: Meta, found: Meta) -> None:
        """Do not create an invocation that is already stored."""
        self._log.existing[meta.id] = found
        created = (effect.execution for effect in chain.from_iterable(self._log.groups) if isinstance(effect, Created))
        execution = next((each for each in created if each.ref == meta.ref), None)
        if execution is None:
            return
        execution.dropped = True
        if meta.kind.exclusive:
            key = self._log.key(execution.key)
            key.live = None
            if key.head is not None:
                self._log.refresh_key(key)
                self._runner.grant(key)

    def _on_key_changed(self, key: Key, found: Record | None) -> None:
        """Learn that another process changed a key."""
        head = found if isinstance(found, Head) else Head(key.key)
        key.lost_races += 1
        if head.owner is None and not head.queued and key.lost_races < MAX_TAKE_TRIES:
            self._runtime.recent.mark_shared(key.key)
        else:
            self._runtime.recent.mark_busy(key.key)
            key.contended = True
        self._log.reread(key, head)

    def competes_for_key(self, transaction: Transaction) -> bool:
        """Return True if the commit takes a key without an owner, which another process may take as well."""
        return any(
            state.base.owner is None and not self._log.keys[name].contended
            for name, state in transaction.states.items()
        )

    def fall_back_to_inbox(self, transaction: Transaction) -> None:
        """Request the commit's free keys by their inboxes from now on: another transaction is writing one of them.

        Raises:
            Interrupted: If code ran on one of the keys.
        """
        ran = False
        for name, state in transaction.states.items():
            key = self._log.keys[name]
            if state.base.owner is None and not key.contended:
                self._runtime.recent.mark_busy(name)
                key.contended = True
                ran = ran or key.ran_uncommitted
                self._log.reread(key)
        if ran:
            raise Interrupted(REWIND)

    def _on_record_changed(self, change: Update, found: Record | None) -> None:
        """Learn that an execution's own record is not as expected."""
        execution = next(each for each in self._log.executions() if each.ref == change.ref)
        if change.status is Status.QUEUED:
            self._log.reread(self._log.keys[execution.key], self._log.keys[execution.key].head)
        elif isinstance(found, Meta) and found.ref == change.ref:
            execution.meta = replace(execution.meta, waiters=found.waiters, notifications=found.notifications)
            if execution.unclaimed is not None:
                execution.on_unclaimed_changed(found)

    def _mark_dead(self, ref: Ref) -> None:
        """Note that the invocation that was to be given a key no longer exists."""
        for key in self._log.keys.values():
            key.dead_tickets |= {entry.ticket for entry in key.front or () if entry.ref == ref}
