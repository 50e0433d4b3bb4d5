"""Delete what has expired, what was replaced, and what was put ahead of a commit that did not happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapter.engine import lifecycle
from adapter.engine.blobs import Blobs
from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Conflict, WriteHead
from adapter.engine.process import Process
from adapter.engine.records import Meta, Record, Ref
from adapter.engine.storage import Storage
from adapter.engine.types import Kind, ObjectKey

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
        """Delete an expired invocation: first the items that belong to the record, then the record.

        The record stays as long as a request that was sent before its completion may still apply: a late request to
        create it would start it again. Items that such a request has put are deleted as well.

        The id may be in use again meanwhile. Items of the next generation stay.
        """
        await self.delete_dependents(meta.ref, former=True)
        if meta.kind is Kind.WORKFLOW:
            await self.clear_state(meta.target.object)
        now = self._process.now()
        stays = (meta.completed or 0) + UNDER_WAY
        if now < stays:
            await self._storage.apply(lifecycle.kept(meta.ref, stays))
        else:
            await self._storage.read(lambda: self._storage.store.forget(meta.ref, now))

    async def forget_journal(self, meta: Meta) -> None:
        """Delete the journal of a completed invocation whose result is kept longer."""
        if meta.journal_expires is not None:
            await self.delete_dependents(meta.ref, journal_only=True)
        await self._storage.apply(lifecycle.forgotten(meta))

    async def delete_dependents(self, ref: Ref, *, journal_only: bool = False, former: bool = False) -> None:
        """Delete the items that belong to a record.

        Args:
            ref: The invocation.
            journal_only: True to delete only the journal.
            former: True to delete what an expired record under the same id has left as well, if this record replaced it
                before its items were deleted. Its input stays, because it cannot be told from one that is put ahead of
                the next record.
        """
        storage = self._storage
        cursor: Any = None
        while True:
            found, cursor = await storage.read(lambda cursor=cursor: storage.store.dependents(ref.id, cursor))  # type: ignore[misc]
            keys = [key for key in found if key.generation == ref.generation and (key.journal or not journal_only)]
            others = [key for key in found if key.generation != ref.generation and not key.input] if former else []
            if others:
                latest = await storage.read(lambda: storage.store.peek(ref.id))
                keys += others if latest is None or latest.generation == ref.generation else []
            tries = 0
            while keys:
                left = await storage.read(lambda keys=keys: storage.store.delete(keys[:25]))  # type: ignore[misc]
                keys = [*left, *keys[25:]]
                if left:
                    tries += 1
                    await storage.back_off(tries)
            if cursor is None:
                break

    async def delete_later(self, ref: Ref, found: Record | None) -> None:
        """Delete what was put for an invocation that is over: together with its record, or now if the record is
        gone."""
        if not isinstance(found, Meta) or found.generation != ref.generation:
            await self.delete_dependents(ref)
        elif not found.live and found.due is None:
            await self._storage.apply(lifecycle.kept(ref, found.expires))

    async def collect(self, marker: Meta) -> None:
        """Delete the items that a marker names, then the marker: state entries of an old generation, or input parts."""
        if marker.parent is None:
            await self._blobs.delete_entries(marker.target.object, marker.generation)
        elif not await self._collect_input(marker, marker.parent.ref):
            return
        now = self._process.now()
        if not await self._storage.apply(lifecycle.collected(marker.ref, now)):
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
        given_up, change = lifecycle.given_up(blob, now, expires=True)
        if await self._storage.apply(change):
            await self.delete(given_up)

    async def _collect_input(self, marker: Meta, made: Ref) -> bool:
        """Delete the parts of an input if its invocation was not created. Return False if it may still be created."""
        now = self._process.now()
        if marker.live and not await self._storage.apply(lifecycle.given_up(marker, now, expires=False).change):
            return False
        found = await self._storage.read(lambda: self._storage.store.peek(made.id))
        if found is None or found.ref != made:
            await self.delete_dependents(made)
        return True
