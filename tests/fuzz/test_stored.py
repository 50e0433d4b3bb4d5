"""What is stored, with anything done to it: it is read as it was meant, or said to be unreadable, and nothing else.

What then becomes of an invocation is in ``tests/contract/test_broken*``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.aws.tables import BY_SK, Item, StoredFormatError, read, write
from adapter.engine.awaiting import Awaiting, Leaf, Node
from adapter.engine.journal import (
    AttemptStarted,
    CommandIssued,
    Entry,
    JournalFormatError,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
    decode,
    encode,
    inline,
)
from adapter.engine.journal import read as read_journal
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Parent,
    Part,
    Record,
    Ref,
    StateEntry,
    Status,
    Waiter,
)
from adapter.engine.types import Failure, Kind, ObjectKey, Outcome, Target
from tests.fuzz.bounds import bounded

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
outcomes = st.one_of(
    st.builds(Outcome, st.none() | st.binary(max_size=10)),
    st.builds(Failure, st.integers(400, 599), text).map(lambda failure: Outcome(failure=failure)),
)


@st.composite
def journals(draw: st.DrawFn) -> list[Entry]:
    """Entries, their commands numbered as an attempt numbers them."""
    entries: list[Entry] = []
    count = 0
    for _ in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["command", "sleep", "done", "read", "noted", "tried", "began"])):
            case "command":
                entries.append(
                    CommandIssued(
                        count,
                        draw(st.sampled_from(["run", "call", "get"])),
                        draw(text),
                        value=draw(st.none() | outcomes),
                    )
                )
                count += 1
            case "sleep":
                entries.append(CommandIssued(count, "sleep", draw(text), at=draw(st.integers(0, 10**13))))
                count += 1
            case "done":
                entries.append(ResultDelivered(draw(st.integers(-1, 5)), draw(outcomes)))
            case "read":
                entries.append(StateRead(draw(st.integers(-1, 5)), draw(outcomes)))
            case "noted":
                entries.append(NotificationDelivered(draw(st.integers(-1, 5)), draw(text)))
            case "tried":
                entries.append(
                    StepRetried(*draw(st.tuples(st.integers(-1, 5), st.integers(-1, 9), st.integers(0, 10**13))))
                )
            case _:
                failed = draw(st.none() | st.integers(0, 10**13))
                error = draw(text) if failed is not None else ""
                entries.append(AttemptStarted(draw(st.integers(2, 9)), draw(st.booleans()), failed, error))
    return entries


REF = Ref("inv_" + "a" * 32, "b" * 16)
RECORDS: list[Record] = [
    Meta(
        *REF,
        Target("Book", "buy", "Mary"),
        Kind.EXCLUSIVE,
        Status.SUSPENDED,
        1,
        parent=Parent(REF, 1),
        headers={"a": "b"},
        input=b"1",
        awaiting=Awaiting(
            1, Node(False, (Leaf("call", (1, 1), "inv_x"), Node(True, (Leaf("sleep", (2, 3), until=4),))))
        ),
        outcome=Outcome(b"1"),
        due=1,
        expires=2,
    ),
    JournalSegment(*REF, 1, "1.[]", "n"),
    Notification(REF, "c7", Outcome(b"1"), 1),
    Part(*REF, "output-1", 0, b"x"),
    Part(*REF, "input", 0, b"x"),
    Waiter(*REF, REF, 1),
    Head(ObjectKey("Book", "Mary"), 1, REF, True, "g", {"a": b"1"}),
    InboxEntry(ObjectKey("Book", "Mary"), "0" * 28, REF),
    StateEntry(ObjectKey("Book", "Mary"), "g", "a/b#c", b"1"),
]
attributes = st.one_of(
    st.none(),
    st.builds(
        lambda text: {"S": text}, st.text(max_size=20) | st.sampled_from(["", "[]", "{}", "1", "null", "a#b", "a/b/c"])
    ),
    st.builds(lambda number: {"N": str(number)}, st.integers() | st.just("1.5")),
    st.builds(lambda data: {"B": data}, st.binary(max_size=10)),
    st.sampled_from([{"NULL": True}, {"M": {}}, {"M": {"value": {"S": "x"}}}, {"L": []}, {}]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


class TestJournals:
    @given(journals())
    @bounded(200)
    def test_round_trip(self, entries: list[Entry]) -> None:
        assert decode(encode(entries)) == [(entry, None) for entry in entries]

    @given(journals(), st.data())
    @bounded(200)
    def test_round_trip_with_times(self, entries: list[Entry], data: st.DataObject) -> None:
        size = len(entries)
        times = data.draw(st.lists(st.integers(1, 10**13), min_size=size, max_size=size))
        assert decode(encode(entries, times)) == list(zip(entries, times, strict=True))

    @given(journals(), st.integers(0, 6), st.integers(1, 10**13))
    @bounded(200)
    def test_a_segment_repeats_the_one_before(self, entries: list[Entry], place: int, at: int) -> None:
        times = [at + 7 * n for n in range(len(entries))]
        [first] = encode(entries[:place], times[:place])
        [whole] = encode(entries[place:], times[place:], after=first)
        assert decode([whole]) == list(zip(entries, times, strict=True))
        if entries[:place]:
            assert inline([JournalSegment(*REF, 0, whole)], first) is None

    def test_version_1_has_no_times(self) -> None:
        assert decode(['1.[["i",0,"run","charge"]]', '1<[["b",', "1>2,1]]"]) == [
            (CommandIssued(0, "run", "charge"), None),
            (AttemptStarted(2, lost=True), None),
        ]

    @given(journals(), st.data())
    @bounded(500)
    def test_a_segment_with_something_done_to_it(self, entries: list[Entry], data: st.DataObject) -> None:
        [segment] = encode(entries)
        start = data.draw(st.integers(0, len(segment)))
        end = data.draw(st.integers(start, min(len(segment), start + 5)) | st.just(len(segment)))
        _readable(segment[:start] + data.draw(st.text(max_size=3)) + segment[end:])

    @given(values)
    @bounded(200)
    def test_a_segment_of_something_else(self, value: Any) -> None:
        _readable("1." + json.dumps(value))
        _readable("1." + json.dumps([["i", 0, value, "x"], ["d", 0, value], value]))

    def test_nesting(self) -> None:
        with pytest.raises(JournalFormatError):
            decode(["1." + "[" * 100_000])

    @given(st.lists(st.sampled_from(["1.[]", "1<[", "1-", "1>]", "1>", "2.[]", "2>]", "3."]), max_size=6))
    @bounded(200)
    def test_cuts(self, segments: list[str]) -> None:
        try:
            assert decode(segments) == []
        except JournalFormatError as error:
            _said(error)

    @given(st.sets(st.integers(0, 5)))
    @bounded(64)
    def test_missing_segments(self, there: set[int]) -> None:
        segments = [JournalSegment(*REF, index, "1.[]") for index in sorted(there)]
        if there == set(range(len(there))):
            assert read_journal(REF.id, segments) == []
        else:
            with pytest.raises(JournalFormatError, match=f"{REF.id}: segment [0-9] of the journal is missing"):
                read_journal(REF.id, segments)


def _readable(segment: str) -> None:
    try:
        entries = decode([segment])
    except JournalFormatError as error:
        _said(error)
    else:
        only = [entry for entry, _ in entries]
        assert [entry for entry, _ in decode(encode(only))] == only


def _said(error: Exception) -> None:
    assert "journal" in str(error)


class TestItems:
    @pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
    def test_an_item_with_something_done_to_it(self, record: Record) -> None:
        whole = write(record)
        assert read(whole) == record

        @given(st.dictionaries(st.sampled_from(sorted(whole.keys() - {"pk", "sk"})), attributes, min_size=1))
        @bounded(150)
        def check(damage: dict[str, Any]) -> None:
            item = {name: value for name, value in {**whole, **damage}.items() if value is not None}
            found = _read(item)
            assert found is None or type(found) is type(record)

        check()

    @given(st.sampled_from(RECORDS), st.text(max_size=20), st.sampled_from([*BY_SK, "", "k"]), st.text(max_size=10))
    @bounded(300)
    def test_an_item_of_another_key(self, record: Record, pk: str, kind: str, sk: str) -> None:
        item = {**write(record), "pk": {"S": pk}, "sk": {"S": kind + sk}}
        _read(item)


def _read(item: Item) -> Record | None:
    """The record; ``None`` where the item is refused, and named."""
    try:
        return read(item)
    except StoredFormatError as error:
        said = str(error)
    assert said.startswith(f"item {item['pk']['S']}/{item['sk']['S']} (version ")
    return None
