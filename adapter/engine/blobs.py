"""State entries that are too large for an item. The value is stored in parts, under a record of its own.

The record is put first. It is due when the writer's lease ends. Then the parts are put, and then comes the commit whose
state entry points at the record. That commit also completes the record, and therefore requires that it still exists. A
record that no entry points at is deleted when it is due. A replaced one is due at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapter.engine import lifecycle, passive
from adapter.engine.ids import blob_id, new_commit_id, new_generation
from adapter.engine.keys import KeyState
from adapter.engine.ports import Change, Delete, Put
from adapter.engine.process import Process
from adapter.engine.records import PART, Ref, StateEntry, Unreadable, cut
from adapter.engine.storage import Storage
from adapter.engine.types import ObjectKey, Target
from adapter.frozen import replace


def blob_for(value: bytes) -> Ref | None:
    """Return a new record's reference for a state entry's value; ``None`` if an item can hold the value."""
    return Ref(blob_id(), new_generation()) if len(value) > PART else None


def changes(state: KeyState, blobs: Mapping[str, Ref | None], now: int) -> list[Change]:
    """Return the changes that go with a head: those of overflow entries, and of the blobs that they point at.

    Args:
        state: The key after all effects of the commit.
        blobs: The blobs of the entries as they were before, by the entries' names.
        now: The time, in milliseconds.
    """
    changes: list[Change] = []
    for name, entry in state.writes.items():
        if entry is None:
            changes.append(Delete(StateEntry(state.base.key, state.state_generation, name, b"")))
        elif entry.blob is None:
            changes.append(Put(entry))
        else:
            changes.append(Put(replace(entry, value=b"")))
            changes.append(passive.pointed_at(entry.blob, now))
        blob = blobs.get(name)
        if blob is not None and not state.garbage:
            changes.append(lifecycle.purged(blob, now))
    return changes


class Blobs:
    """Writes, reads and deletes blobs."""

    def __init__(self, process: Process, storage: Storage) -> None:
        self._process = process
        self._storage = storage

    async def write(self, blob: Ref, key: ObjectKey, value: bytes) -> None:
        """Store a value, for a commit to point at."""
        record = passive.stored_ahead(blob, Target(key.service, "state", key.key), self._process.times())
        await self._storage.commit([record], new_commit_id())
        await self._storage.put_parts(cut(blob, "state", value, None))

    async def read(self, key: ObjectKey, generation: str, name: str) -> bytes | None:
        """Read an overflow entry.

        Raises:
            Unreadable: If some of its parts are missing.
        """
        last: StateEntry | None = None
        while True:
            entry = await self._storage.read(lambda: self._storage.store.state(key, generation, name))
            if entry is None or entry.blob is None:
                return None if entry is None else entry.value
            value = await self._storage.payload(entry.blob, "state")
            if -(-len(value) // PART) == entry.parts:
                return value
            if entry == last:  # otherwise it was replaced since it was read
                raise Unreadable(f"state entry {name!r} of {key} lacks some of its {entry.parts} parts")
            last = entry

    async def where(self, key: ObjectKey, generation: str, name: str) -> Ref | None:
        """Return the record under which an entry's value is stored; ``None`` if there is none."""
        entry = await self._storage.read(lambda: self._storage.store.state(key, generation, name))
        return entry.blob if entry is not None else None

    async def delete_entries(self, key: ObjectKey, generation: str) -> None:
        """Delete all overflow entries of a generation of a key's state."""
        entries = list((await self._storage.entries(key, generation)).values())
        for entry in (entry for entry in entries if entry.blob is not None):
            now = self._process.now()
            assert entry.blob is not None
            await self._storage.apply(lifecycle.purged(entry.blob, now))  # perhaps its record is deleted already
        for start in range(0, len(entries), 100):
            await self._storage.commit([Delete(entry) for entry in entries[start : start + 100]], new_commit_id())
