"""Delete expired records, and the items that have no time to live or are not to wait for it."""

from __future__ import annotations

from typing import Any

from adapter.engine import lifecycle, lifetimes, passive
from adapter.engine.blobs import Blobs
from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Conflict, WriteHead
from adapter.engine.process import Process
from adapter.engine.records import Meta, Ref
from adapter.engine.storage import Storage
from adapter.engine.types import Kind, ObjectKey
from adapter.frozen import replace

UNDER_WAY = 15 * 60 * 1000
"""Milliseconds after which no request that was sent before can still apply. AWS refuses a request whose signature is
`older than five minutes <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>`_."""


class Expiry:
    """Deletes records and the items that belong to them."""

    def __init__(self, process: Process, storage: Storage, blobs: Blobs) -> None:
        self._process = process
        self._storage = storage
        self._blobs = blobs

    async def delete(self, meta: Meta) -> None:
        """Delete a record that has expired, with the items that have no time to live, and those of a purged one.

        The record stays as long as a request that was sent before its completion may still apply: a late request to
        create it would start it again. Items that such a request has put to a purged one are deleted as well.

        The id may be in use again meanwhile. Items of the next generation stay.
        """
        if not lifetimes.is_kept(meta):
            await self.delete_dependents(meta.ref)
        if meta.kind is Kind.WORKFLOW:
            await self.clear_state(meta.target.object)
        now = self._process.now()
        stays = (meta.completed or 0) + UNDER_WAY
        if now < stays:
            await self._storage.apply(lifecycle.kept(meta.ref, stays))
        else:
            await self._storage.read(lambda: self._storage.store.forget(meta.ref, now))

    async def delete_dependents(self, ref: Ref, *, of_former: bool = False) -> None:
        """Delete the items that belong to a record, before their time to live ends or because they have none.

        Args:
            ref: The invocation.
            of_former: True to delete what expired records under the same id have left instead. What is new stays: an
                input may have been put ahead of the next record, and segments stop attempts that stood still.
        """
        storage = self._storage
        cursor: Any = None
        while True:
            found, cursor = await storage.read(lambda cursor=cursor: storage.store.dependents(ref.id, cursor))  # type: ignore[misc]
            keys = [key for key in found if key.generation == ref.generation]
            if of_former:
                latest = await storage.read(lambda: storage.store.peek(ref.id))
                current = latest is None or latest.generation == ref.generation
                since = lifetimes.time_to_live(self._process.now() - UNDER_WAY)
                others = [key for key in found if key.generation != ref.generation]
                keys = [key for key in others if current and (key.ttl or since) < since]
            tries = 0
            while keys:
                left = await storage.read(lambda keys=keys: storage.store.delete(keys[:25]))  # type: ignore[misc]
                keys = [*left, *keys[25:]]
                if left:
                    tries += 1
                    await storage.back_off(tries)
            if cursor is None:
                break

    async def collect(self, marker: Meta) -> None:
        """Delete the state entries of an old generation, which a marker names, then the marker."""
        await self._blobs.delete_entries(marker.target.object, marker.generation)
        now = self._process.now()
        if not await self._storage.apply(passive.collected(marker.ref, now)):
            return
        await self._storage.read(lambda: self._storage.store.forget(marker.ref, now))

    async def clear_state(self, key: ObjectKey) -> None:
        """Delete the state of a workflow that has expired."""
        now = self._process.now()
        head = (await self._storage.heads([key]))[key]
        if head.owner is not None or head.expires is None or head.expires > now:
            return
        if head.has_overflow:
            await self._blobs.delete_entries(key, head.state_generation)
        empty = replace(head, state={}, has_overflow=False, large=False, state_generation="", expires=None)
        try:
            await self._storage.commit([WriteHead(empty, version=head.version)], new_commit_id())
        except Conflict:
            return

    async def give_up_blob(self, blob: Meta) -> None:
        """Delete a blob that no entry points at, unless one does by now."""
        now = self._process.now()
        given_up, change = passive.given_up(blob, now)
        if await self._storage.apply(change):
            await self.delete(given_up)
