"""A key's state, for an operator to read and change."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.engine import blobs
from adapter.engine.ids import new_commit_id
from adapter.engine.keys import KeyState
from adapter.engine.ports import Conflict, WriteHead
from adapter.engine.records import Ref
from adapter.engine.runtime import Runtime
from adapter.engine.transaction import garbage
from adapter.engine.types import ObjectKey

MOST_COUNTED = 1000
"""The most waiting invocations of a key that are counted."""


@dataclass(frozen=True, slots=True)
class Held:
    """A key.

    Attributes:
        version: Changes with every change of the key.
        owner: The invocation that owns the key.
        waiting: The number of invocations that wait for it, up to `MOST_COUNTED`.
        entries: The state entries in the head.
        large: The names of the overflow entries.
    """

    version: int
    owner: Ref | None
    waiting: int
    entries: dict[str, bytes]
    large: tuple[str, ...]


class ChangedError(Exception):
    """The key has another version, or has an owner, whose writes would undo an edit."""


async def view(runtime: Runtime, key: ObjectKey) -> Held:
    """Return a key and its state."""
    head = (await runtime.storage.heads([key]))[key]
    state = KeyState(head, runtime.process.now())
    overflow = await runtime.storage.entries(key, state.state_generation) if state.has_overflow else {}
    waiting = (
        len(await runtime.storage.read(lambda: runtime.storage.store.inbox(key, MOST_COUNTED))) if head.queued else 0
    )
    return Held(head.version, head.owner, waiting, dict(state.state), tuple(sorted(overflow)))


async def read(runtime: Runtime, key: ObjectKey, name: str) -> bytes | None:
    """Return one entry of a key's state."""
    state = KeyState((await runtime.storage.heads([key]))[key], runtime.process.now())
    found = state.read(name)
    return found.value if found else await runtime.blobs.read(key, state.state_generation, name)


async def edit(runtime: Runtime, key: ObjectKey, name: str, value: bytes | None, version: int) -> int:
    """Set one entry of a key's state, or clear it. Return the key's new version.

    Raises:
        ChangedError: If the key has another version, or has an owner.
    """
    head = (await runtime.storage.heads([key]))[key]
    if head.version != version:
        raise ChangedError(f"{key} has version {head.version}")
    if head.owner is not None:
        raise ChangedError(f"{key} is held by {head.owner.id}")
    state = KeyState(head, runtime.process.now())
    if value is None:
        state.clear(name)
    else:
        blob = blobs.blob_for(value)
        if blob is not None:
            await runtime.blobs.write(blob, key, value)
        state.set(name, value, blob)
    before = await runtime.blobs.where(key, state.state_generation, name) if head.large else None
    overflow = [*blobs.changes(state, {name: before}, runtime.process.now()), *garbage(state, runtime.process.times())]
    try:
        await runtime.storage.commit([WriteHead(state.head(), version=version), *overflow], new_commit_id())
    except Conflict:
        raise ChangedError(f"{key} has changed meanwhile") from None
    return version + 1
