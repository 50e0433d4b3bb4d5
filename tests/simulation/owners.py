"""The owner of a key, and those who wait for it: they are there, and they live."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from adapter.engine.records import Head, InboxEntry, Status
from adapter.engine.types import ObjectKey
from adapter.local.changes import head_address

if TYPE_CHECKING:
    from tests.simulation.watch import WatchedStore


def check(store: WatchedStore, name: ObjectKey) -> None:
    """A key's head or inbox has changed, or the record of somebody who wants it."""
    head = cast("Head | None", store._lookup(head_address(name))) or Head(name)
    inbox: list[InboxEntry] = store.items(name, InboxEntry)
    if head.owner is not None:
        meta = store._record(head.owner.id)
        if meta is None or meta.generation != head.owner.generation or not meta.live:
            store.world.violation(f"{name} is owned by {head.owner}, which is {meta}")
        elif meta.target.object != name:
            store.world.violation(f"{name} is owned by {meta.target}")
        elif meta.status in (Status.QUEUED, Status.SCHEDULED):
            store.world.violation(f"{name}'s owner {meta.id} is {meta.status}")
    for entry in inbox:
        meta = store._record(entry.ref.id)
        if (
            meta is None
            or meta.generation != entry.ref.generation
            or meta.status is not Status.QUEUED
            or meta.ticket != entry.ticket
        ):
            store.world.violation(f"{entry} waits, it is {meta}")
