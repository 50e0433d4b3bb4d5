"""Claim an invocation for an attempt in this process: load it, see whether it is due, and raise its epoch."""

from __future__ import annotations

from contextlib import suppress

from adapter.engine import journal as journals
from adapter.engine import lifecycle, lifetimes
from adapter.engine.control import Control
from adapter.engine.deployment import HandlerSpec
from adapter.engine.execution import Execution
from adapter.engine.ids import new_commit_id
from adapter.engine.journal import AttemptStarted, Entry, NotificationDelivered, encode, started
from adapter.engine.ports import Change, Conflict, Put
from adapter.engine.process import Repeat
from adapter.engine.records import JournalSegment, Meta, Status, Unreadable, cancellations
from adapter.engine.renewal import renew
from adapter.engine.runtime import Runtime
from adapter.engine.types import KILLED, MAX_ERROR, Failure, truncate
from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.frozen import replace


class Claims:
    """Begins attempts."""

    def __init__(self, runtime: Runtime, control: Control) -> None:
        self._runtime = runtime
        self._control = control
        self._process = runtime.process
        self._storage = runtime.storage
        self._deployment = runtime.deployment

    async def begin(self, id: str) -> Execution | None:
        """Begin the first attempt of an invocation that was dispatched. Return ``None`` if more than its record has to
        be read."""
        meta = await self._storage.find(id)
        return self.first(meta) if meta is not None else None

    def first(self, meta: Meta) -> Execution | None:
        """Return the first attempt of an invocation, which is not claimed; ``None`` if more than its record has to be
        read."""
        spec = self._deployment.handler(meta.target)
        if meta.status is not Status.READY or meta.epoch or not meta.at_rest:
            return None
        if spec is None or meta.input is None or meta.notifications:
            return None
        claimed, _ = lifecycle.claim(meta, self._process.times(), deployment=self._deployment.id, segments=None)
        return Execution(claimed, meta.input, spec, stored=True, unclaimed=meta)

    async def claim(self, id: str) -> Execution | None:
        """Begin a further attempt: load the invocation and raise the epoch. Return ``None`` if there is nothing
        to do."""
        try:
            return await self._load_and_claim(id)
        except Unreadable as error:
            await self._cannot_begin(id, error)
            return None

    async def _load_and_claim(self, id: str) -> Execution | None:
        parts, segments, meta, notifications = await self._storage.load(id)
        if meta is None or meta.expired(self._process.now()):
            return None
        # An invocation that is to end with a failure is not replayed.
        journal: list[Entry] = []
        if meta.outcome is None:
            journal = journals.read(id, segments, meta.inline_journal, count=meta.stored_segments)
        inline = journals.inline(segments, meta.inline_journal)
        if meta.status is Status.QUEUED:
            await self._control.check_deadlock(meta)  # another function found it to be the youngest of a cycle
        # It may be resolved although no notification is new: one was counted after the last attempt had seen it. This
        # attempt then suspends the invocation again, with the count as it is. Otherwise the next notification would
        # dispatch nothing, because only the count that first exceeds `wake_after` does.
        wait = self._wait(meta, notified=meta.resolved or len(notifications) > meta.seen)
        if wait is None:
            return None
        if wait > 0:
            await self._process.clock.sleep(wait / 1000)
            return await self._load_and_claim(id)  # another process may have run it meanwhile, and suspended it again
        if lifetimes.is_lost(meta, self._process.now()):
            raise Unreadable(
                f"{id}: parts of its journal may have been deleted, because the sweeper has not renewed them; "
                "kill the invocation, or restart it as a new one"
            )
        begun = any(not isinstance(entry, AttemptStarted) for entry in journal)
        elsewhere = begun and self._deployment.id and meta.deployment not in ("", self._deployment.id)
        if elsewhere or not self._deployment.hosts(meta.target):
            # A timer fires at the function that made it, whatever its version is by then. An invocation that is
            # notified may have been moved to another deployment since it asked.
            deployment = meta.deployment if meta.epoch else ""
            self._runtime.wakeups.dispatch(meta.ref, meta.target.service, deployment, fresh=False)
            return None
        times, spec = self._process.times(), self._deployment.spec(meta)
        if journal and not isinstance(journal[-1], AttemptStarted):  # the last attempt committed something
            meta = replace(meta, failures=min(meta.failures, 1))
        delivered = {entry.id for entry in journal if isinstance(entry, NotificationDelivered)}
        cancelled = cancellations(each.id for each in notifications if each.id not in delivered) > 0
        await self._runtime.calls.ensure(meta, segments, notifications, begin=meta.outcome is None)
        if meta.status is Status.READY and not cancelled and self._exhausted(meta, spec):
            await self._give_up(meta, spec)
            return None
        input = await self._storage.input(meta, parts)
        notifications = [await self._storage.with_value(each) for each in notifications]
        commit_id = new_commit_id()
        place = segments[-1].index + 1 if segments else 0
        at_rest = meta.at_rest
        put: list[str] = []
        if meta.epoch and not at_rest:
            journal.append(started(meta))
            put = [*([inline] if inline else []), *encode(journal[-1:], [times.now])]
        claimed, change = lifecycle.claim(
            meta,
            times,
            deployment=None if begun and meta.deployment else self._deployment.id,
            segments=place + len(put) if put else None,
        )
        stored, meta = meta, claimed
        if not at_rest:
            changes: list[Change] = [change]
            for data in put:
                changes.append(Put(JournalSegment(id, meta.generation, place, data, commit_id, times.ttl)))
                place += 1
            inline = None if put else inline
            try:
                await self._storage.commit(changes, commit_id)
            except Conflict as conflict:
                found = conflict.found.get(0, stored)
                if isinstance(found, Meta) and found.continues(stored):
                    return await self._load_and_claim(id)  # it has changed, and no attempt has begun
                return None
        if lifetimes.renew_at(meta) <= times.now:  # if this process ends first, the next attempt or the sweeper does it
            self._process.spawn(renew(self._storage, meta, times.now), repeated_by=Repeat.RENEWAL)
        if meta.outcome is not None and meta.outcome.failure == KILLED:
            await self._control.kill_calls(meta)
        execution = Execution(meta, input, spec, stored=True, journal=journal, segments=place, inline=inline)
        execution.unclaimed = stored if at_rest else None
        execution.notifications = {each.id: each.outcome for each in notifications}
        execution.counted = meta.notifications
        return execution

    async def _cannot_begin(self, id: str, error: Unreadable) -> None:
        """Handle an attempt that cannot begin because part of its invocation cannot be read.

        Raises:
            Unreadable: If that part is the record.
        """
        meta = await self._storage.find(id)
        if meta is None or not self._deployment.serves(meta.target.service):
            return
        wait = self._wait(meta, notified=meta.resolved)
        if wait is None:
            return
        if wait > 0:
            await self._process.clock.sleep(wait / 1000)
        if meta.outcome is not None and meta.outcome.failure is not None:
            await self._end_unread(meta, meta.outcome.failure)
        else:
            await self.record_unreadable(meta, error)

    async def record_unreadable(self, meta: Meta, error: Unreadable, *, progress: bool = False) -> None:
        """Record a failed attempt for something that cannot be read. Newer code, or an operator, may be able to read
        it."""
        policy = self._deployment.spec(meta).options.retry
        failures = 1 if progress else meta.failures + 1
        text = truncate(str(error), MAX_ERROR)
        wait: int | None = None
        if meta.outcome is not None or policy.attempts is None or failures < policy.attempts:
            wait = round(policy.backoff(failures) * 1000)
        elif policy.exhausted == "kill":
            if await self._end_unread(meta, Failure(500, f"gave up after {failures} attempts: {text}")):
                self._runtime.reports.attempt_failed(meta, policy, failures, error, None)
            return
        now = self._process.now()
        due = None if wait is None else now + wait
        waiting, change = lifecycle.unreadable(meta, now, failures=failures, error=text, due=due)
        if not await self._storage.apply(change):
            return  # it is over or taken over, and what could not be read may have been deleted
        self._runtime.reports.attempt_failed(meta, policy, failures, error, wait)
        self._runtime.wakeups.schedule(waiting)
        if waiting.status is Status.PAUSED:
            self._runtime.listeners.complete(meta.id, None)

    async def _end_unread(self, meta: Meta, failure: Failure) -> bool:
        """End an invocation that cannot be read. This needs nothing but the record. Its calls go on, unless it is
        killed."""
        if failure != KILLED:
            with suppress(Unreadable):
                await self._runtime.calls.ensure_by_journal(meta.ref)
        return await self._control.end(meta, failure)

    def _wait(self, meta: Meta, *, notified: bool) -> int | None:
        """Return in how many milliseconds an attempt is to begin, if that is soon; otherwise ``None``."""
        match meta.status:
            case Status.READY:
                return 0
            case Status.SUSPENDED if notified:
                return 0
            case Status.SCHEDULED | Status.BACKING_OFF | Status.RUNNING | Status.SUSPENDED:
                if meta.continues_at is None:
                    return None
                wait = max(0, meta.continues_at - self._process.now())
                return wait if wait <= (0 if meta.status is Status.RUNNING else MAX_INLINE_WAIT) else None
            case _:
                return None

    @staticmethod
    def _exhausted(meta: Meta, spec: HandlerSpec) -> bool:
        attempts = spec.options.retry.attempts if meta.outcome is None else None
        return attempts is not None and meta.failures >= attempts

    async def _give_up(self, meta: Meta, spec: HandlerSpec) -> None:
        """End or pause an invocation whose process ended in the last attempt of its policy."""
        if spec.options.retry.exhausted == "kill":
            await self._control.end(meta, Failure(500, f"gave up after {meta.failures} attempts: {meta.error}"))
        else:  # the last process may only have stopped for a while: it must not continue either
            await self._control.keep_paused(meta)
