"""What a session does after a conflict, by what the store holds instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapter.engine.conflicts import RETRY, REWIND, Drop, Exists, Notified, Verdict, View, judge
from adapter.engine.ports import Change, Create, Delete, Finish, Put, TakeKey, Update, WriteHead
from adapter.engine.records import Head, InboxEntry, JournalSegment, Meta, Notification, Parent, Record, Ref, Status
from adapter.engine.types import Kind, ObjectKey, Outcome, Target

NOW = 1000
KEY = ObjectKey("Counter", "Mary")
A, B, OTHER = Ref("inv_a", "g"), Ref("inv_b", "g"), Ref("inv_a", "h")
BLOB = Ref("blb_x", "g")
ENTRY = InboxEntry(KEY, "t", B)

IDLE = View(NOW, "inv_root", frozenset(), frozenset(), {})
RAN = replace(IDLE, ran_as_owner={KEY}, ran_from_inbox={KEY})


def meta(ref: Ref = A, status: Status = Status.RUNNING, **fields: Any) -> Meta:
    return Meta(*ref, Target("Counter", "add", "Mary"), Kind.EXCLUSIVE, status, created=1, **{"epoch": 3, **fields})


DONE = meta(status=Status.COMPLETED, expires=NOW + 1)
OURS = Update(A, {"status": Status.COMPLETED}, epoch=3, waiters=0)
SUSPEND = Update(A, {"status": Status.SUSPENDED}, epoch=3, notifications=4)
CALL = Create(meta(parent=Parent(B, 0)), NOW)
MESSAGE = Create(meta(), NOW)
ROOT = Create(meta(Ref("inv_root", "g")), NOW)
OWNED = WriteHead(Head(KEY), owner=A)
FREE = WriteHead(Head(KEY), version=3)
SEGMENT = JournalSegment(*A, 2, "[]")
NOTIFICATION = Notification(A, "c0", Outcome(), 1)


@pytest.mark.parametrize(
    ("change", "found", "view", "verdict"),
    [
        pytest.param(MESSAGE, DONE, IDLE, RETRY, id="a message exists: it is left out"),
        pytest.param(CALL, DONE, IDLE, REWIND, id="a call exists: its caller has to attach to it"),
        pytest.param(CALL, replace(DONE, waiters=1, expires=NOW), IDLE, RETRY, id="waiters have to be told first"),
        pytest.param(ROOT, meta(Ref("inv_root", "h")), IDLE, Exists(meta(Ref("inv_root", "h"))), id="the root exists"),
        pytest.param(FREE, Head(KEY, 4), IDLE, RETRY, id="a head changed, and no code ran on it"),
        pytest.param(FREE, Head(KEY, 4), RAN, REWIND, id="a head changed on which code ran"),
        pytest.param(TakeKey(KEY, A, False, True), Head(KEY, 4), RAN, REWIND, id="a key was taken on which code ran"),
        pytest.param(TakeKey(KEY, A, False, True), Head(KEY, 4), IDLE, RETRY, id="a key was taken"),
        pytest.param(OWNED, Head(KEY, 4, owner=A, queued=True), IDLE, RETRY, id="the owner was told that others wait"),
        pytest.param(OWNED, Head(KEY, 4, owner=B), IDLE, Drop(A, f"{KEY} is owned by {B}"), id="the key is another's"),
        pytest.param(OWNED, None, RAN, Drop(A, f"{KEY} is owned by None"), id="the head is gone"),
        pytest.param(OURS, None, IDLE, Drop(A, "inv_a was taken over"), id="the record is gone"),
        pytest.param(OURS, meta(OTHER), IDLE, Drop(A, "inv_a was taken over"), id="the record is another's"),
        pytest.param(OURS, DONE, IDLE, Drop(A, "inv_a was taken over"), id="the record is completed"),
        pytest.param(OURS, meta(epoch=4), IDLE, Drop(A, "inv_a was taken over"), id="another attempt began"),
        pytest.param(OURS, meta(waiters=1), IDLE, RETRY, id="another one waits for the result"),
        pytest.param(SUSPEND, meta(notifications=5), IDLE, Notified((A,)), id="it is notified as it suspends"),
        pytest.param(SUSPEND, meta(notifications=4, epoch=4), IDLE, Drop(A, "inv_a was taken over"), id="resumed"),
        pytest.param(replace(OURS, status=Status.QUEUED), meta(), IDLE, REWIND, id="it no longer waits in the inbox"),
        pytest.param(Update(B, {}, status=Status.QUEUED), None, IDLE, RETRY, id="the next owner is gone"),
        pytest.param(Update(BLOB, {}), None, replace(IDLE, blobs={BLOB: A}),
                     Drop(A, "what was put ahead of the commit was given up: blb_x"), id="a large entry was given up"),
        pytest.param(Finish(BLOB), None, IDLE, RETRY, id="a former entry is deleted already"),
        pytest.param(Delete(ENTRY), None, IDLE, RETRY, id="an entry is gone"),
        pytest.param(Delete(ENTRY), None, RAN, REWIND, id="an entry is gone, and its invocation ran here"),
        pytest.param(Put(ENTRY), ENTRY, IDLE, RETRY, id="an entry is there already"),
        pytest.param(Put(SEGMENT), SEGMENT, IDLE, Drop(A, "another attempt has appended to the journal of inv_a"),
                     id="another attempt appends to the journal"),
        pytest.param(Put(NOTIFICATION), NOTIFICATION, IDLE, RETRY, id="a result is there, and its sender's end is not"),
    ],
)  # fmt: skip
def test_one_change(change: Change, found: Record | None, view: View, verdict: Verdict) -> None:
    assert judge([change], {0: found}, view) == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, RETRY),
        ({0: meta(notifications=5)}, Notified((A,))),
        ({0: meta(notifications=5), 1: Head(KEY, 4)}, REWIND),
        ({1: Head(KEY, 4), 2: None}, Drop(B, "inv_b was taken over")),
        ({0: meta(epoch=9), 2: None}, Drop(A, "inv_a was taken over")),
        ({1: Head(KEY, 4), 3: NOTIFICATION}, REWIND),
    ],
)
def test_of_several_changes_the_gravest_counts(found: dict[int, Record | None], verdict: Verdict) -> None:
    assert judge([SUSPEND, FREE, replace(OURS, ref=B), Put(NOTIFICATION)], found, RAN) == verdict
