"""Give keys without an owner to the first invocation that waits, and tell owners that invocations wait.

An invocation that finds its key taken puts its record and its inbox entry, and only then reads the head. An owner that
releases its key writes the head, and only then reads the inbox. At least one of the two therefore sees the other, and
neither writes an item that others write as well (see ``docs/decisions/0011``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from adapter.engine import lifecycle
from adapter.engine.ids import new_commit_id
from adapter.engine.keys import KeyState
from adapter.engine.ports import Change, Conflict, Contended, Delete, MarkQueued, TakeKey, WriteHead
from adapter.engine.process import Process
from adapter.engine.recent import Recent
from adapter.engine.records import Head, InboxEntry, Ref
from adapter.engine.storage import Storage
from adapter.engine.transaction import garbage
from adapter.engine.types import ObjectKey
from adapter.engine.wakeups import Wakeups
from adapter.frozen import replace


class _Pending:
    """The requests of this process to settle one key. They are served one at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.asked = 0
        """The number of requests so far."""
        self.done = 0
        """The number of requests that have been served. One look at the key serves all that came before it began."""
        self.own: set[Ref] = set()
        """The invocations of this process that went to the inbox."""
        self.released = False
        """True if this process has released the key."""


class Handover:
    """Makes sure that each invocation in an inbox is given its key by some process."""

    def __init__(self, process: Process, storage: Storage, wakeups: Wakeups, recent: Recent) -> None:
        self._process = process
        self._storage = storage
        self._wakeups = wakeups
        self._recent = recent
        self._pending: dict[ObjectKey, _Pending] = {}

    async def settle(self, keys: Mapping[ObjectKey, Collection[Ref]]) -> None:
        """Give keys without an owner to the first invocation that waits. Tell the owners of the other keys that
        invocations wait.

        Call it after the inbox entries, or the releases, are committed.

        Args:
            keys: For each key the invocations that went to its inbox; none if the key was released.
        """
        names = list(keys)
        if len(names) == 1 and self._recent.busy(names[0]):
            await self._settle_in_turn(names[0], keys[names[0]], None)
            return
        for start in range(0, len(names), 100):
            for key, head in (await self._storage.heads(names[start : start + 100])).items():
                if head.owner is None or not head.queued:
                    await self._settle_in_turn(key, keys[key], head)
                else:
                    self._recent.mark_busy(key)

    async def _settle_in_turn(self, key: ObjectKey, own: Collection[Ref], head: Head | None) -> None:
        """Settle a key. If this process is already doing so, share the next look at it with all requests that wait."""
        pending = self._pending.setdefault(key, _Pending())
        pending.users += 1
        pending.asked += 1
        pending.own.update(own)
        pending.released = pending.released or not own
        place = pending.asked
        try:
            async with pending.lock:
                if pending.done < place:
                    asked = pending.asked
                    await self._settle_key(key, pending, head if asked == 1 else None)
                    pending.done = asked
        finally:
            pending.users -= 1
            if not pending.users:
                del self._pending[key]

    async def _settle_key(self, key: ObjectKey, pending: _Pending, head: Head | None) -> None:
        tries = 0
        entries: list[InboxEntry] | None = None
        while True:
            if head is None:
                heads, entries = await asyncio.gather(self._storage.heads([key]), self._first_entries(key))
                head = heads[key]
            if head.owner is not None:
                self._recent.mark_busy(key)
                if head.queued:
                    return
                try:
                    await self._storage.commit([MarkQueued(key, head.owner)], new_commit_id())
                    return
                except Conflict as conflict:
                    found = conflict.found[0]
                    head = found if isinstance(found, Head) else Head(key)
                    continue
            entries = await self._first_entries(key) if entries is None else entries
            if not entries:
                self._recent.mark_free(key)
                return
            if len(entries) > 1:
                self._recent.mark_busy(key)
            else:
                self._recent.mark_free(key)
            eager = pending.released or entries[0].ref in pending.own
            if (tries or eager) and await self._give(head, entries[0], len(entries) > 1):
                return
            self._recent.mark_busy(key)
            tries += 1
            await self._storage.back_off(tries)  # several processes may see a free key: the first that waits takes it
            head = None

    async def _first_entries(self, key: ObjectKey) -> list[InboxEntry]:
        return await self._storage.read(lambda: self._storage.store.inbox(key, 2))

    async def _give(self, head: Head, first: InboxEntry, more: bool) -> bool:
        """Make the first entry's invocation the owner. Return False if the key has changed."""
        now = self._process.now()
        take: list[Change]
        if head.state_generation and head.expires is None:
            take = [TakeKey(head.key, first.ref, queued=more, empty=False)]
        else:
            state = KeyState(head, now)
            state.take(first.ref)
            taken = replace(state.head(), queued=more)
            take = [WriteHead(taken, version=head.version), *garbage(state, self._process.times())]
        try:
            changes = [Delete(first), lifecycle.granted(first.ref, self._process.times()), *take]
            await self._storage.commit(changes, new_commit_id(), give_up_after=1)
        except Contended:
            return False
        except Conflict as conflict:
            if 1 in conflict.found and 0 not in conflict.found:  # the record was lost, and another one was restored
                with suppress(Conflict):
                    await self._storage.commit([Delete(first)], new_commit_id())
            return False
        self._wakeups.on_key_granted(first.ref, head.key)
        return True
