"""Records as items."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.models import Model

from adapter.aws import models
from adapter.aws.models import definitions
from adapter.aws.tables import BY_RECORD, DERIVED, Layout, read, write
from adapter.engine.awaiting import Awaiting, Leaf, Node
from adapter.engine.ids import ticket
from adapter.engine.records import (
    Calling,
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

IDS = st.from_regex(r"inv_[a-z2-7]{32}", fullmatch=True)
GENERATIONS = st.from_regex(r"[a-z2-7]{16}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
TEXT = st.text(max_size=30)
NUMBERS = st.integers(0, 10**13)
TICKETS = st.builds(ticket, st.integers(0, 10**16 - 1), IDS)
OUTCOMES = st.one_of(
    st.builds(Outcome, value=st.none() | st.binary(max_size=20)),
    st.builds(Outcome, failure=st.builds(Failure, st.integers(400, 599), TEXT)),
)
REFS = st.builds(Ref, IDS, GENERATIONS)
KEYS = st.builds(ObjectKey, NAMES, TEXT)
CALLS = st.builds(
    Calling,
    NUMBERS,
    GENERATIONS,
    st.builds(Target, NAMES, NAMES, st.none() | TEXT),
    st.sampled_from(Kind),
    NUMBERS,
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.binary(max_size=20),
)

RECORDS: dict[type[Record], st.SearchStrategy[Any]] = {
    Meta: st.builds(
        Meta,
        id=IDS,
        generation=GENERATIONS,
        target=st.builds(Target, NAMES, NAMES, st.none() | TEXT),
        kind=st.sampled_from(Kind),
        status=st.sampled_from(Status),
        created=NUMBERS,
        deployment=TEXT,
        parent=st.none() | st.builds(Parent, REFS, NUMBERS, NAMES, TEXT),
        headers=st.dictionaries(TEXT, TEXT, max_size=3),
        input=st.none() | st.binary(max_size=20),
        calling=st.none() | CALLS,
        outcome=st.none() | OUTCOMES,
        ticket=st.none() | TICKETS,
        **{name: st.none() | NUMBERS for name in ("wake_after", "timer", "due", "completed", "expires")},
        **dict.fromkeys(
            ("input_parts", "epoch", "failures", "notifications", "seen", "waiters", "dispatches", "output_parts"),
            NUMBERS,
        ),
        **{name: st.none() | TEXT for name in ("error", "inline_journal")},
        commit_id=TEXT,
    ),
    JournalSegment: st.builds(
        JournalSegment, IDS, GENERATIONS, st.integers(0, 99_999_999), TEXT, TEXT, calling=st.none() | CALLS
    ),
    Notification: st.builds(Notification, REFS, TEXT, OUTCOMES, NUMBERS, TEXT, TEXT),
    Part: st.builds(Part, IDS, GENERATIONS, TEXT, st.integers(0, 999_999), st.binary(max_size=20)),
    Waiter: st.builds(Waiter, IDS, GENERATIONS, REFS, NUMBERS, NAMES, TEXT),
    Head: st.builds(
        Head,
        KEYS,
        NUMBERS,
        st.none() | REFS,
        st.booleans(),
        GENERATIONS,
        st.dictionaries(TEXT, st.binary(max_size=20), max_size=3),
        st.booleans(),
        st.booleans(),
        st.none() | NUMBERS,
        TEXT,
    ),
    InboxEntry: st.builds(InboxEntry, KEYS, TICKETS, REFS),
    StateEntry: st.builds(StateEntry, KEYS, GENERATIONS, TEXT, st.binary(max_size=20), st.none() | REFS, NUMBERS),
}


@given(st.one_of(*RECORDS.values()))
def test_what_is_written_is_read(record: Record) -> None:
    assert read(write(record)) == record


@pytest.mark.parametrize("layout", BY_RECORD.values(), ids=lambda layout: layout.record.__name__)
def test_every_field_is_stored(layout: Layout[Any]) -> None:
    in_key = set(layout.read_key("inv_a/k", KEY_SAMPLES[layout.record]))
    assert {field.name for field in fields(layout.record)} == in_key | set(layout.codecs)
    assert in_key.isdisjoint(layout.codecs)


MODELS: dict[type[Record], type[Model]] = {
    Meta: models.MetaItem,
    JournalSegment: models.SegmentItem,
    Notification: models.NotificationItem,
    Part: models.PartItem,
    Waiter: models.WaiterItem,
    Head: models.HeadItem,
    InboxEntry: models.InboxItem,
    StateEntry: models.StateItem,
}


@given(st.one_of(*RECORDS.values()))
def test_items_are_what_the_models_describe(record: Record) -> None:
    described = MODELS[type(record)].get_attributes()
    for name, stored in write(record).items():
        (type_, value), attribute = next(iter(stored.items())), described[name]
        assert type_ == attribute.attr_type
        if hasattr(record, name):
            assert value == attribute.serialize(getattr(record, name))
            assert attribute.deserialize(value) == getattr(record, name)


@pytest.mark.parametrize("layout", BY_RECORD.values(), ids=lambda layout: layout.record.__name__)
def test_the_models_describe_every_attribute_and_no_others(layout: Layout[Any]) -> None:
    derived = {"v"} if layout.record is not Meta else set(DERIVED)
    assert set(MODELS[layout.record].get_attributes()) == {"pk", "sk", *derived, *layout.codecs}


KEY_SAMPLES: dict[type[Record], str] = {
    Meta: "meta",
    JournalSegment: "j#g#00000001",
    Notification: "n#g#c1",
    Part: "p#g#output#000001",
    Waiter: "w#g#inv_w#h#1",
    Head: "head",
    InboxEntry: "in#000000000001",
    StateEntry: "s#g#name",
}


def test_what_the_first_code_of_the_layout_wrote_is_read() -> None:
    """Such a record lists the invocations that it waits for in another attribute, if that may be a deadlock."""
    ref = Ref("inv_a", "g")
    meta = Meta(*ref, Target("S", "h"), Kind.SERVICE, Status.SUSPENDED, 1, wake_after=4)
    former = {**write(meta), "awaits": {"S": '[3,true,["inv_x","inv_y"],[0,2],[3,22]]'}}
    named = (Leaf("call", (0, 0), "inv_x"), Leaf("call", (2, 2), "inv_y"))

    assert read(former) == replace(meta, awaiting=Awaiting(3, Node(True, (*named, Leaf("call", (3, 22))))))
    assert read({**former, "status": {"S": "running"}}) == replace(meta, status=Status.RUNNING)
    later = replace(meta, awaiting=Awaiting(5, Node(True, (Leaf("signal", (23, 23)),))))
    assert read({**former, **write(later)}) == later


def test_sort_keys_in_the_order_of_load() -> None:
    ref = Ref("inv_a", "g")
    items: list[Record] = [
        Part(*ref, "input", 2, b""),
        Part(*ref, "input", 10, b""),
        JournalSegment(*ref, 9, ""),
        JournalSegment(*ref, 10, ""),
        Meta(*ref, Target("S", "h"), Kind.SERVICE, Status.READY, 1),
        Notification(ref, "c1", Outcome(), 1),
        Part(*ref, "output", 0, b""),
        Waiter(*ref, ref, 1),
    ]
    keys = [write(item)["sk"]["S"] for item in items]
    assert keys == sorted(keys)
    assert all(("input#" <= key <= "n$") == (index < 6) for index, key in enumerate(keys))


@pytest.mark.parametrize("history", [True, False])
def test_attributes_of_keys_are_defined_and_no_others(history: bool) -> None:
    for definition in definitions(history).values():
        schemas = [
            definition["KeySchema"],
            *(index["KeySchema"] for index in definition.get("GlobalSecondaryIndexes", [])),
        ]
        used = {key["AttributeName"] for schema in schemas for key in schema}
        assert {attribute["AttributeName"] for attribute in definition["AttributeDefinitions"]} == used
