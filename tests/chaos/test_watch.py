"""What is seen of requests: recorded steps, and recoveries."""

from __future__ import annotations

import json
import urllib.request
from random import Random
from typing import Any

import pytest

from adapter.aws.store import DynamoStore
from adapter.aws.wire import Answer as Said
from adapter.aws.wire import Api, Credentials, Fixed, Place
from adapter.aws.wire import Request as Sent
from adapter.engine.journal import CommandIssued, Entry, ResultDelivered, encode
from adapter.engine.ports import Change, Create, Put, Update
from adapter.engine.records import JournalSegment, Meta, Ref, Status
from adapter.engine.types import Kind, Outcome, Target
from tests.chaos.checks import steps
from tests.chaos.watch import Ledger, Ran, Recorded, Recovery, Watch
from tests.chaos.weather import ODDS, Weather
from tests.faults.aws import Answer, Process, Request, throttled

ONE, OTHER = Process(1, "bank"), Process(2, "bank")
META = Meta("inv_a", "g", Target("Transfers", "transfer"), Kind.SERVICE, Status.RUNNING, 1, epoch=1)
OK = Answer(200)


class Recorder:
    """A transport that keeps what the store asks for."""

    async def send(self, request: Sent) -> Said:
        self.request = request
        return Said(200, {}, b"{}")

    async def open(self) -> None:
        pass

    def close(self) -> None:
        pass


async def commit(*changes: Change, process: Process = ONE) -> Request:
    """A commit as the proxy sees it."""
    recorder = Recorder()
    place, source = Place("us-east-1", "https://aws"), Fixed(Credentials("k", "s"))
    api = Api("dynamodb", place=place, source=source, transport=recorder)
    await DynamoStore("invocations", "objects", api=api).commit(changes, "nonce")
    sent = recorder.request
    return Request(process, sent.method, sent.target, sent.headers, sent.body)


def asked(operation: str, input: dict[str, Any], process: Process = ONE) -> Request:
    headers = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
    if operation == "CreateSchedule":
        return Request(process, "POST", "/schedules/name", {}, json.dumps(input).encode())
    if operation == "Invoke":
        return Request(process, "POST", "/2015-03-31/functions/f/invocations", {}, json.dumps(input).encode())
    return Request(process, "POST", "/", headers, json.dumps(input).encode())


def segment(*entries: Entry, index: int = 0) -> Put:
    return Put(JournalSegment("inv_a", "g", index, encode(entries)[0]))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock)


async def test_results_of_steps_are_seen_in_whatever_records_them(watch: Watch) -> None:
    watch(await commit(Create(META, 1), segment(CommandIssued(0, "run", "pack"))), OK)
    further = segment(
        ResultDelivered(0, Outcome(b"1")), CommandIssued(1, "sleep", "", at=5), CommandIssued(2, "run", "ship"), index=1
    )
    watch(await commit(further), OK)
    watch(await commit(further), OK)  # the same again, as its answer was lost
    assert watch.events == [Recorded("inv_a", "pack")]
    inline_journal = encode([ResultDelivered(1, Outcome()), ResultDelivered(2, Outcome())])[0]
    watch(
        await commit(Update(META.ref, set={"status": Status.COMPLETED, "inline_journal": inline_journal}, epoch=1)), OK
    )
    assert watch.events == [Recorded("inv_a", "pack"), Recorded("inv_a", "ship")]


async def test_a_segment_that_repeats_the_one_in_the_record_is_seen_once(watch: Watch) -> None:
    first = (CommandIssued(0, "run", "pack"), ResultDelivered(0, Outcome(b"1")), CommandIssued(1, "run", "ship"))
    watch(await commit(Update(META.ref, set={"inline_journal": encode(first)[0]}, epoch=1)), OK)
    assert watch.events == [Recorded("inv_a", "pack")]
    watch(await commit(segment(*first, ResultDelivered(1, Outcome()))), OK)
    assert watch.events == [Recorded("inv_a", "pack"), Recorded("inv_a", "ship")]


async def test_results_that_were_not_stored_are_none(watch: Watch) -> None:
    watch(await commit(segment(CommandIssued(0, "run", "pack"))), OK)
    watch(await commit(segment(ResultDelivered(0, Outcome(b"1")), index=1)), Answer(400))
    assert watch.events == []


async def test_a_step_that_runs_again_is_told_from_one_that_does_so_too_late(watch: Watch) -> None:
    with Ledger(watch.ran) as ledger:

        def run() -> None:
            entry = json.dumps({"invocation": "inv_a", "step": "pack", "pid": 1}).encode()
            urllib.request.urlopen(ledger.url, entry).close()

        watch(await commit(segment(CommandIssued(0, "run", "pack"))), OK)
        run()
        run()
        watch(await commit(segment(ResultDelivered(0, Outcome(b"1")), index=1)), OK)
        assert not list(steps(watch.events))
        run()
    assert watch.events == [Ran("inv_a", "pack", 1)] * 2 + [Recorded("inv_a", "pack"), Ran("inv_a", "pack", 1)]
    assert len(list(steps(watch.events))) == 1


async def test_what_a_killed_process_ran_is_recovered_when_another_takes_it_up(watch: Watch, clock: Clock) -> None:
    watch(await commit(Create(META, 1)), OK)
    watch.killed(OTHER)
    assert not watch.struck
    watch.killed(ONE)
    assert watch.struck == {"inv_a": "killed"}
    clock.now += 12
    watch(await commit(Update(META.ref, set={"status": Status.READY, "due": 5}, epoch=1), process=OTHER), OK)
    assert watch.struck  # it is to go on, and does not yet
    clock.now += 1
    watch(await commit(Update(META.ref, set={"status": Status.RUNNING, "due": 5}, epoch=1), process=OTHER), OK)
    assert not watch.struck
    assert watch.recoveries == [Recovery("killed", 13)]


async def test_what_was_over_needs_no_recovery(watch: Watch) -> None:
    watch(await commit(Create(META, 1)), OK)
    watch(await commit(Update(META.ref, set={"status": Status.SUSPENDED}, epoch=1)), OK)
    watch.killed(ONE)
    assert not watch.struck


@pytest.mark.parametrize("operation", ["Invoke", "CreateSchedule", "SendMessage"])
async def test_what_was_dropped_is_recovered_when_it_goes_on_all_the_same(
    watch: Watch, clock: Clock, operation: str
) -> None:
    event: dict[str, Any] = {"adapter": "dispatch", "id": "inv_a"}
    if operation == "CreateSchedule":
        event = {"ScheduleExpression": "at(1970-01-01T00:16:45)", "Target": {"Input": json.dumps(event)}}
    if operation == "SendMessage":
        event = {"DelaySeconds": 5, "MessageBody": json.dumps({"function": "f", "event": event})}
    watch.dropped(asked(operation, event))
    clock.now += 20
    watch(await commit(Update(Ref("inv_a", "g"), set={"status": Status.RUNNING}, epoch=0), process=OTHER), OK)
    # The time of a schedule or a message is when it was to come, at 1005.
    assert [recovery.seconds for recovery in watch.recoveries] == [20 if operation == "Invoke" else 15]


def test_the_weather_depends_on_its_seed_and_brings_everything(watch: Watch) -> None:
    def day(seed: int) -> tuple[list[bool], Weather]:
        clock = Clock()
        weather = Weather(Random(seed), watch, clock)
        requests = [asked(operation, {}) for operation in ODDS]
        faults = []
        for n in range(20_000):
            clock.now += 0.01
            faults.append(weather(requests[n % len(requests)]) is not None)
        return faults, weather

    (first, weather), (again, _), (other, _) = day(1), day(1), day(2)
    assert first == again != other
    kinds = {"CreateSchedule": "schedule", "Invoke": "invoke", "SendMessage": "message"}
    expected = {f"{kinds.get(operation, 'request')} {name}" for operation, odds in ODDS.items() for name in odds}
    assert set(weather.faults) == expected | {"worker killed"}
    assert 200 / 9 <= weather.faults["worker killed"] <= 200 / 3
    assert sum(first) < len(first) / 4


def test_storms_come_and_pass(watch: Watch) -> None:
    clock = Clock()
    weather = Weather(Random(3), watch, clock)
    refused = []
    for _ in range(60):
        clock.now += 1
        refused.append(sum(weather(asked("GetItem", {}, Process(0, ""))) is throttled for _ in range(100)))
    stormy = [second for second, count in enumerate(refused) if count > 30]
    assert 1 <= len(stormy) <= 12
    assert all(count < 10 for second, count in enumerate(refused) if second not in stormy)
