"""Durable promises of workflows. A promise is a record without a handler, which others wait for."""

from __future__ import annotations

from contextlib import suppress

from adapter.engine import passive
from adapter.engine.expiry import Expiry
from adapter.engine.ids import new_commit_id, outcome_commit_id, promise_id, workflow_id
from adapter.engine.keys import KeyState
from adapter.engine.lifetimes import DAY
from adapter.engine.notifier import Acknowledgement, Notifier
from adapter.engine.ports import Conflict, WriteHead
from adapter.engine.process import Process
from adapter.engine.records import INLINE, Meta, cut
from adapter.engine.storage import Storage
from adapter.engine.transaction import garbage
from adapter.engine.transitions import PROMISE_CHECK
from adapter.engine.types import ObjectKey, Outcome, Target
from adapter.frozen import replace


class Promises:
    """Reads, completes and checks promises."""

    def __init__(self, process: Process, storage: Storage, expiry: Expiry, notifier: Notifier) -> None:
        self._process = process
        self._storage = storage
        self._expiry = expiry
        self._notifier = notifier

    async def peek(self, key: ObjectKey, name: str) -> Outcome:
        """Return a promise's result; without a value if it has none yet."""
        meta = await self._storage.find(await self._id(key, name))
        return (await self._storage.result(meta) if meta is not None else None) or Outcome(None)

    async def complete(
        self, key: ObjectKey, name: str, outcome: Outcome, *, commit_id: str | None = None
    ) -> Acknowledgement:
        """Complete a promise with a result."""
        id = await self.id_of(key, name)
        commit_id = outcome_commit_id(commit_id or new_commit_id(), outcome)
        while True:
            meta = await self._storage.find(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "accepted" if meta.commit_id == commit_id else "already"
            now = self._process.now()
            if len(outcome.value or b"") > INLINE:
                parts = cut(meta.ref, name := f"output-{commit_id}", outcome.value or b"", None)
                await self._storage.put_parts(parts)
                kept = passive.kept_promise(meta, Outcome(), now, output_parts=len(parts), output_name=name)
            else:
                kept = passive.kept_promise(meta, outcome, now)
            try:
                await self._storage.commit([kept.change], commit_id)
            except Conflict:
                continue
            self._notifier.on_completed(kept.meta, outcome)
            return "accepted"

    async def id_of(self, key: ObjectKey, name: str) -> str:
        """Return the id of a promise's record. Create the record if it does not exist."""
        id = await self._id(key, name)
        promise = passive.opened(id, Target(key.service, name, key.key), self._process.now())
        with suppress(Conflict):
            await self._storage.commit([promise], new_commit_id())
        return id

    async def _id(self, key: ObjectKey, name: str) -> str:
        """Return a promise's id. It derives from the workflow run's generation, which the first user of the workflow id
        creates."""
        while True:
            head = (await self._storage.heads([key]))[key]
            state = KeyState(head, self._process.now())
            if state.generation == head.state_generation.split(".")[0]:
                return promise_id(key, state.generation, name)
            expires = await self._kept_until(key) if state.owner is None else None
            fresh = replace(state.head(), expires=expires)
            try:
                write = WriteHead(fresh, version=head.version)
                await self._storage.commit([write, *garbage(state, self._process.times())], new_commit_id())
            except Conflict:
                continue

    async def _kept_until(self, key: ObjectKey) -> int:
        """Return until when the promises of a workflow that has not started are kept at least."""
        return max(self._process.now(), await self._starts(key) or 0) + PROMISE_CHECK

    async def _starts(self, key: ObjectKey) -> int | None:
        """Return when a workflow that was submitted and has not ended is due."""
        workflow = await self._storage.find(workflow_id(key.service, key.key))
        return workflow.due if workflow is not None and workflow.live else None

    async def check(self, meta: Meta) -> None:
        """Complete a promise whose workflow is over, and delete it after its waiters are notified. Otherwise check
        again later."""
        key = meta.target.object
        head = (await self._storage.heads([key]))[key]
        now = self._process.now()
        gone = promise_id(key, KeyState(head, now).generation, meta.target.handler) != meta.id
        if not gone:
            if head.owner is None and head.expires is not None and (starts := await self._starts(key)) is not None:
                until = max(now, starts) + PROMISE_CHECK  # its workflow is to start later
                if until > head.expires + DAY:
                    if not await self._storage.apply(WriteHead(replace(head, expires=until), version=head.version)):
                        return  # it has just started: the promise stays due
                    head = replace(head, expires=until)
            await self._storage.apply(passive.checked_promise(meta, now, head.expires))
            return
        ended, change = passive.ended_promise(meta, now)
        if not await self._storage.apply(change):
            return
        if meta.waiters:  # notify the waiters first; the promise stays due and is deleted after that
            await self._notifier.fan_out(ended)
        else:
            await self._expiry.delete(ended)
