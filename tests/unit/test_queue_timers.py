"""Short delays on a queue of SQS, longer ones beyond it."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from adapter.aws.delays import QueueTimers
from adapter.aws.wire import Api, NoAnswerError
from adapter.engine.records import Ref
from tests.wire.scripted import Fake, error

NOW = 1_700_000_000_000
REF = Ref("inv_a", "g")
TARGET = "arn:aws:lambda:us-east-1:000000000000:function:shop_shop:live"


class StillClock:
    def now(self) -> int:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


class Queue:
    """What the timers use of SQS."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.fails: Exception | None = None

    def send_message(self, **message: Any) -> dict[str, Any]:
        if self.fails:
            raise self.fails
        self.sent.append(message)
        return {}


class Beyond:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        self.calls.append(("schedule", ref, name, at))

    async def unschedule(self, ref: Ref, name: str) -> None:
        self.calls.append(("unschedule", ref, name))


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def beyond() -> Beyond:
    return Beyond()


def timers(queue: Queue, beyond: Beyond, longest: int = 60) -> QueueTimers:
    return QueueTimers(
        queue="https://queue",
        longest=longest,
        target=TARGET,
        beyond=beyond,
        clock=StillClock(),
        api=cast(Api, Fake(queue)),
    )


@pytest.mark.parametrize(("wait", "delay"), [(1, 1), (2_000, 2), (2_001, 3), (60_000, 60)])
async def test_a_short_delay_is_a_message(queue: Queue, beyond: Beyond, wait: int, delay: int) -> None:
    await timers(queue, beyond).schedule(REF, "c7", NOW + wait)
    (message,) = queue.sent
    assert (message["QueueUrl"], message["DelaySeconds"]) == ("https://queue", delay)
    event = {"adapter": "wake", "id": "inv_a", "generation": "g"}
    assert json.loads(message["MessageBody"]) == {"function": TARGET, "event": event}
    assert not beyond.calls


@pytest.mark.parametrize("wait", [-1, 0, 60_001])
async def test_other_times_go_beyond(queue: Queue, beyond: Beyond, wait: int) -> None:
    await timers(queue, beyond).schedule(REF, "c7", NOW + wait)
    assert beyond.calls == [("schedule", REF, "c7", NOW + wait)]
    assert not queue.sent


async def test_sqs_delays_for_a_quarter_of_an_hour_at_most(queue: Queue, beyond: Beyond) -> None:
    for wait in (900_000, 900_001):
        await timers(queue, beyond, longest=3_600).schedule(REF, "c7", NOW + wait)
    assert [message["DelaySeconds"] for message in queue.sent] == [900]
    assert len(beyond.calls) == 1


async def test_unschedule(queue: Queue, beyond: Beyond) -> None:
    await timers(queue, beyond).unschedule(REF, "c7")
    assert beyond.calls == [("unschedule", REF, "c7")]


@pytest.mark.parametrize(
    "trouble",
    [error("AccessDenied"), NoAnswerError("no")],
)
async def test_a_message_that_cannot_be_sent_is_left_to_the_sweeper(
    queue: Queue, beyond: Beyond, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    queue.fails = trouble
    await timers(queue, beyond).schedule(REF, "c7", NOW + 5_000)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.__dict__["invocation_id"] == "inv_a"
