"""What a conflict means for a session: a pure function from what the store holds to a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from adapter.engine.ports import Change, Create, Delete, Put, TakeKey, Update, WriteHead
from adapter.engine.records import WAITING, Head, InboxEntry, JournalSegment, Meta, Record, Ref, Status
from adapter.engine.types import ObjectKey
from adapter.frozen import frozen


@frozen
class Retry:
    """Make the commit anew, from what the store holds."""


@frozen
class Notified:
    """Notifications have arrived for invocations whose attempts were about to end. These attempts continue."""

    refs: tuple[Ref, ...]


@frozen
class Rewind:
    """Code ran on what is not true: replay all from what is committed."""


@frozen
class Drop:
    """Another attempt or an operator took over one invocation. Replay the others from what is committed."""

    ref: Ref
    reason: str


@frozen
class Exists:
    """The store already holds the invocation that the session was to begin with."""

    found: Meta

    @property
    def reason(self) -> str:
        return f"{self.found.id} exists"


Verdict = Retry | Notified | Rewind | Drop | Exists

End = Drop | Exists
"""The verdicts that end a session: `Drop` only if no other invocation is left."""

RETRY: Final = Retry()
REWIND: Final = Rewind()


class Interrupted(Exception):
    """A session cannot go on as it was about to. The verdict says what it has to do."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict}")
        self.verdict = verdict


@frozen
class View:
    """What a session did that is not committed, as far as a verdict depends on it.

    Attributes:
        now: The time, in milliseconds.
        root: The id of the invocation that the session begins with.
        ran_as_owner: The keys that code here used as their owner's before that was committed.
        ran_from_inbox: The keys of which a queued invocation ran here before that was committed.
        blobs: The invocations that write large state entries, by the records of these entries' values.
    """

    now: int
    root: str
    ran_as_owner: Set[ObjectKey]
    ran_from_inbox: Set[ObjectKey]
    blobs: Mapping[Ref, Ref]


def judge(changes: Sequence[Change], found: Mapping[int, Record | None], view: View) -> Verdict:
    """Return what a session has to do after a conflict.

    Args:
        changes: The changes of the commit.
        found: The stored items whose conditions failed, by the places of their changes.
        view: What the session did.
    """
    verdicts = [_judge(changes[place], record, view) for place, record in found.items()]
    for verdict in verdicts:
        if isinstance(verdict, Drop | Exists):
            return verdict
    if REWIND in verdicts:
        return REWIND
    notified = tuple(ref for verdict in verdicts if isinstance(verdict, Notified) for ref in verdict.refs)
    return Notified(notified) if notified else RETRY


def _judge(change: Change, found: Record | None, view: View) -> Verdict:
    match change:
        case Create(meta):
            return _exists(meta, found, view)
        case WriteHead(head, owner=owner) if owner is not None and _owner(found) != owner:
            return Drop(owner, f"{head.key} is owned by {_owner(found)}")
        case WriteHead(head=Head(key=key)) | TakeKey(key=key):
            return REWIND if key in view.ran_as_owner else RETRY
        case Update(ref) if ref in view.blobs:
            return Drop(view.blobs[ref], f"what was put ahead of the commit was given up: {ref.id}")
        case Update() if change.epoch is not None:
            return _taken_over(change, found)
        case Delete(InboxEntry(key)):
            return REWIND if key in view.ran_from_inbox else RETRY
        case Put(JournalSegment(id, generation)):
            return Drop(Ref(id, generation), f"another attempt has appended to the journal of {id}")
        case _:
            # The result of an invocation that was ended is there. Its record says so by the next try at the latest: the
            # transaction that ended it may still be on the record.
            return RETRY


def _exists(meta: Meta, found: Record | None, view: View) -> Verdict:
    assert isinstance(found, Meta)
    if found.waiters and found.expired(view.now):
        return RETRY  # it can be replaced once its waiters are notified
    if meta.id == view.root:
        return Exists(found)
    return RETRY if meta.parent is None else REWIND  # a caller ran as if its call were new


def _owner(found: Record | None) -> Ref | None:
    return found.owner if isinstance(found, Head) else None


def _taken_over(change: Update, found: Record | None) -> Verdict:
    if change.status is Status.QUEUED:  # it no longer waits, or not as it did when it was read
        return REWIND
    same = isinstance(found, Meta) and found.generation == change.ref.generation
    if not same or not isinstance(found, Meta) or not found.live or found.epoch != change.epoch:
        return Drop(change.ref, f"{change.ref.id} was taken over")
    most = change.notifications if change.set.get("status") in WAITING else None
    return Notified((change.ref,)) if most is not None and found.notifications > most else RETRY
