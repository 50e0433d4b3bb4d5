"""Who gets a key that has no owner, and how its owner learns that others wait.

An invocation that finds its key taken puts its record and its inbox entry, and only then reads the head. An owner that
releases its key writes the head, and only then reads the inbox. So at least one of the two sees the other, and neither
writes an item that others write as well (see ``docs/decisions/0011``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from adapter.engine.draft import garbage
from adapter.engine.ids import new_nonce
from adapter.engine.keys import KeyState
from adapter.engine.ports import Change, Conflict, Contended, Delete, MarkQueued, TakeKey, Update, WriteHead
from adapter.engine.records import Head, InboxEntry, Status
from adapter.engine.types import ObjectKey

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


class Handover:
    """Sees to it that no invocation is left waiting for a key that nobody will hand over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def settle(self, keys: Sequence[ObjectKey]) -> None:
        """Give keys without an owner to the first that wait; tell the owners of the others that somebody waits.

        Call it once the inbox entries, or the releases, are committed.
        """
        keys = list(dict.fromkeys(keys))
        if len(keys) == 1 and self._engine.recent.busy(keys[0]):
            heads, entries = await asyncio.gather(self._engine.heads(keys), self._first(keys[0]))
            await self._settle(keys[0], heads[keys[0]], entries)
            return
        for start in range(0, len(keys), 100):
            for key, head in (await self._engine.heads(keys[start : start + 100])).items():
                await self._settle(key, head)

    async def _first(self, key: ObjectKey) -> list[InboxEntry]:
        return await self._engine.read(lambda: self._engine.store.inbox(key, 2))

    async def _settle(self, key: ObjectKey, head: Head, entries: list[InboxEntry] | None = None) -> None:
        engine, tries = self._engine, 0
        while True:
            if head.owner is not None:
                engine.recent.meet(key)
                if head.queued:
                    return
                try:
                    await engine.commit([MarkQueued(key, head.owner)], new_nonce())
                    return
                except Conflict as conflict:
                    found = conflict.found[0]
                    head = found if isinstance(found, Head) else Head(key)
                    continue
            if entries is None:
                entries = await self._first(key)
            if len(entries) > 1:
                engine.recent.meet(key)
            else:
                engine.recent.alone(key)
            if not entries or await self._give(head, entries[0], len(entries) > 1):
                return
            engine.recent.meet(key)
            entries = None
            tries += 1
            if tries > 1:
                await engine.back_off(tries)
            head = (await engine.heads([key]))[key]

    async def _give(self, head: Head, first: InboxEntry, more: bool) -> bool:
        """Make the first that waits the owner. Returns whether it is; else the key has changed."""
        engine, now = self._engine, self._engine.clock.now()
        take: list[Change]
        if head.state_generation and head.expires is None:
            take = [TakeKey(head.key, first.ref, queued=more, empty=False)]
        else:
            state = KeyState(head, now)
            state.take(first.ref)
            taken = replace(state.head(), queued=more)
            take = [WriteHead(taken, version=head.version), *garbage(state, engine.times())]
        ready = {"status": Status.READY, "due": engine.times().grace, "ticket": None, "dispatches": 0}
        try:
            changes = [Delete(first), Update(first.ref, set=ready, status=Status.QUEUED), *take]
            await engine.commit(changes, new_nonce(), give_up_after=1)
        except Contended:
            return False
        except Conflict as conflict:
            if 1 in conflict.found and 0 not in conflict.found:  # the record was lost, and another one restored
                with suppress(Conflict):
                    await engine.commit([Delete(first)], new_nonce())
            return False
        engine.granted(first.ref, head.key)
        return True
