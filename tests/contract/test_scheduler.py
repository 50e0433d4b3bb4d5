"""Timers on EventBridge Scheduler."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import botocore.session
import pytest

from adapter.aws.scheduler import SchedulerTimers, schedule_name
from adapter.aws.wire import Answer, Api, Credentials, Fixed, NoAnswerError, Place
from adapter.engine.records import Ref
from tests.contract.samples import GENERATION, NOW
from tests.wire.scripted import refusal, scripted

pytestmark = pytest.mark.dynamodb

REF = Ref("inv_a", GENERATION)
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:greeter:7"
ROLE = "arn:aws:iam::000000000000:role/scheduler"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:dead"
LATER = NOW * 2


class StillClock:
    def now(self) -> int:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture(scope="module")
def scheduler(endpoint: str, credentials: dict[str, str]) -> Any:
    return botocore.session.get_session().create_client("scheduler", endpoint_url=endpoint, **credentials)


@pytest.fixture
def group(scheduler: Any) -> Iterator[str]:
    name = f"timers-{uuid4().hex[:8]}"
    scheduler.create_schedule_group(Name=name)
    yield name
    scheduler.delete_schedule_group(Name=name)


@pytest.fixture
def dispatched() -> list[Ref]:
    return []


@pytest.fixture
async def api(endpoint: str) -> AsyncIterator[Api]:
    api = Api("scheduler", patience=60, place=Place("us-east-1", endpoint), source=Fixed(Credentials("test", "test")))
    yield api
    api.close()


@pytest.fixture
def timers(api: Api, group: str, dispatched: list[Ref]) -> SchedulerTimers:
    return open_timers(api, dispatched, group)


def open_timers(api: Api, dispatched: list[Ref], group: str = "timers") -> SchedulerTimers:
    async def dispatch(ref: Ref) -> None:
        dispatched.append(ref)

    return SchedulerTimers(
        group=group,
        target=FUNCTION,
        role=ROLE,
        dead_letters=QUEUE,
        dispatch=dispatch,
        clock=StillClock(),
        api=api,
    )


def schedules(scheduler: Any, group: str) -> list[str]:
    return [schedule["Name"] for schedule in scheduler.list_schedules(GroupName=group)["Schedules"]]


async def test_one_schedule_for_a_timer(timers: SchedulerTimers, scheduler: Any, group: str) -> None:
    await timers.schedule(REF, "c7", 1_900_000_000_001)
    found = scheduler.get_schedule(GroupName=group, Name=schedule_name(REF, "c7"))
    assert found["ScheduleExpression"] == "at(2030-03-17T17:46:41)"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["ActionAfterCompletion"] == "DELETE"
    target = found["Target"]
    assert (target["Arn"], target["RoleArn"], target["DeadLetterConfig"]) == (FUNCTION, ROLE, {"Arn": QUEUE})
    assert json.loads(target["Input"]) == {"adapter": "wake", "id": "inv_a", "generation": GENERATION}


async def test_again_changes_nothing(
    timers: SchedulerTimers, scheduler: Any, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    await timers.schedule(REF, "c7", LATER)
    await timers.schedule(REF, "c7", LATER)
    assert schedules(scheduler, group) == [schedule_name(REF, "c7")]
    assert not caplog.records


async def test_timers_are_told_apart(timers: SchedulerTimers, scheduler: Any, group: str) -> None:
    for ref, name in ((REF, "c7"), (REF, "c8"), (Ref("inv_a", "other"), "c7"), (Ref("inv_b", GENERATION), "c7")):
        await timers.schedule(ref, name, LATER)
    assert len(schedules(scheduler, group)) == 4


async def test_unschedule(
    timers: SchedulerTimers, scheduler: Any, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    await timers.schedule(REF, "c7", LATER)
    await timers.unschedule(REF, "c7")
    await timers.unschedule(REF, "c7")
    assert schedules(scheduler, group) == []
    assert not caplog.records


@pytest.mark.parametrize("at", [NOW, NOW - 1])
async def test_a_time_that_has_passed(
    timers: SchedulerTimers, scheduler: Any, group: str, dispatched: list[Ref], at: int
) -> None:
    await timers.schedule(REF, "c7", at)
    assert dispatched == [REF]
    assert schedules(scheduler, group) == []


class TestFaults:
    """A timer that can't be made is logged: the due time behind it is committed."""

    @pytest.mark.parametrize(
        "code", ["ThrottlingException", "InternalServerException", "ResourceNotFoundException", "AccessDeniedException"]
    )
    async def test_refused(self, dispatched: list[Ref], caplog: pytest.LogCaptureFixture, code: str) -> None:
        await refusing(refusal(code), dispatched).schedule(REF, "c7", LATER)
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "inv_a" in record.getMessage()
        assert code in record.getMessage()

    async def test_no_answer(self, dispatched: list[Ref], caplog: pytest.LogCaptureFixture) -> None:
        timers = refusing(NoAnswerError("no"), dispatched)
        await timers.schedule(REF, "c7", LATER)
        await timers.unschedule(REF, "c7")
        assert len(caplog.records) == 2

    async def test_refused_because_it_has_just_passed(self, dispatched: list[Ref]) -> None:
        await refusing(refusal("ValidationException"), dispatched).schedule(REF, "c7", NOW + 900)
        assert dispatched == [REF]

    async def test_refused_for_another_reason(self, dispatched: list[Ref], caplog: pytest.LogCaptureFixture) -> None:
        await refusing(refusal("ValidationException"), dispatched).schedule(REF, "c7", LATER)
        assert dispatched == []
        assert len(caplog.records) == 1


def refusing(answer: Answer | Exception, dispatched: list[Ref]) -> SchedulerTimers:
    api, _ = scripted("scheduler", answer)
    return open_timers(api, dispatched)
