"""Records to store."""

from __future__ import annotations

from typing import Any

from adapter.engine.ids import new_commit_id, random_id
from adapter.engine.ports import Change, Conflict, Create, Put, Store, WriteHead
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Record,
    Ref,
    Status,
    ending_of,
)
from adapter.engine.types import Kind, ObjectKey, Outcome, Target

NOW = 1_712_345_678_901
GENERATION = "g" * 16
OTHER_GENERATION = "h" * 16
KEY = ObjectKey("Counter", "Mary")


def meta(id: str | None = None, **fields: Any) -> Meta:
    """A record with the fields that every one has."""
    defaults: dict[str, Any] = {
        "generation": GENERATION,
        "target": Target("Counter", "add", "Mary"),
        "kind": Kind.EXCLUSIVE,
        "status": Status.READY,
        "created": NOW,
    }
    return Meta(id or random_id(), **{**defaults, **fields})


def completed(id: str | None = None, **fields: Any) -> Meta:
    """A completed record, which expires a second after it was created."""
    done = {"status": Status.COMPLETED, "outcome": Outcome(b"1"), "completed": NOW, "expires": NOW + 1000}
    done["ended"] = ending_of(fields.get("outcome") or Outcome(b"1"))
    return meta(id, **{**done, **fields})


def segment(ref: Ref, index: int, data: str = "[]") -> JournalSegment:
    return JournalSegment(ref.id, ref.generation, index, data)


def part(ref: Ref, name: str, index: int, data: bytes = b"x") -> Part:
    return Part(ref.id, ref.generation, name, index, data)


def notification(ref: Ref, id: str, outcome: Outcome | None = None) -> Notification:
    return Notification(ref, id, outcome or Outcome(b"1"), NOW)


def waiting(ticket: int, key: ObjectKey = KEY) -> InboxEntry:
    return InboxEntry(key, f"{ticket:016}", Ref(f"inv_{ticket}", GENERATION))


async def commit(store: Store, *changes: Change, commit_id: str | None = None) -> str:
    """Commit, and return its id."""
    commit_id = commit_id or new_commit_id()
    await store.commit(changes, commit_id)
    return commit_id


async def created(store: Store, *, now: int = NOW, **fields: Any) -> Meta:
    """A stored record."""
    record = meta(**fields)
    await commit(store, Create(record, now))
    return record


async def owned(store: Store, owner: Ref, **fields: Any) -> Head:
    """A stored head, as read back."""
    await commit(store, WriteHead(Head(KEY, owner=owner, **fields), version=0))
    return (await store.heads([KEY]))[KEY]


async def refused(store: Store, *changes: Change, commit_id: str | None = None) -> dict[int, Record | None]:
    """Commit what must be refused, and return what the store found."""
    try:
        await commit(store, *changes, commit_id=commit_id)
    except Conflict as conflict:
        return dict(conflict.found)
    raise AssertionError(f"{changes} applied")


async def put(store: Store, *items: Any) -> None:
    """Put items, each by a commit of its own."""
    for item in items:
        await commit(store, Put(item))
