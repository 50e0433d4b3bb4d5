"""The effects of a session that are not committed yet, and how they are committed.

Before anything outside depends on what handlers did, the first groups of the log become one commit. A conflict tells
what the store holds instead. The commit is then made anew, or the session has to rewind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Protocol

from adapter.engine import journal, lifecycle
from adapter.engine.execution import (
    Completed,
    Created,
    Execution,
    JournalAppended,
    KeyGranted,
    KeyReleased,
    KeyRequested,
    StateWritten,
    Suspended,
)
from adapter.engine.ids import new_commit_id
from adapter.engine.journal import CommandIssued, ResultDelivered, StateRead
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.ports import (
    Change,
    Conflict,
    Contended,
    Create,
    Delete,
    Finish,
    Put,
    TakeKey,
    TooLarge,
    Update,
    WriteHead,
)
from adapter.engine.records import (
    WAITING,
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Parent,
    Part,
    Record,
    Ref,
    Status,
)
from adapter.engine.runtime import Runtime
from adapter.engine.storage import CONTENDED
from adapter.engine.transaction import MAX_INLINE_PARTS, MAX_ITEMS, EffectGroup, Key, Transaction, plan
from adapter.engine.types import CANCELLED, ObjectKey, Outcome

INBOX_PAGE = 48
"""The number of inbox entries that one request reads. One commit can complete so many invocations."""


MAX_TAKE_TRIES = 2
"""How often an invocation tries to take a free key before it goes to the key's inbox."""


class Fenced(Exception):
    """Another attempt or an operator took over. Nothing that this attempt did since its last commit counts.

    Args:
        text: What the commit found.
        ref: The invocation that was taken over. ``None``: nothing in the session may continue.
    """

    def __init__(self, text: str, ref: Ref | None = None) -> None:
        super().__init__(text)
        self.ref = ref


class Exists(Fenced):
    """The store already holds the invocation that the session was to begin with."""

    def __init__(self, found: Meta) -> None:
        super().__init__(f"{found.id} exists")
        self.found = found


class Rewind(Exception):
    """What the handlers saw is no longer true: replay them from what is committed."""


class NewNotifications(Exception):
    """A notification arrived before the suspension was committed."""


class Driver(Protocol):
    """What a commit log needs of the session that runs the code."""

    executions: dict[str, Execution]
    """The executions that run, by their ids."""
    woken: set[str]
    """The ids of the invocations that were to be resumed while they ran here."""

    def on_stored(self, execution: Execution) -> None:
        """A commit has stored an execution that continues to run here."""

    def retire(self, execution: Execution) -> None:
        """An execution no longer runs here."""

    def grant(self, key: Key) -> None:
        """The key may have another owner."""

    def has_unseen(self) -> bool:
        """Return True if there is an event that an attempt has not seen."""
        ...

    async def read_notifications(self, execution: Execution) -> None:
        """Read the notifications to an invocation."""

    def on_queued(self, execution: Execution) -> None:
        """An invocation has to wait for its key, and no longer runs here."""

    def cancel(self, id: str) -> None:
        """Cancel an invocation that is stored."""


class CommitLog:
    """The effects of one session that are not committed.

    Args:
        runtime: What the session shares with others.
        driver: The session.
        root: The id of the invocation that the session begins with.
    """

    def __init__(self, runtime: Runtime, driver: Driver, root: str) -> None:
        self.groups: list[EffectGroup] = []
        self.keys: dict[ObjectKey, Key] = {}
        self.existing: dict[str, Meta] = {}
        """The stored records that the session met when it was about to create them."""
        self.created: set[str] = set()
        """The ids of the invocations that code in this session has created, without those that a rewind has undone."""
        self.has_work_for_others = False
        """True if the log holds an effect that another process waits for."""
        self.queued: set[str] = set()
        """The ids of the invocations created here that have to wait for their keys."""
        self._runtime = runtime
        self._process = runtime.process
        self._storage = runtime.storage
        self._driver = driver
        self._root = root
        self._committed: set[str] = set()
        """The ids among `made` that are committed."""
        self._blobs: set[Ref] = set()
        """The records of large payloads that are stored and not committed yet."""
        self._unsettled: dict[ObjectKey, set[Ref]] = {}
        """The keys to settle after the commit, with the invocations that went to their inboxes."""

    def record(self, group: EffectGroup) -> None:
        """Append effects that are committed together."""
        if not group:
            return
        now = self._process.now()
        group = tuple(replace(each, at=now) if isinstance(each, JournalAppended) else each for each in group)
        self.groups.append(group)
        for effect in group:
            match effect:
                case KeyRequested() | KeyReleased() | StateWritten():
                    key = self.keys.get(effect.execution.key)
                    if key is not None and key.live is not None:
                        _apply(key, key.live, effect)
                case Created(execution):
                    self.created.add(execution.meta.id)
                    self.has_work_for_others = self.has_work_for_others or execution.spec is None
                case Completed(execution) if execution.caller is None and execution.meta.parent is not None:
                    self.has_work_for_others = True
                case _:
                    pass

    def grant_here(self, execution: Execution) -> None:
        """Record that an invocation of the inbox runs here, in the group that released the key to it."""
        for place, group in reversed(list(enumerate(self.groups))):
            if any(isinstance(effect, KeyReleased) and effect.execution.key == execution.key for effect in group):
                self.groups[place] = (*group, KeyGranted(execution))
                return
        raise AssertionError(f"{execution.meta.id} was not given its key here")

    def _ran_from_inbox(self, key: ObjectKey) -> bool:
        """Return True if an invocation of the key's inbox ran here, on an order of entries that is not committed."""
        effects = chain.from_iterable(self.groups)
        return any(isinstance(effect, KeyGranted) and effect.execution.key == key for effect in effects)

    def take_back(self, execution: Execution) -> None:
        """Take back all effects of an invocation of the inbox. It waits as before, and is the key's next owner."""
        steps = (tuple(effect for effect in group if effect.execution is not execution) for group in self.groups)
        self.groups = [group for group in steps if group]
        key = self.keys[execution.key]
        key.next.clear()
        key.live = None
        self.refresh_key(key)

    def rewind(self) -> None:
        """Drop what is not committed."""
        self.groups.clear()
        self.created &= self._committed
        self.has_work_for_others = False
        for key in self.keys.values():
            key.ran_uncommitted = False
            key.live = None
            key.next.clear()

    def executions(self) -> Iterable[Execution]:
        """Return the executions that run, and all that the log names."""
        yield from self._driver.executions.values()
        for group in self.groups:
            for effect in group:
                yield effect.execution

    def advances(self, execution: Execution) -> bool:
        """Return True if the log appends to an execution's journal."""
        return any(
            isinstance(effect, JournalAppended) and effect.execution is execution
            for group in self.groups
            for effect in group
        )

    def uncommitted(self, id: str) -> Execution | None:
        """Return the invocation with this id if it is created here and not committed."""
        born = (effect.execution for group in self.groups for effect in group if isinstance(effect, Created))
        return next((execution for execution in born if execution.meta.id == id and not execution.dropped), None)

    def key(self, key: ObjectKey) -> Key:
        """Return a key as the session knows it."""
        return self.keys.setdefault(key, Key(key))

    def refresh_key(self, key: Key) -> None:
        """Compute the state of a key after the uncommitted effects."""
        if key.live is None:
            key.live = key.state(self._process.now())
            for group in self.groups:
                for effect in group:
                    if not isinstance(effect, KeyRequested | KeyReleased | StateWritten):
                        continue
                    if effect.execution.key == key.key and not effect.execution.dropped:
                        _apply(key, key.live, effect)

    async def suspend(self, waits: Iterable[Suspended]) -> None:
        """Commit the log, and end attempts in the same write.

        Raises:
            NewNotifications: If a notification arrived that an attempt has not seen.
        """
        self.groups += [(wait,) for wait in waits]
        try:
            await self.commit()
        finally:
            self.groups = [group for group in self.groups if not isinstance(group[0], Suspended)]

    async def commit(self, *, keep_steps: bool = False, keep_last: bool = False) -> None:
        """Commit the log in as few requests as possible, and start what became runnable.

        Args:
            keep_steps: Leave out the steps at the end of the log that were issued and have not begun. Nothing depends
                on them.
            keep_last: Leave out the last commit, which would not be full.

        Raises:
            NewNotifications: If an attempt is not to end after all, as a notification arrived for it.
        """
        try:
            await self._commit(keep_steps=keep_steps, keep_last=keep_last)
        finally:
            if self._unsettled and not keep_last:
                await self._settle()

    async def _settle(self) -> None:
        """Settle the keys at which invocations wait, and those that were released while some may wait."""
        names, self._unsettled = self._unsettled, {}
        await self._runtime.handover.settle(names)
        for name in names:  # the next commit may find the key free
            if not self._owner_runs_here(self.keys[name].head):
                self._reread(self.keys[name])
                self.keys[name].contended = False
                self.keys[name].lost_races = 0

    async def _commit(self, *, keep_steps: bool, keep_last: bool) -> None:
        end = len(self.groups)
        while keep_steps and end and _is_step(self.groups[end - 1]):
            end -= 1
        commit_id = new_commit_id()
        tries, most = 0, end
        while end:
            await self._prepare(self.groups[:end])
            transaction, taken = plan(self.keys, self._process.times(), self.groups[: min(end, most)])
            if keep_last and taken == end:
                return
            if taken < len(self.groups) and self._bring_forward(taken):
                continue
            if (waits := self._already_queued(transaction)) is not None:
                await self._on_existing(waits)
                continue
            if self._driver.has_unseen() and any(delta.suspended for delta in transaction.deltas.values()):
                raise NewNotifications
            if transaction.ran_without_key():  # an invocation ran, and its key turns out to be another's
                raise Rewind
            changes, out_of_line = transaction.changes(commit_id, self._following(taken))
            try:
                changes += await self._put_out_of_line(transaction, out_of_line)
                if len(changes) > MAX_ITEMS and taken > 1:
                    raise TooLarge(f"{len(changes)} changes")  # some last segments were larger than a record holds
                tries_of_one = 1 if self._competes_for_key(transaction) else CONTENDED if taken > 1 else None
                await self._storage.commit(changes, commit_id, give_up_after=tries_of_one)
            except Conflict as conflict:
                notified = self._resolve(conflict, changes)
                for execution in notified:
                    await self._driver.read_notifications(execution)
                if any(transaction.deltas[execution.meta.id].suspended for execution in notified):
                    raise NewNotifications from conflict
                tries += 1
                if tries > 1:
                    await self._storage.back_off(tries)
                commit_id = new_commit_id()
                continue
            except (TooLarge, Contended) as error:  # sizes are estimates: text with many escapes is larger
                commit_id = new_commit_id()
                if isinstance(error, Contended) and self._competes_for_key(transaction):
                    self._fall_back_to_inbox(transaction)
                    continue
                if taken == 1:
                    raise
                most = taken // 2
                continue
            tries = 0
            self._on_committed(transaction, taken)
            queued = {id for id, meta in transaction.metas.items() if meta.status is Status.QUEUED}
            if any(effect.execution.meta.id in queued for group in self.groups for effect in group):
                raise Rewind  # an invocation ran here that this commit left in the inbox
            end -= taken
            commit_id = new_commit_id()
        if not self.groups:
            self.has_work_for_others = False

    def _following(self, taken: int) -> set[ObjectKey]:
        """Return the keys that invocations for other processes request in the log after the first ``taken`` groups."""
        rest = chain.from_iterable(self.groups[taken:])
        return {each.execution.key for each in rest if isinstance(each, KeyRequested) and each.execution.spec is None}

    def _bring_forward(self, taken: int) -> bool:
        """Record the results of state reads ahead of later writes that would be committed without them.

        If the process crashed between the two commits, the next attempt would read what this one wrote. Return True if
        any result was moved.
        """
        effects = [(place, effect) for place, group in enumerate(self.groups) for effect in group]
        writers = {effect.execution for place, effect in effects if place < taken and isinstance(effect, StateWritten)}
        answers = [
            (effect.execution, effect.entry)
            for place, effect in effects
            if place >= taken and effect.execution in writers
            if isinstance(effect, JournalAppended) and isinstance(effect.entry, ResultDelivered | StateRead)
        ]
        forward = False
        for execution, answer in answers:
            own = [(place, effect) for place, effect in effects if effect.execution is execution]
            logged = [(place, effect.entry) for place, effect in own if isinstance(effect, JournalAppended)]
            issued = next((place for place, entry in logged if _asks(entry, answer.n)), -1)
            if issued < 0 and not any(_asks(entry, answer.n) for entry in execution.journal):
                continue
            writes = any(issued < place < taken for place, effect in own if isinstance(effect, StateWritten))
            recorded = [entry for place, entry in logged if place < taken]
            there = any(isinstance(entry, StateRead) and entry.n == answer.n for entry in recorded)
            if writes and not there:
                place = max(issued, 0)
                read = JournalAppended(execution, StateRead(answer.n, answer.outcome))
                self.groups[place] = (*self.groups[place], read)
                forward = True
        return forward

    async def _put_out_of_line(self, transaction: Transaction, out_of_line: list[Part | JournalSegment]) -> list[Put]:
        """Put the parts of large payloads that are too much for one commit. Return the changes that the commit still
        needs.

        If the commit does not happen, nothing reads the parts, and their time to live deletes them.
        """
        size = sum(len(part.data) for part in out_of_line)
        if size <= MAX_INLINE_PARTS and len(out_of_line) + transaction.items <= MAX_ITEMS:
            return [Put(part) for part in out_of_line]
        with_record = [part for part in out_of_line if isinstance(part, JournalSegment) or part.name != "input"]
        if any(transaction.makes(part.id) for part in with_record):
            raise TooLarge("what has no record yet can have no journal: it may turn out to have to wait for its key")
        inputs = {part.id for part in out_of_line if isinstance(part, Part) and part.name == "input"}
        there = {id for id in inputs if transaction.deltas[id].execution.input_is_put}
        await self._storage.put_parts(
            [part for part in out_of_line if isinstance(part, Part) and (part.name != "input" or part.id not in there)]
        )
        for id in inputs:
            transaction.deltas[id].execution.input_is_put = True
        segments = [segment for segment in out_of_line if isinstance(segment, JournalSegment)]
        for start in range(0, len(segments), 5):
            try:
                await self._storage.commit([Put(segment) for segment in segments[start : start + 5]], new_commit_id())
            except Conflict as conflict:
                ref = Ref(segments[start].id, segments[start].generation)
                raise Fenced(f"another attempt appends to the journal: {conflict}", ref) from conflict
        for segment in segments:
            transaction.deltas[segment.id].execution.segments += 1
            transaction.segments[segment.id] -= 1
        return []

    async def _prepare(self, groups: list[EffectGroup]) -> None:
        """Read the heads of all keys that the log touches, and the inboxes that name the next owner."""
        touched = dict.fromkeys(
            effect.execution.key
            for group in groups
            for effect in group
            if isinstance(effect, KeyRequested | KeyReleased | StateWritten)
        )
        missing = [key for key in touched if self.key(key).head is None]
        for start in range(0, len(missing), 100):
            for found, head in (await self._storage.heads(missing[start : start + 100])).items():
                self.keys[found].head = head
        for name in touched:
            key = self.keys[name]
            assert key.head is not None
            self.refresh_key(key)
            while key.live is not None and key.live.owner == UNKNOWN:
                await self.read_front(key)

        for effect in (effect for group in groups for effect in group if isinstance(effect, StateWritten)):
            await self._prepare_entry(self.keys[effect.execution.key], effect)

    async def read_front(self, key: Key) -> None:
        """Read more of a key's inbox, unless something else here has changed what is known of it.

        Entries that were read before stay as they are: their invocations may have run here. An entry that was put
        among them since then is found when the inbox is read from its beginning again.
        """
        before = key.front
        known = before or []
        limit = len(known) + INBOX_PAGE
        while True:
            found = await self._storage.read(lambda limit=limit: self._storage.store.inbox(key.key, limit))  # type: ignore[misc]
            further = [entry for entry in found if not known or entry.ticket > known[-1].ticket]
            if further or len(found) < limit:
                break
            limit += INBOX_PAGE
        if key.front is before:
            key.front = [*known, *further]
            key.more = len(found) == limit
        key.live = None
        self.refresh_key(key)

    async def _prepare_entry(self, key: Key, effect: StateWritten) -> None:
        """Store a large state entry, and find out whether the entry that it replaces is large."""
        blobs, head = self._runtime.blobs, key.head
        if effect.blob is not None and effect.blob not in self._blobs and effect.value is not None:
            await blobs.write(effect.blob, key.key, effect.value)
            self._blobs.add(effect.blob)
        if effect.name is not None and effect.name not in key.blobs and head is not None and head.large:
            key.blobs[effect.name] = await blobs.where(key.key, head.state_generation, effect.name)

    def _on_committed(self, transaction: Transaction, taken: int) -> None:
        """Update what the session knows after a commit was applied."""
        del self.groups[:taken]
        for id, delta in transaction.deltas.items():
            execution, meta = delta.execution, transaction.metas[id]
            if delta.entries:
                execution.journal += delta.entries
                if delta.completed is None:
                    execution.segments += transaction.segments.get(id, 0)
                    execution.progress = True
            born = not execution.stored
            if born:
                self._committed.add(id)
                if meta.notifications:
                    execution.notifications["x"] = Outcome(failure=CANCELLED)
                    execution.counted = 1
            execution.meta, execution.stored = meta, True
            if delta.completed is not None:
                self._runtime.notifier.on_completed(meta, delta.completed.outcome)
                for at in journal.pending_sleeps(execution.journal) if meta.epoch > 1 else ():
                    self._runtime.wakeups.unschedule(lifecycle.slept(meta, at))
            elif delta.failed is not None:
                self._runtime.wakeups.schedule(meta)
            elif delta.suspended is not None:
                self._runtime.reports.suspended(meta)
                self._runtime.wakeups.schedule(meta)
                self._driver.retire(execution)
                if id in self._driver.woken:  # it was to be resumed while the commit was under way
                    self._runtime.wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
            elif meta.status is Status.QUEUED:
                self._driver.on_queued(execution)
                execution.caller = None
                self.queued.add(id)
            elif execution.spec is not None:
                self._driver.on_stored(execution)
            elif born and meta.status is Status.SCHEDULED:
                self._runtime.wakeups.schedule(meta)
            elif born:
                self._runtime.wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=True)
            if born and execution.cancelled and meta.status is Status.QUEUED:
                self._driver.cancel(id)  # a cancelled invocation need not wait for its key
        by_parent: dict[Parent, list[Notification]] = {}
        for notification, execution in transaction.notifications:
            assert execution.meta.parent is not None
            by_parent.setdefault(replace(execution.meta.parent, command=0), []).append(notification)
        for parent, notifications in by_parent.items():
            self._process.spawn(
                self._runtime.notifier.notify(notifications, parent.service, parent.deployment, alone=parent.alone)
            )
        for name, ref in transaction.granted:
            self._runtime.wakeups.on_key_granted(ref, name)
        for name in transaction.unsettled:
            arrived = {entry.ref for entry in transaction.states[name].new_entries}
            self._unsettled.setdefault(name, set()).update(arrived)
        for name, state in transaction.states.items():
            key = self.keys[name]
            key.head = replace(transaction.heads[name], version=state.base.version + 1)
            key.front = (state.stored_front() or None) if self._owner_runs_here(key.head) else None
            key.more = state.more
            key.contended = key.contended or bool(state.new_entries)
            key.dead_tickets.clear()
            key.lost_races = 0
            if state.garbage:
                key.blobs.clear()
            if key.overflow is not None:
                key.overflow = state.entries()
            key.blobs |= {name: entry.blob if entry else None for name, entry in state.writes.items()}
            key.ran_uncommitted = key.ran_uncommitted and any(
                isinstance(effect, KeyRequested | KeyReleased | StateWritten)
                and effect.execution.key == name
                and effect.execution.ref != key.head.owner
                for group in self.groups
                for effect in group
            )
            key.live = None
            self.refresh_key(key)
            self._runtime.on_head_written(key.head)
            self._driver.grant(key)

    def _resolve(self, conflict: Conflict, changes: list[Change]) -> list[Execution]:
        """Learn from a conflict, so that the commit can be made anew.

        Returns:
            The executions whose attempts were about to end, and for which notifications arrived.

        Raises:
            Fenced: If another attempt took over.
            Rewind: If code ran on what is no longer true.
        """
        rewind, notified = False, list[Execution]()
        for place, found in conflict.found.items():
            change = changes[place]
            match change:
                case Create() if isinstance(found, Meta) and found.waiters and found.expired(self._process.now()):
                    self._process.spawn(self._runtime.notifier.fan_out(found))  # then it can be replaced
                case Create(meta):
                    rewind = self._on_exists(meta, found) or rewind
                case WriteHead() | TakeKey():
                    rewind = self._on_key_changed(change, found) or rewind
                case Update(ref) if ref in self._blobs:
                    raise Fenced(f"what was put ahead of the commit was given up: {ref.id}", self._put_ahead_by(ref))
                case Finish(ref):
                    for key in self.keys.values():
                        key.blobs = {name: None if blob == ref else blob for name, blob in key.blobs.items()}
                case Update() if change.epoch is not None:
                    if (execution := self._on_record_changed(change, found)) is not None:
                        notified.append(execution)
                case Update():
                    self._mark_dead(change)
                case Delete(InboxEntry(key)):
                    self._reread(self.keys[key])
                    rewind = rewind or self._ran_from_inbox(key)
                case Put(InboxEntry()):
                    pass
                case Put(JournalSegment(id, generation)):
                    raise Fenced(f"another attempt has appended to the journal of {id}", Ref(id, generation))
                case _:
                    raise Fenced(f"{change} met {found}")
        if rewind:
            raise Rewind
        return notified

    def _put_ahead_by(self, ref: Ref) -> Ref | None:
        """Return the invocation that put a large payload ahead of the commit; ``None`` if a message was created with
        it."""
        for effect in chain.from_iterable(self.groups):
            if isinstance(effect, StateWritten) and effect.blob == ref:
                return effect.execution.ref
        return None

    def _already_queued(self, transaction: Transaction) -> Meta | None:
        """Return an invocation that the commit creates and that already waits in an inbox.

        The commit would change its record twice.
        """
        waiting = {entry.ref.id for key in self.keys.values() for entry in key.front or ()}
        executions = (delta.execution for delta in transaction.deltas.values())
        return next((m.meta for m in executions if not m.stored and m.meta.id in waiting), None)

    async def _on_existing(self, meta: Meta) -> None:
        """Handle an invocation that the log creates and that is already stored, as a conflict would.

        Raises:
            Fenced: If it is the session's first invocation.
            Rewind: If code ran as if it were not stored.
        """
        found = await self._storage.find(meta.id)
        if found is None:  # by now it is over, and deleted
            self._reread(self.keys[meta.target.object])
            raise Rewind
        if self._on_exists(meta, found):
            raise Rewind

    def _on_exists(self, meta: Meta, found: Record | None) -> bool:
        """Drop an invocation that is already stored. Return True if code ran as if it were not."""
        assert isinstance(found, Meta)
        if meta.id == self._root:
            raise Exists(found)
        self.existing[meta.id] = found
        for group in self.groups:
            for effect in group:
                if (
                    isinstance(effect, Created)
                    and effect.execution.meta.id == meta.id
                    and effect.execution.meta.generation == meta.generation
                ):
                    effect.execution.dropped = True
                    if effect.execution.meta.kind.exclusive:
                        key = self.key(effect.execution.key)
                        key.live = None
                        if key.head is not None:
                            self.refresh_key(key)
                            self._driver.grant(key)
                    return effect.execution.meta.parent is not None
        return True

    def _on_key_changed(self, change: WriteHead | TakeKey, found: Record | None) -> bool:
        """Learn that another process changed a key. Return True if code ran on its old state."""
        name = change.head.key if isinstance(change, WriteHead) else change.key
        key = self.keys[name]
        head = found if isinstance(found, Head) else Head(name)
        if isinstance(change, WriteHead) and change.owner is not None and head.owner != change.owner:
            raise Fenced(f"{name} is owned by {head.owner}", change.owner)
        ran = key.ran_uncommitted
        key.lost_races += 1
        if head.owner is None and not head.queued and key.lost_races < MAX_TAKE_TRIES:
            self._runtime.recent.mark_shared(name)
        else:
            self._runtime.recent.mark_busy(name)
            key.contended = True
        self._reread(key, head)
        return ran

    def _owner_runs_here(self, head: Head | None) -> bool:
        """Return True if the key's owner runs in this session, or has run and not all of that is committed."""
        owner = head.owner if head is not None else None
        return owner is not None and any(execution.ref == owner for execution in self.executions())

    def _competes_for_key(self, transaction: Transaction) -> bool:
        """Return True if the commit takes a key without an owner, which another process may take as well."""
        return any(
            state.base.owner is None and not self.keys[name].contended for name, state in transaction.states.items()
        )

    def _fall_back_to_inbox(self, transaction: Transaction) -> None:
        """Request the commit's free keys by their inboxes from now on: another transaction is writing one of them.

        Raises:
            Rewind: If code ran on one of the keys.
        """
        ran = False
        for name, state in transaction.states.items():
            key = self.keys[name]
            if state.base.owner is None and not key.contended:
                self._runtime.recent.mark_busy(name)
                key.contended = True
                ran = ran or key.ran_uncommitted
                self._reread(key)
        if ran:
            raise Rewind

    def _reread(self, key: Key, head: Head | None = None) -> None:
        key.head = head
        key.front = None
        key.next.clear()
        key.live = None
        key.blobs.clear()
        key.overflow = None
        if head is not None:
            self.refresh_key(key)

    def _on_record_changed(self, change: Update, found: Record | None) -> Execution | None:
        """Learn that an execution's own record is not as expected. Return the execution if notifications arrived for
        it."""
        execution = next(m for m in self.executions() if m.ref == change.ref)
        if change.status is Status.QUEUED:  # it no longer waits, or not as it did when it was read
            self._reread(self.keys[execution.key], self.keys[execution.key].head)
            raise Rewind
        if (
            not isinstance(found, Meta)
            or found.generation != execution.meta.generation
            or not found.live
            or found.epoch != change.epoch
        ):
            raise Fenced(f"{change.ref.id} was taken over", change.ref)
        execution.meta = replace(execution.meta, waiters=found.waiters, notifications=found.notifications)
        most = change.notifications if change.set.get("status") in WAITING else None
        return execution if most is not None and found.notifications > most else None

    def _mark_dead(self, change: Update) -> None:
        """Note that the invocation that was to be given a key no longer exists."""
        for key in self.keys.values():
            for entry in key.front or ():
                if entry.ref == change.ref:
                    key.dead_tickets.add(entry.ticket)


def _apply(key: Key, state: KeyState, effect: KeyRequested | KeyReleased | StateWritten) -> None:
    match effect:
        case KeyRequested():
            effect.apply(state, key.contended)
        case KeyReleased():
            state.release(effect.execution.ref)
        case StateWritten():
            effect.apply(state)


def _asks(entry: journal.Entry, n: int) -> bool:
    """Return True if the entry issues command ``n``, and that is a state read."""
    return isinstance(entry, CommandIssued) and entry.n == n and entry.kind in ("get", "state-keys")


def _is_step(group: EffectGroup) -> bool:
    """Return True if the group does nothing but issue a step."""
    return (
        len(group) == 1
        and isinstance(group[0], JournalAppended)
        and isinstance(group[0].entry, CommandIssued)
        and group[0].entry.kind == "run"
    )
