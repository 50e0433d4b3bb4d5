"""Requests of handlers to other invocations: attach, outputs, awakeables, signals, promises of others."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.execution import Execution
from adapter.engine.ids import child_id, new_commit_id, outcome_commit_id, parse_awakeable
from adapter.engine.lifetimes import kept_until
from adapter.engine.notifier import Acknowledgement, Notifier
from adapter.engine.ports import Conflict, Put, Update
from adapter.engine.process import Process, Repeat
from adapter.engine.promises import Promises
from adapter.engine.records import Meta, Ref, Waiter
from adapter.engine.storage import Storage
from adapter.engine.transaction import make_notification
from adapter.engine.types import Failure, Outcome
from adapter.frozen import replace

Request = c.Attach | c.Output | c.Complete | c.SendSignal | c.GetPromise | c.PeekPromise | c.CompletePromise


class Outbound:
    """Carries out requests to other invocations. A repeated request finds what the first one did."""

    def __init__(self, process: Process, storage: Storage, notifier: Notifier, promises: Promises) -> None:
        self._process = process
        self._storage = storage
        self._notifier = notifier
        self._promises = promises

    async def perform(self, execution: Execution, n: int, command: Request) -> Outcome | None:
        """Carry out command ``n`` of an execution. Return ``None`` if a notification will bring the result."""
        commit_id = command_commit_id(execution.ref, n)
        match command:
            case c.Attach(id):
                return await self.attach(execution, n, id)
            case c.Output(id):
                meta = await self._storage.find(id)
                if meta is None:
                    return Outcome(c.NOT_FOUND)
                outcome = await self._storage.result(meta) or Outcome(c.NOT_READY)
                return outcome if meta.live or outcome.failure else Outcome(c.READY + (outcome.value or b""))
            case c.Complete(id, outcome):
                return acknowledged(await self.complete(id, outcome, commit_id=commit_id))
            case c.SendSignal(id, name, outcome):
                return acknowledged(await self.signal(id, name, outcome, commit_id=commit_id))
            case c.GetPromise(name):
                return await self.attach(execution, n, await self._promises.id_of(execution.key, name))
            case c.PeekPromise(name):
                return await self._promises.peek(execution.key, name)
            case c.CompletePromise(name, outcome):
                return acknowledged(await self._promises.complete(execution.key, name, outcome, commit_id=commit_id))

    async def deliver(
        self,
        ref: Ref,
        meta: Meta | None,
        id: str,
        outcome: Outcome,
        commit_id: str,
        required: Sequence[Update] = (),
        *,
        passed_on: bool = False,
    ) -> Acknowledgement:
        """Put a notification once, and wake its receiver.

        Args:
            ref: The receiver.
            meta: The receiver's record.
            id: The notification's id.
            outcome: What it delivers.
            commit_id: The id of the commit. A repeated one is the same notification.
            required: What must not have changed.
            passed_on: True to wake the receiver again if another request has put the same notification before.
        """
        commit_id = outcome_commit_id(commit_id, outcome)
        kept = 0 if meta is None else kept_until(meta)
        notification, parts = make_notification(ref, id, outcome, self._process.now(), commit_id, kept=kept)
        if meta is None or meta.generation != ref.generation:
            return "not found"
        if not meta.live:  # the notification may have been put before
            items = await self._storage.notification_items(ref)
            earlier = next((item for item in items if item.id == notification.id), None)
            return "not found" if earlier is None else "accepted" if earlier.commit_id == commit_id else "already"
        put = replace(notification, after=meta.notifications)
        await self._storage.put_parts(parts)

        async def notify() -> Acknowledgement:
            ours = True
            try:
                await self._storage.commit([Put(put), *required], commit_id)
            except Conflict as conflict:
                ours = getattr(conflict.found.get(0), "commit_id", "") == commit_id
                if not ours and not passed_on:
                    return "already"
            heard, target, cancels = replace(put, outcome=outcome), meta.target, id.startswith("x")
            await self._notifier.notify([heard], target.service, meta.deployment, cancels=cancels)
            return "accepted" if ours else "already"

        # A client that gives up leaves no notification behind of which the receiver does not hear.
        return await self._process.persist(notify(), repeated_by=Repeat.CHECK)

    async def complete(self, awakeable: str, outcome: Outcome, *, commit_id: str | None = None) -> Acknowledgement:
        """Complete an awakeable with a result."""
        parsed = parse_awakeable(awakeable)
        if parsed is None:
            return "not found"
        ref, notification = parsed
        meta = await self._storage.find(ref.id)
        return await self.deliver(ref, meta, notification, outcome, commit_id or new_commit_id())

    async def signal(self, id: str, name: str, outcome: Outcome, *, commit_id: str | None = None) -> Acknowledgement:
        """Send a named signal to an invocation. The receiver gets each signal once.

        A repeated commit id is the same signal. If its value differs, the answer is ``already``.
        """
        meta = await self._storage.find(id)
        if meta is None:
            return "not found"
        commit_id = commit_id or new_commit_id()
        return await self.deliver(meta.ref, meta, f"s{commit_id}:{name}", outcome, commit_id)

    async def attach(self, execution: Execution, n: int, id: str) -> Outcome | None:
        """Let command ``n`` of an execution wait for an invocation. Return the outcome if that has completed
        already."""
        while True:
            meta = await self._storage.find(id)
            if meta is None or not meta.live:
                gone = Outcome(failure=Failure(404, f"there is no invocation {id}, or it has expired"))
                outcome = gone if meta is None else await self._storage.result(meta)
                lost = outcome is not None and outcome.failure is not None and outcome.failure.code == 404
                if lost and (issuer := execution.meta.issuer(n)) != execution.ref:  # its result may have been notified
                    told = await self._storage.notifications(issuer)
                    outcome = next((each.outcome for each in told if each.id == f"c{n}"), outcome)
                    lost = outcome is not None and outcome.failure is not None and outcome.failure.code == 404
                return None if lost and await self._was_notified(execution, n, id) else outcome
            waiter = Waiter(
                id, meta.generation, execution.ref, n, execution.meta.target.service, execution.meta.deployment
            )
            try:
                await self._storage.commit([Put(waiter), lifecycle.attached(meta.ref)], new_commit_id())
                return None
            except Conflict as conflict:
                if 0 in conflict.found:
                    return None

    async def _was_notified(self, execution: Execution, n: int, id: str) -> bool:
        """Return True if the result of command ``n`` is among the notifications, and deliver it.

        An earlier attempt attached. The invocation may have completed and expired since this attempt was loaded. The
        process that completed it may not have notified all waiters yet.
        """
        expired = await self._storage.read(lambda: self._storage.store.peek(id))
        if expired is not None and not expired.live and expired.waiters:
            await self._notifier.fan_out(expired)
        notifications = await self._storage.notifications(execution.ref)
        delivered = [each for each in notifications if each.id in (f"a{n}", f"c{n}")]
        session = self._process.active.get(execution.meta.id)
        if session is not None:
            for notification in delivered:
                session.on_notification(notification)
        return bool(delivered)


def command_commit_id(ref: Ref, n: int) -> str:
    """Return the commit id of an outbound request, the same for each attempt: command ``n`` of an invocation."""
    return child_id(*ref, n)[4:]


def acknowledged(acknowledgement: Acknowledgement) -> Outcome:
    """Return the result of a command that asks for something to be done."""
    return Outcome(b'"' + acknowledgement.encode() + b'"')
