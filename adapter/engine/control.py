"""Operations on invocations from outside: results, cancel, kill, pause, resume, purge, restart.

Every method is idempotent: a repeated call finds what the first one did. The answer says what it found.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from adapter.engine import journal as journals
from adapter.engine import lifecycle
from adapter.engine.deadlocks import attached, deadlock, report
from adapter.engine.execution import Execution
from adapter.engine.ids import (
    child_id,
    new_commit_id,
    random_id,
    restarted_id,
)
from adapter.engine.journal import AttemptStarted, CommandIssued, Entry, encode, started, unanswered_calls
from adapter.engine.notifier import Acknowledgement
from adapter.engine.ports import Change, Conflict, Delete, Put, Update, WriteHead
from adapter.engine.prefix import copied, cut_before
from adapter.engine.process import Repeat
from adapter.engine.records import Copied, Head, InboxEntry, JournalSegment, Meta, Status, Unreadable
from adapter.engine.requests import Answer, Request
from adapter.engine.runtime import Runtime
from adapter.engine.session import Session
from adapter.engine.transitions import Moved
from adapter.engine.types import CANCELLED, KILLED, Failure, Kind, Outcome
from adapter.errors import TerminalError
from adapter.frozen import frozen, replace

log = logging.getLogger("adapter")

MAX_PREFIX = 1_500_000
"""The most bytes of results that a restarted invocation begins with. They are part of the commit that creates it."""


@frozen
class Restarted:
    """The invocation that a restart created."""

    id: str


class Send(Protocol):
    """Stores a message (see `Engine.send`)."""

    async def __call__(self, request: Request, *, journal: Sequence[Entry], copied: tuple[Copied, ...]) -> Answer: ...


class Control:
    """Operates on invocations by their ids."""

    def __init__(self, runtime: Runtime, send: Send) -> None:
        self._runtime = runtime
        self._send = send
        self._process = runtime.process
        self._storage = runtime.storage

    # --- keys ---

    async def reclaim(self, waiting: Meta) -> None:
        """Hand over the key that an invocation waits for, if it has no owner or its owner has no live record.

        A key without an owner means that a process ended between its write and its read. An owner releases its key in
        the write that completes it. An owner without a live record was therefore lost: tables were restored to
        different times, or items were deleted. A lost inbox entry is put again.
        """
        key = waiting.target.object
        head = (await self._storage.heads([key]))[key]
        if waiting.dispatches and waiting.ticket is not None:
            entry = InboxEntry(key, waiting.ticket, waiting.ref)
            with contextlib.suppress(Conflict):  # normally the entry exists
                await self._storage.commit([Put(entry), lifecycle.requeued(waiting)], new_commit_id())
        if head.owner is None or not head.queued:
            await self._runtime.handover.settle({key: ()})
        if head.owner is None:
            return
        owner = await self._storage.find(head.owner.id)
        if owner is not None and owner.live and owner.ref == head.owner:
            return
        if (await self._storage.heads([key]))[key].version != head.version:
            return  # the owner has completed since
        log.error("%s is owned by %s, which has no active record: the next in the queue gets it", key, head.owner.id)
        lost = replace(waiting, id=head.owner.id, generation=head.owner.generation)
        head = replace(head, queued=True)
        await Session(self._runtime, self, Execution(lost, b"", None, stored=True), head=head).release()

    async def check_deadlock(self, start: Meta) -> bool:
        """Fail the youngest call of a cycle that the invocation leads to. Return True if there was a cycle."""
        cycle = await self._runtime.deadlocks.find(start)
        if cycle is None:
            return False
        failure = deadlock(cycle)
        queued = [meta for meta in cycle if meta.status is Status.QUEUED]
        if not queued:
            id, command = attached(cycle, [meta.awaits for meta in cycle])
            waiting = next(meta for meta in cycle if meta.id == id)
            outcome, others = Outcome(failure=failure), _still_waiting(cycle)
            await self._runtime.outbound.deliver(waiting.ref, waiting, f"a{command}", outcome, new_commit_id(), others)
            return True
        youngest = max(queued, key=lambda meta: (meta.created, meta.id))
        if not self._runtime.deployment.hosts(youngest.target):  # its options are known where its service runs
            deployment = youngest.deployment if youngest.epoch else ""
            self._runtime.wakeups.dispatch(youngest.ref, youngest.target.service, deployment, fresh=False)
            return True
        spec = self._runtime.deployment.handler(youngest.target)
        others = _still_waiting(meta for meta in cycle if meta is not youngest)
        if spec is None or spec.options.deadlocks != "report":
            return await self.end(youngest, failure, others)
        if youngest.error != failure.message:
            if not await self._storage.apply(lifecycle.reported(youngest, failure), *others):
                return False
            report(youngest, failure)
        return True

    # --- the life of an invocation ---

    async def cancel(self, id: str, *, commit_id: str | None = None, nth: int | None = None) -> Acknowledgement:
        """Cancel an invocation: its next await raises a terminal error. One that has not begun completes at once.

        An invocation can be cancelled again, to interrupt the code that cleans up after the first cancellation.

        Args:
            id: The invocation's id.
            commit_id: An id for the request. A repeated one is the same request.
            nth: If the caller passes its own cancellation on: the how-manyth since it made the call.
        """
        commit_id = commit_id or new_commit_id()
        names = ["x", f"x:{commit_id}"] if nth is None else ["x" if nth == 1 else f"x:{nth}"]
        while True:
            meta = await self._storage.find(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "already"
            not_begun = meta.status is Status.QUEUED or (meta.epoch == 0 and meta.status is not Status.READY)
            if not_begun or await self._did_nothing(meta):
                if await self.end(meta, CANCELLED):
                    return "accepted"
                continue
            cancellation = Outcome(failure=CANCELLED)
            deliver, passed_on = self._runtime.outbound.deliver, nth is not None
            for name in names:
                answer = await deliver(meta.ref, meta, name, cancellation, commit_id, passed_on=passed_on)
                if answer == "accepted":
                    return answer
            return "already"

    async def kill(self, id: str) -> Acknowledgement:
        """End an invocation at once, with the calls that it made. A step that runs may still finish.

        The first write stops the invocation. Then its calls are killed, and it is completed last. If this process ends
        meanwhile, the next attempt that is due continues with the calls.
        """
        while True:
            meta = await self._storage.find(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "already"
            if await self.end(meta, KILLED):
                return "accepted"

    async def kill_calls(self, meta: Meta) -> None:
        """Kill the calls of an invocation that is stopped and not completed yet."""
        for child in await self._calls(meta):
            await self.kill(child)

    async def pause(self, id: str) -> Acknowledgement:
        """Keep an invocation from continuing until it is resumed. An attempt that runs ends at its next commit.

        One that is being killed is not paused, and neither is one that waits for its key.
        """
        while True:
            meta = await self._storage.find(id)
            if meta is None:
                return "not found"
            ends = not meta.live or meta.outcome is not None
            if ends or meta.status in (Status.PAUSED, Status.QUEUED):
                return "already"
            if await self.keep_paused(meta):
                return "accepted"

    async def resume(self, id: str, *, deployment: str | None = None) -> Acknowledgement:
        """Continue a paused invocation, or one that waits for its next attempt, now and perhaps on another
        deployment."""
        while True:
            meta = await self._storage.find(id)
            if meta is None:
                return "not found"
            if (meta.status not in (Status.PAUSED, Status.BACKING_OFF) and deployment is None) or not meta.live:
                return "already"
            resumed = lifecycle.resumed(meta, self._process.times(), deployment)
            if await self._process.persist(self._resume(meta, resumed), repeated_by=Repeat.DISPATCH):
                return "accepted"

    async def purge(self, id: str) -> Acknowledgement:
        """Delete a completed invocation, as if it had expired."""
        meta = await self._storage.find(id)
        if meta is None:
            return "not found"
        if meta.live:
            return "already"
        if meta.waiters:
            await self._runtime.notifier.fan_out(meta)
        while True:
            now = self._process.now()
            changes: list[Change] = [lifecycle.purged(meta.ref, now)]
            if meta.kind is Kind.WORKFLOW:  # what it has left goes with it: the next run of the workflow begins anew
                key = meta.target.object
                head = (await self._storage.heads([key]))[key]
                changes.append(WriteHead(replace(head, expires=now), version=head.version))
            try:
                await self._storage.commit(changes, new_commit_id())
            except Conflict as conflict:
                if 0 in conflict.found:
                    return "not found"
                continue
            await self._runtime.expiry.delete(replace(meta, expires=now, kept=now))
            return "accepted"

    async def restart(self, id: str, *, idempotency_key: str | None = None, first: int = 0) -> Restarted | None:
        """Run an invocation's request again as a new invocation. Return ``None`` if there is no such invocation.

        Requests with the same idempotency key restart it once.

        Args:
            id: The invocation's id.
            idempotency_key: The key of the request.
            first: The first command to carry out. The new invocation has the results of those before it.

        Raises:
            TerminalError: If it is a workflow's ``run``, or cannot be restarted from that command.
        """
        meta = await self._storage.find(id)
        if meta is None:
            return None
        if meta.kind is Kind.WORKFLOW:
            raise TerminalError("a workflow runs once per id: purge it, then submit it again", code=409)
        input = await self._storage.input(meta)
        new = random_id() if idempotency_key is None else restarted_id(meta.ref, idempotency_key)
        request = Request(meta.target, input, meta.idempotency_key, meta.headers, id=new)
        journal = await self._prefix(meta, first) if first else []
        answer = await self._send(request, journal=journal, copied=copied(meta, first))
        return Restarted(answer.id)

    async def _prefix(self, meta: Meta, first: int) -> list[Entry]:
        """Return the entries that an invocation begins with which is restarted from a command."""
        entries, notifications = await self._storage.timed_journal(meta)
        await self._runtime.calls.ensure_by_journal(meta.ref)
        values = {each.id: (await self._storage.with_value(each)).outcome for each in notifications}
        try:
            prefix = cut_before([entry for entry, _ in entries], values, first)
        except ValueError as error:
            raise TerminalError(f"{meta.id} cannot be restarted from {first}: {error}", code=409) from None
        if sum(map(len, encode(prefix))) > MAX_PREFIX:
            raise TerminalError(f"the results before {first} have more than {MAX_PREFIX} bytes", code=413)
        return prefix

    # --- inside ---

    async def _resume(self, meta: Meta, resumed: Moved) -> bool:
        if not await self._storage.apply(resumed.change):
            return False
        if resumed.meta.status is Status.SCHEDULED and meta.status is Status.PAUSED:
            self._runtime.wakeups.schedule(resumed.meta)
        elif resumed.meta.epoch != meta.epoch:
            target, deployment = meta.target, resumed.meta.deployment
            self._runtime.wakeups.dispatch(meta.ref, target.service, deployment, fresh=meta.epoch == 0)
        return True

    async def end(self, meta: Meta, failure: Failure, required: Sequence[Update] = ()) -> bool:
        """Complete an invocation with a failure, in whatever state it is. Return False if its record has changed.

        Once begun, this runs to its end even if the caller is cancelled. Until then the invocation has a lease.

        Args:
            meta: The invocation's record.
            failure: What it fails with.
            required: What else must not have changed.
        """
        return await self._process.persist(self._end(meta, failure, required), repeated_by=Repeat.LEASE)

    async def _end(self, meta: Meta, failure: Failure, required: Sequence[Update]) -> bool:
        await self._runtime.calls.ensure(meta, begin=failure != KILLED)
        if lifecycle.is_ending(meta, failure):  # another request has stopped it, and either may complete it
            taken = meta
        else:
            times, stored = self._process.times(), await self._next_segment(meta)
            taken, change = lifecycle.ending(meta, failure, times, stored)
            if not await self._fence(meta, change, required):
                return False
        if failure == KILLED:
            await self.kill_calls(taken)
        execution = Execution(
            taken,
            b"",
            self._runtime.deployment.spec(taken),
            stored=True,
            segments=await self._next_segment(meta),
            inline=taken.inline_journal,
        )
        head: Head | None = None
        if meta.kind.exclusive:
            head = (await self._storage.heads([execution.key]))[execution.key]
            execution.without_key = head.owner != meta.ref
        session = Session(self._runtime, self, execution, head=None if execution.without_key else head)
        if await session.run() is not None:
            return False
        if meta.kind is Kind.WORKFLOW and execution.without_key:
            await self._let_state_expire(execution)
        self._runtime.wakeups.unschedule(meta)
        return True

    async def _let_state_expire(self, execution: Execution) -> None:
        """Let what belongs to a workflow that has ended without its key expire with its record: its promises."""
        expires = execution.meta.expires
        while True:
            head = (await self._storage.heads([execution.key]))[execution.key]
            if head.owner is not None or head.expires is None or expires is None or head.expires <= expires:
                return
            if await self._storage.apply(WriteHead(replace(head, expires=expires), version=head.version)):
                return

    async def _did_nothing(self, meta: Meta) -> bool:
        """Return True if all its attempts failed before they did anything: nothing has to be undone."""
        if meta.status not in (Status.BACKING_OFF, Status.PAUSED):
            return False
        try:
            journal = await self._storage.journal(meta)
            return not any(
                isinstance(entry, CommandIssued) or (isinstance(entry, AttemptStarted) and entry.lost)
                for entry in journal
            )
        except Unreadable:
            return False

    async def keep_paused(self, meta: Meta) -> bool:
        """Stop every attempt, and keep the invocation from continuing. Return False if the record has changed."""
        await self._runtime.calls.ensure(meta)
        return await self._fence(meta, lifecycle.paused(meta, await self._next_segment(meta)).change)

    async def _fence(self, meta: Meta, change: Update, required: Sequence[Update] = ()) -> bool:
        """Commit a change that raises the epoch, so that no attempt can continue, and leave the key's inbox.

        The segments that the change counts are put with it: the one that the record holds, if it is to hold it no
        longer, and a marker. Return False if the record has changed, or something else that is required has.
        """
        changes: list[Change] = [change, *required]
        if meta.epoch:
            times = self._process.times()
            put = encode([started(meta, stops=True)], [times.now])
            if meta.inline_journal is not None and "inline_journal" in change.set:
                put.insert(0, meta.inline_journal)
            places = range(change.set["segments"] - len(put), change.set["segments"])
            segments = (JournalSegment(*meta.ref, n, data, ttl=times.ttl) for n, data in zip(places, put, strict=True))
            changes += map(Put, segments)
        queued = lifecycle.waits_in_inbox(meta)
        if queued and meta.ticket is not None:
            # The handover of the key deletes the entry too, so only one of the two writes can apply.
            changes.append(Delete(InboxEntry(meta.target.object, meta.ticket, meta.ref)))
        try:
            await self._storage.commit(changes, new_commit_id())
        except Conflict as conflict:
            if not queued or list(conflict.found) != [len(changes) - 1]:
                return False
            return await self._storage.apply(*changes[:-1])  # the entry was lost
        return True

    async def _next_segment(self, meta: Meta) -> int:
        return 0 if not meta.epoch else await self._storage.next_segment(meta)

    async def _calls(self, meta: Meta) -> list[str]:
        """Make sure of its calls that have no result, and return their ids."""
        try:
            _, segments, found, notifications = await self._storage.items(meta.id)
            if found is None or found.ref != meta.ref:
                return []
            await self._runtime.calls.ensure(found, segments, notifications, begin=False)
            journal = journals.read(meta.id, segments, found.inline_journal, count=found.stored_segments)
        except Unreadable as error:
            log.error("what it called goes on: %s", error, extra={"invocation_id": meta.id})
            return []
        return [child_id(*meta.ref, n) for n in unanswered_calls(journal) if meta.issuer(n) == meta.ref]


def _still_waiting(cycle: Iterable[Meta]) -> list[Update]:
    return [lifecycle.in_deadlock(meta) for meta in cycle]
