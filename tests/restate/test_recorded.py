"""Frames of the SDKs, as `tests.restate.record` recorded them: what they said, and what they accepted."""

from __future__ import annotations

import json
from typing import TypeVar

import pytest

from adapter.restate import messages as m
from adapter.restate.wire import Frame, Message, read_frames
from tests.restate import jvm
from tests.restate.record import FILE, METADATA_FROM, kind_of

M = TypeVar("M", bound=Message)

RECORDED: dict[str, dict[str, list[str]]] = json.loads(FILE.read_text())

COMMANDS = set(m.TYPES.values()) - {m.InputCommand, m.GetOutput}
"""What an SDK says. A runtime says `InputCommand`, and no function of these SDKs says `GetOutput`."""

ANSWERED = {
    m.result_type(each)
    for each in (m.GetState, m.GetStateKeys, m.GetPromise, m.PeekPromise, m.CompletePromise, m.Sleep, m.Call, m.Attach)
}


def frames(name: str, side: str) -> list[Frame]:
    return [frame for line in RECORDED[name][side] for frame in read_frames(bytes.fromhex(line))]


def version(name: str) -> int:
    return int(name.rpartition(" ")[2])


def messages(name: str, side: str, kind: type[M]) -> list[M]:
    return [kind.decode(each.payload) for each in frames(name, side) if kind_of(each.type) is kind]


def completions(future: m.Future) -> list[int]:
    """Return the completions that a tree waits for."""
    return [*future.completions, *(each for nested in future.nested for each in completions(nested))]


def test_each_sdk_is_recorded_in_each_version() -> None:
    versions = {"Go": m.VERSIONS, "Java": jvm.VERSIONS, "Python": m.VERSIONS, "TypeScript": m.VERSIONS}
    assert sorted((name.split()[0], version(name)) for name in RECORDED) == [
        (sdk, version) for sdk, spoken in versions.items() for version in spoken
    ]


@pytest.mark.parametrize("side", ["said", "heard"])
@pytest.mark.parametrize("name", RECORDED)
def test_frames_are_read_and_written_to_the_same_bytes(name: str, side: str) -> None:
    """A field that the codec does not know would be missing in what it writes."""
    for frame in frames(name, side):
        kind = kind_of(frame.type)
        message = kind.decode(frame.payload)
        assert message.encode() == frame.payload, f"{kind.__name__}: {message}"


@pytest.mark.parametrize("name", RECORDED)
def test_every_message_is_recorded(name: str) -> None:
    acks = version(name) >= m.ACKS_FROM
    said = {kind_of(each.type) for each in frames(name, "said")}
    assert said == {*COMMANDS, m.Suspension, m.Error, m.Void, m.ProposeRun} | ({m.AwaitingOn} if acks else set())
    heard = {each.type for each in frames(name, "heard")}
    own = {m.START, m.TYPE_OF[m.InputCommand], m.CALL_ID, m.SIGNAL, m.result_type(m.Run)}
    assert heard == ANSWERED | own | ({m.RUN_ACK} if acks else set())


@pytest.mark.parametrize("name", RECORDED)
def test_messages_mean_what_the_handlers_did(name: str) -> None:
    calls = messages(name, "said", m.Call)
    assert m.Header("x-tenant", "Mary") in [header for each in calls for header in each.headers]
    assert ("Tour", "echo") in [(each.service, each.handler) for each in calls]
    failures = [each.failure for each in messages(name, "said", m.OutputCommand) if each.failure is not None]
    assert (500, "no") in [(each.code, each.message) for each in failures]
    metadata = [each.metadata for each in failures if each.metadata]
    assert metadata == ([[m.FailureMetadata("key", "value")]] if version(name) >= METADATA_FROM else [])
    suspensions = messages(name, "said", m.Suspension)
    assert any(completions(each.future) for each in suspensions)
    assert {each.awaiting_on is not None for each in suspensions} == {version(name) >= m.ACKS_FROM}
    assert ("later", 1) in [(each.message, each.next_retry_delay) for each in messages(name, "said", m.Error)]
    assert {each.index for each in messages(name, "said", m.SendSignal)} == {None, m.CANCEL}
    reads = messages(name, "said", m.EagerState)
    assert {(each.void is None, each.value is None) for each in reads} == {(True, False), (False, True)}
