"""The framing and the messages of the service protocol, as bytes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.restate import messages as m
from adapter.restate.answers import EndpointError, read_answer, recorded
from adapter.restate.awaiting import leaves, wants_all
from adapter.restate.wire import MAX_FRAME, Frame, Message, ProtocolError, read_frames, write_frame
from tests.fuzz.bounds import bounded

VECTORS: dict[str, str] = json.loads(Path(__file__).with_name("vectors.json").read_text())
"""Messages as protobuf's own library writes them from ``protocol.proto``, with all fields set."""


@pytest.mark.parametrize("name", VECTORS)
def test_messages_are_read_and_written_as_protobuf_has_them(name: str) -> None:
    kind: type[Message] = getattr(m, name.split()[0])
    written = bytes.fromhex(VECTORS[name])
    assert kind.decode(written).encode() == written


def test_fields_have_the_names_of_their_numbers() -> None:
    start = m.Start.decode(bytes.fromhex(VECTORS["Start"]))
    assert (start.id, start.known_entries, start.key, start.retry_count) == (b"\x01\x02", 300, "k", 2)
    assert start.random_seed == 2**63
    call = m.Call.decode(bytes.fromhex(VECTORS["Call"]))
    assert (call.service, call.handler, call.id_completion_id, call.completion_id) == ("S", "h", 1, 2)


def test_suspensions_of_all_versions_are_trees() -> None:
    flat = m.Suspension.decode(bytes.fromhex(VECTORS["Suspension v5"]))
    assert flat.future == m.Future([1, 2], [17], ["go"], combinator=m.FIRST_COMPLETED)
    tree = m.Suspension.decode(bytes.fromhex(VECTORS["Suspension"])).future
    assert leaves(tree) == [1, 200, "#17", ":go", 3]
    assert wants_all(tree.nested[0])


def test_numbers_that_are_repeated_are_read_packed_or_not() -> None:
    assert m.Future.decode(bytes.fromhex("08010802")) == m.Future.decode(bytes.fromhex("0a020102"))


def test_fields_of_newer_versions_are_skipped() -> None:
    assert m.Value.decode(bytes.fromhex("0a0178980601a20601ffad0600000000b1060000000000000000")) == m.Value(b"x")


@pytest.mark.parametrize("payload", ["0a05", "0b", "0affffffffffffffffffff01", "08" + "80" * 11, "0a02ff"])
def test_damaged_messages_are_refused(payload: str) -> None:
    with pytest.raises(ProtocolError, match="is damaged"):
        m.Header.decode(bytes.fromhex(payload))


END = write_frame(Frame(m.END, b""))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type[Message], bytes]:
    """A message of which some bytes are others, missing or new."""
    name = draw(st.sampled_from(sorted(VECTORS)))
    payload = bytearray.fromhex(VECTORS[name])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(payload)))
        payload[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return getattr(m, name.split()[0]), bytes(payload)


@given(damaged())
@bounded(500)
def test_a_damaged_message_is_refused_or_is_read_and_written_the_same_way(message: tuple[type[Message], bytes]) -> None:
    kind, payload = message
    with suppress(ProtocolError):
        read = kind.decode(payload)
        assert kind.decode(read.encode()) == read


@given(st.lists(damaged().filter(lambda each: each[0] in m.TYPE_OF), max_size=4))
@bounded(300)
def test_an_answer_of_damaged_messages_is_refused_or_read(messages: list[tuple[type[Message], bytes]]) -> None:
    frames = [Frame(m.TYPE_OF[kind], payload) for kind, payload in messages]
    with suppress(EndpointError):
        assert len(read_answer(b"".join(map(write_frame, frames)) + END).commands) <= len(frames)


@given(st.binary(max_size=200))
@bounded(300)
def test_garbage_is_refused_or_read(body: bytes) -> None:
    with suppress(EndpointError):
        read_answer(body)


@given(st.lists(st.tuples(st.sampled_from([0x0000, 0x0403, 0x8002, 0xFC01]), st.binary(max_size=50))))
@bounded(100)
def test_frames_are_read_as_they_were_written(frames: list[tuple[int, bytes]]) -> None:
    written = [Frame(*frame) for frame in frames]
    assert read_frames(b"".join(map(write_frame, written))) == written


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"<html>", "6 bytes are left over"),
        (END[:5], "ends within a frame"),
        (write_frame(Frame(0x0403, b"")), "the endpoint ended too soon"),
        (write_frame(Frame(0x0409, b"\xff")) + END, "a GetPromise message is damaged"),
        (write_frame(Frame(0x0500, b"")) + END, "is of a newer version"),
        (write_frame(Frame(0x8002, b"")) + END, "is not expected"),
        (bytes.fromhex("00030000") + (MAX_FRAME + 1).to_bytes(4, "big"), "are allowed"),
    ],
)
def test_answers_that_are_none_say_why(body: bytes, said: str) -> None:
    with pytest.raises(EndpointError, match=said):
        read_answer(body)


def test_an_error_that_asks_to_pause_does() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom", behavior=m.PAUSE).encode()))
    with pytest.raises(EndpointError, match="boom") as raised:
        recorded(read_answer(error), error)
    assert raised.value.pause


def test_an_error_after_progress_is_kept_and_one_without_is_a_failure() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom", next_retry_delay=1500).encode()))
    with pytest.raises(EndpointError, match="boom") as raised:
        recorded(read_answer(error), error)
    assert raised.value.retry_after is not None
    assert raised.value.retry_after.total_seconds() == 1.5
    progress = write_frame(Frame(0x0411, m.Run(1).encode())) + error
    kept = read_answer(recorded(read_answer(progress), progress), stamped=True)
    assert isinstance(kept.end, m.Error)
    assert kept.at > 0
