"""Operations on invocations from outside: results, cancel, kill, pause, resume, purge, restart.

Every method is idempotent: a repeated call finds what the first one did. The answer says what it found.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.commit_log import Fenced
from adapter.engine.execution import Execution
from adapter.engine.ids import (
    child_id,
    new_commit_id,
    outcome_commit_id,
    parse_awakeable,
    promise_id,
    random_id,
    restarted_id,
)
from adapter.engine.journal import AttemptStarted, CommandIssued, Entry, encode, started, unanswered_calls
from adapter.engine.keys import KeyState
from adapter.engine.ports import Change, Conflict, Delete, Put, Update, WriteHead
from adapter.engine.prefix import cut_before
from adapter.engine.records import INLINE, Head, InboxEntry, JournalSegment, Meta, Ref, Status, Unreadable, Waiter, cut
from adapter.engine.session import Session
from adapter.engine.transaction import garbage, make_notification
from adapter.engine.transitions import PROMISE_CHECK
from adapter.engine.types import CANCELLED, KILLED, Failure, Kind, ObjectKey, Outcome, Target
from adapter.errors import TerminalError

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

MAX_PREFIX = 1_500_000
"""The most bytes of results that a restarted invocation begins with. They are part of the commit that creates it."""

Acknowledgement = Literal["accepted", "already", "not found"]
"""Whether a request was carried out, came too late or was carried out before, or names nothing that exists."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The invocation that a restart created."""

    id: str


class Control:
    """Operates on invocations by their ids."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- results from outside ---

    async def perform(self, execution: Execution, n: int, command: c.OutboundRequest) -> Outcome | None:
        """Carry out command ``n`` of an execution. Return ``None`` if a notification will bring the result."""
        commit_id = child_id(execution.meta.id, execution.meta.generation, n)[4:]
        match command:
            case c.Attach(id):
                return await self.attach(execution, n, id)
            case c.Output(id):
                meta = await self._engine.find(id)
                if meta is None:
                    return Outcome(c.NOT_FOUND)
                outcome = await self._engine.result(meta) or Outcome(c.NOT_READY)
                return outcome if meta.live or outcome.failure else Outcome(c.READY + (outcome.value or b""))
            case c.Cancel(id):
                return _acknowledged(await self.cancel(id, commit_id=commit_id))
            case c.Complete(id, outcome):
                return _acknowledged(await self.complete(id, outcome, commit_id=commit_id))
            case c.SendSignal(id, name, outcome):
                return _acknowledged(await self.signal(id, name, outcome, commit_id=commit_id))
            case c.GetPromise(name):
                return await self.attach(execution, n, await self._promise(execution.key, name))
            case c.PeekPromise(name):
                return await self.peek_promise(execution.key, name)
            case c.CompletePromise(name, outcome):
                return _acknowledged(await self.complete_promise(execution.key, name, outcome, commit_id=commit_id))

    async def deliver(
        self, ref: Ref, meta: Meta | None, id: str, outcome: Outcome, commit_id: str, *, passed_on: bool = False
    ) -> Acknowledgement:
        """Put a notification once, and wake its receiver.

        Args:
            ref: The receiver.
            meta: The receiver's record.
            id: The notification's id.
            outcome: What it delivers.
            commit_id: The id of the commit. A repeated one is the same notification.
            passed_on: True to wake the receiver again if another request has put the same notification before.
        """
        engine, commit_id = self._engine, outcome_commit_id(commit_id, outcome)
        notification, parts = make_notification(ref, id, outcome, engine.clock.now(), commit_id)
        if meta is None or meta.generation != ref.generation:
            return "not found"
        if not meta.live:  # the notification may have been put before
            items = await engine.notification_items(ref)
            earlier = next((item for item in items if item.id == notification.id), None)
            return "not found" if earlier is None else "accepted" if earlier.commit_id == commit_id else "already"
        notification = replace(notification, after=meta.notifications)
        await engine.put_parts(parts)
        fresh = ours = True
        try:
            await engine.commit([Put(notification)], commit_id)
        except Conflict as conflict:
            fresh, ours = False, getattr(conflict.found[0], "commit_id", "") == commit_id
            if not ours and not passed_on:
                return "already"
        notification, target, cancels = replace(notification, outcome=outcome), meta.target, id.startswith("x")
        await engine.notifier.notify([notification], target.service, meta.deployment, cancels=cancels, fresh=fresh)
        return "accepted" if ours else "already"

    async def complete(self, awakeable: str, outcome: Outcome, *, commit_id: str | None = None) -> Acknowledgement:
        """Complete an awakeable with a result."""
        parsed = parse_awakeable(awakeable)
        if parsed is None:
            return "not found"
        ref, notification = parsed
        meta = await self._engine.find(ref.id)
        return await self.deliver(ref, meta, notification, outcome, commit_id or new_commit_id())

    async def signal(self, id: str, name: str, outcome: Outcome, *, commit_id: str | None = None) -> Acknowledgement:
        """Send a named signal to an invocation. The receiver gets each signal once.

        A repeated commit id is the same signal. If its value differs, the answer is ``already``.
        """
        meta = await self._engine.find(id)
        if meta is None:
            return "not found"
        commit_id = commit_id or new_commit_id()
        return await self.deliver(meta.ref, meta, f"s{commit_id}:{name}", outcome, commit_id)

    async def attach(self, execution: Execution, n: int, id: str) -> Outcome | None:
        """Let command ``n`` of an execution wait for an invocation. Return the outcome if that has completed
        already."""
        while True:
            meta = await self._engine.find(id)
            if meta is None or not meta.live:
                gone = Outcome(failure=Failure(404, f"there is no invocation {id}, or it has expired"))
                outcome = gone if meta is None else await self._engine.result(meta)
                lost = outcome is not None and outcome.failure is not None and outcome.failure.code == 404
                return None if lost and await self._was_notified(execution, n) else outcome
            waiter = Waiter(
                id, meta.generation, execution.ref, n, execution.meta.target.service, execution.meta.deployment
            )
            try:
                await self._engine.commit([Put(waiter), lifecycle.attached(meta.ref)], new_commit_id())
                return None
            except Conflict as conflict:
                if 0 in conflict.found:
                    return None

    async def _was_notified(self, execution: Execution, n: int) -> bool:
        """Return True if the result of command ``n`` is among the notifications, and deliver it.

        An earlier attempt attached. The invocation may have completed and expired since this attempt was loaded.
        """
        notifications = await self._engine.notifications(execution.ref)
        delivered = [each for each in notifications if each.id in (f"a{n}", f"c{n}")]
        session = self._engine.active.get(execution.meta.id)
        if session is not None:
            for notification in delivered:
                session.on_notification(notification)
        return bool(delivered)

    # --- promises: records without a handler, which others wait for ---

    async def peek_promise(self, key: ObjectKey, name: str) -> Outcome:
        """Return a promise's result; without a value if it has none yet."""
        meta = await self._engine.find(await self._promise_id(key, name))
        return (await self._engine.result(meta) if meta is not None else None) or Outcome(None)

    async def complete_promise(
        self, key: ObjectKey, name: str, outcome: Outcome, *, commit_id: str | None = None
    ) -> Acknowledgement:
        """Complete a promise with a result."""
        id = await self._promise(key, name)
        commit_id = outcome_commit_id(commit_id or new_commit_id(), outcome)
        while True:
            meta = await self._engine.find(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "accepted" if meta.commit_id == commit_id else "already"
            now = self._engine.clock.now()
            if len(outcome.value or b"") > INLINE:
                parts = cut(meta.ref, name := f"output-{commit_id}", outcome.value or b"")
                await self._engine.put_parts(parts)
                kept = lifecycle.kept_promise(meta, Outcome(), now, output_parts=len(parts), output_name=name)
            else:
                kept = lifecycle.kept_promise(meta, outcome, now)
            try:
                await self._engine.commit([kept.change], commit_id)
            except Conflict:
                continue
            self._engine.on_completed(kept.meta, outcome)
            return "accepted"

    async def _promise(self, key: ObjectKey, name: str) -> str:
        """Return the id of a promise's record. Create the record if it does not exist."""
        id = await self._promise_id(key, name)
        promise = lifecycle.opened(id, Target(key.service, name, key.key), self._engine.clock.now())
        with contextlib.suppress(Conflict):
            await self._engine.commit([promise], new_commit_id())
        return id

    async def _promise_id(self, key: ObjectKey, name: str) -> str:
        """Return a promise's id. It derives from the workflow run's generation, which the first user of the workflow id
        creates."""
        while True:
            head = (await self._engine.heads([key]))[key]
            state = KeyState(head, self._engine.clock.now())
            if state.generation == head.state_generation.split(".")[0]:
                return promise_id(key, state.generation, name)
            expires = self._engine.clock.now() + PROMISE_CHECK
            fresh = replace(state.head(), expires=expires if state.owner is None else None)
            try:
                write = WriteHead(fresh, version=head.version)
                await self._engine.commit([write, *garbage(state, self._engine.times())], new_commit_id())
            except Conflict:
                continue

    async def check_promise(self, meta: Meta) -> None:
        """Complete a promise whose workflow is over, and delete it after its waiters are notified. Otherwise check
        again later."""
        key = meta.target.object
        head = (await self._engine.heads([key]))[key]
        now = self._engine.clock.now()
        gone = promise_id(key, KeyState(head, now).generation, meta.target.handler) != meta.id
        if not gone:
            await self._engine.apply(lifecycle.checked_promise(meta, now, head.expires))
            return
        ended, change = lifecycle.ended_promise(meta, now)
        if not await self._engine.apply(change):
            return
        if meta.waiters:  # notify the waiters first; the promise stays due and is deleted after that
            await self._engine.sweeper.fan_out(ended)
        else:
            await self._engine.sweeper.delete(ended)

    # --- state that is no longer used ---

    async def collect(self, marker: Meta) -> None:
        """Delete the items that a marker names, then the marker: state entries of an old generation, or input parts."""
        if marker.parent is None:
            await self._engine.blobs.delete_entries(marker.target.object, marker.generation)
        elif not await self._engine.blobs.collect_input(marker, marker.parent.ref):
            return
        now = self._engine.clock.now()
        if not await self._engine.apply(lifecycle.collected(marker.ref, now)):
            return
        await self._engine.read(lambda: self._engine.store.forget(marker.ref, now))

    async def clear_state(self, key: ObjectKey) -> None:
        """Delete the state of a workflow that has expired."""
        now = self._engine.clock.now()
        head = (await self._engine.heads([key]))[key]
        if head.owner is not None or head.expires is None or head.expires > now:
            return
        if head.has_overflow:
            await self._engine.blobs.delete_entries(key, head.state_generation)
        empty = replace(head, state={}, has_overflow=False, large=False, state_generation="", expires=None)
        try:
            await self._engine.commit([WriteHead(empty, version=head.version)], new_commit_id())
        except Conflict:
            return

    # --- keys ---

    async def reclaim(self, waiting: Meta) -> None:
        """Hand over the key that an invocation waits for, if it has no owner or its owner has no live record.

        A key without an owner means that a process ended between its write and its read. An owner releases its key in
        the write that completes it. An owner without a live record was therefore lost: tables were restored to
        different times, or items were deleted. A lost inbox entry is put again.
        """
        key = waiting.target.object
        head = (await self._engine.heads([key]))[key]
        if waiting.dispatches and waiting.ticket is not None:
            entry = InboxEntry(key, waiting.ticket, waiting.ref)
            with contextlib.suppress(Conflict):  # normally the entry exists
                await self._engine.commit([Put(entry), lifecycle.requeued(waiting)], new_commit_id())
        if head.owner is None or not head.queued:
            await self._engine.handover.settle({key: ()})
        if head.owner is None:
            return
        owner = await self._engine.find(head.owner.id)
        if owner is not None and owner.live and owner.ref == head.owner:
            return
        if (await self._engine.heads([key]))[key].version != head.version:
            return  # the owner has completed since
        log.error("%s is owned by %s, of which there is no live record: it goes to who waits next", key, head.owner.id)
        lost = replace(waiting, id=head.owner.id, generation=head.owner.generation)
        head = replace(head, queued=True)
        await Session(self._engine, Execution(lost, b"", None, stored=True), head=head).release()

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
            meta = await self._engine.find(id)
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
            for name in names:
                passed_on = nth is not None
                answer = await self.deliver(meta.ref, meta, name, cancellation, commit_id, passed_on=passed_on)
                if answer == "accepted":
                    return answer
            return "already"

    async def kill(self, id: str) -> Acknowledgement:
        """End an invocation at once, with the calls that it made. A step that runs may still finish.

        The first write stops the invocation. Then its calls are killed, and it is completed last. If this process ends
        meanwhile, the next attempt that is due continues with the calls.
        """
        while True:
            meta = await self._engine.find(id)
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
        """Keep an invocation from continuing until it is resumed. An attempt that runs ends at its next commit."""
        while True:
            meta = await self._engine.find(id)
            if meta is None:
                return "not found"
            if not meta.live or meta.status in (Status.PAUSED, Status.QUEUED):
                return "already"
            if await self.keep_paused(meta):
                return "accepted"

    async def resume(self, id: str, *, deployment: str | None = None) -> Acknowledgement:
        """Continue a paused invocation, or one that waits for its next attempt, now and perhaps on another
        deployment."""
        while True:
            meta = await self._engine.find(id)
            if meta is None:
                return "not found"
            if (meta.status not in (Status.PAUSED, Status.BACKING_OFF) and deployment is None) or not meta.live:
                return "already"
            resumed = lifecycle.resumed(meta, self._engine.times(), deployment)
            if not await self._engine.apply(resumed.change):
                continue
            if resumed.meta.epoch != meta.epoch:
                self._engine.dispatch(meta.ref, meta.target.service, resumed.meta.deployment, fresh=meta.epoch == 0)
            return "accepted"

    async def purge(self, id: str) -> Acknowledgement:
        """Delete a completed invocation, as if it had expired."""
        meta = await self._engine.find(id)
        if meta is None:
            return "not found"
        if meta.live:
            return "already"
        if meta.waiters:
            await self._engine.sweeper.fan_out(meta)
        while True:
            now = self._engine.clock.now()
            changes: list[Change] = [lifecycle.purged(meta.ref, now)]
            if meta.kind is Kind.WORKFLOW:  # what it has left goes with it: the next run of the workflow begins anew
                key = meta.target.object
                head = (await self._engine.heads([key]))[key]
                changes.append(WriteHead(replace(head, expires=now), version=head.version))
            try:
                await self._engine.commit(changes, new_commit_id())
            except Conflict as conflict:
                if 0 in conflict.found:
                    return "not found"
                continue
            await self._engine.sweeper.delete(replace(meta, expires=now))
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
        from adapter.engine.engine import Request

        meta = await self._engine.find(id)
        if meta is None:
            return None
        if meta.kind is Kind.WORKFLOW:
            raise TerminalError("a workflow runs once per id: purge it, then submit it again", code=409)
        input = await self._engine.input(meta)
        new = random_id() if idempotency_key is None else restarted_id(meta.ref, idempotency_key)
        request = Request(meta.target, input, idempotency_key, meta.headers)
        journal = await self._prefix(meta, first) if first else []
        copied = lifecycle.copied(meta, first)
        answer = await self._engine.send(request, id=new, journal=journal, copied=copied)
        return Restarted(answer.id)

    async def _prefix(self, meta: Meta, first: int) -> list[Entry]:
        """Return the entries that an invocation begins with which is restarted from a command."""
        entries, notifications = await self._engine.timed_journal(meta)
        values = {each.id: (await self._engine.with_value(each)).outcome for each in notifications}
        try:
            prefix = cut_before([entry for entry, _ in entries], values, first)
        except ValueError as error:
            raise TerminalError(f"{meta.id} cannot be restarted from {first}: {error}", code=409) from None
        if sum(map(len, encode(prefix))) > MAX_PREFIX:
            raise TerminalError(f"the results before {first} have more than {MAX_PREFIX} bytes", code=413)
        return prefix

    # --- inside ---

    async def end(self, meta: Meta, failure: Failure) -> bool:
        """Complete an invocation with a failure, in whatever state it is. Return False if its record has changed.

        Once begun, this runs to its end even if the caller is cancelled. Until then the invocation has a lease.
        """
        return await self._engine.persist(self._end(meta, failure))

    async def _end(self, meta: Meta, failure: Failure) -> bool:
        times, segments = self._engine.times(), await self._segments_with_marker(meta)
        taken, change = lifecycle.ending(meta, failure, times, segments)
        if not await self._fence(meta, change):
            return False
        if failure == KILLED:
            await self.kill_calls(taken)
        execution = Execution(
            taken, b"", self._engine.spec(taken), stored=True, segments=await self._next_segment(meta)
        )
        head: Head | None = None
        if meta.kind.exclusive:
            head = (await self._engine.heads([execution.key]))[execution.key]
            execution.without_key = head.owner != meta.ref
        try:
            await Session(self._engine, execution, head=None if execution.without_key else head).run()
        except Fenced:
            return False
        self._engine.unschedule(meta)
        return True

    async def _did_nothing(self, meta: Meta) -> bool:
        """Return True if all its attempts failed before they did anything: nothing has to be undone."""
        if meta.status not in (Status.BACKING_OFF, Status.PAUSED):
            return False
        try:
            journal = await self._engine.journal(meta)
            return not any(
                isinstance(entry, CommandIssued) or (isinstance(entry, AttemptStarted) and entry.lost)
                for entry in journal
            )
        except Unreadable:
            return False

    async def keep_paused(self, meta: Meta) -> bool:
        """Stop every attempt, and keep the invocation from continuing. Return False if the record has changed."""
        return await self._fence(meta, lifecycle.paused(meta, await self._segments_with_marker(meta)).change)

    async def _fence(self, meta: Meta, change: Update) -> bool:
        """Commit a change that raises the epoch, so that no attempt can continue, and leave the key's inbox.

        Return False if the record has changed.
        """
        changes: list[Change] = [change]
        if meta.epoch:
            data = encode([started(meta)], [self._engine.clock.now()])[0]
            changes.append(Put(JournalSegment(meta.id, meta.generation, change.set["segments"] - 1, data)))
        queued = lifecycle.waits_in_inbox(meta)
        if queued and meta.ticket is not None:
            # The handover of the key deletes the entry too, so only one of the two writes can apply.
            changes.append(Delete(InboxEntry(meta.target.object, meta.ticket, meta.ref)))
        try:
            await self._engine.commit(changes, new_commit_id())
        except Conflict as conflict:
            if not queued or list(conflict.found) != [len(changes) - 1]:
                return False
            return await self._engine.apply(*changes[:-1])  # the entry was lost
        return True

    async def _segments_with_marker(self, meta: Meta) -> int | None:
        """Return the number of the journal's segments after the marker that stops an attempt."""
        return await self._engine.next_segment(meta) + 1 if meta.epoch else None

    async def _next_segment(self, meta: Meta) -> int:
        return 0 if not meta.epoch else await self._engine.next_segment(meta)

    async def _calls(self, meta: Meta) -> list[str]:
        """Return the ids of its calls that have no result."""
        try:
            journal = await self._engine.journal(meta)
        except Unreadable as error:
            log.error("what it called goes on: %s", error, extra={"invocation_id": meta.id})
            return []
        return [child_id(*meta.ref, n) for n in unanswered_calls(journal) if meta.issuer(n) == meta.ref]


def _acknowledged(acknowledgement: Acknowledgement) -> Outcome:
    return Outcome(b'"' + acknowledgement.encode() + b'"')
