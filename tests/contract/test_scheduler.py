"""Timers on EventBridge Scheduler."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from adapter.aws.clients import make_client
from adapter.aws.scheduler import SchedulerTimers, schedule_name
from adapter.engine.records import Ref
from tests.contract.samples import GENERATION, NOW

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
    return make_client("scheduler", connections=1, attempts=1, endpoint_url=endpoint, **credentials)


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
def timers(scheduler: Any, group: str, dispatched: list[Ref]) -> SchedulerTimers:
    async def dispatch(ref: Ref) -> None:
        dispatched.append(ref)

    return SchedulerTimers(
        group=group,
        target=FUNCTION,
        role=ROLE,
        dead_letters=QUEUE,
        dispatch=dispatch,
        clock=StillClock(),
        client=scheduler,
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

    @pytest.fixture
    def group(self) -> str:
        return "timers"

    @pytest.fixture
    def scheduler(self, endpoint: str, credentials: dict[str, str]) -> Any:
        options: dict[str, Any] = {"endpoint_url": endpoint, **credentials}
        session = botocore.session.get_session()
        config = Config(retries={"total_max_attempts": 1})  # what is retried waits in between
        return session.create_client("scheduler", config=config, **options)

    @pytest.mark.parametrize(
        "code", ["ThrottlingException", "InternalServerException", "ResourceNotFoundException", "AccessDeniedException"]
    )
    async def test_refused(
        self, timers: SchedulerTimers, scheduler: Any, caplog: pytest.LogCaptureFixture, code: str
    ) -> None:
        fail(scheduler, code)
        await timers.schedule(REF, "c7", LATER)
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "inv_a" in record.getMessage()
        assert code in record.getMessage()

    async def test_no_answer(self, timers: SchedulerTimers, scheduler: Any, caplog: pytest.LogCaptureFixture) -> None:
        def lose(request: Any, **_: Any) -> None:
            raise ReadTimeoutError(endpoint_url=request.url, error="no")

        scheduler.meta.events.register("before-send.scheduler", lose)
        await timers.schedule(REF, "c7", LATER)
        await timers.unschedule(REF, "c7")
        assert len(caplog.records) == 2

    async def test_refused_because_it_has_just_passed(
        self, timers: SchedulerTimers, scheduler: Any, dispatched: list[Ref]
    ) -> None:
        fail(scheduler, "ValidationException")
        await timers.schedule(REF, "c7", NOW + 900)
        assert dispatched == [REF]

    async def test_refused_for_another_reason(
        self, timers: SchedulerTimers, scheduler: Any, dispatched: list[Ref], caplog: pytest.LogCaptureFixture
    ) -> None:
        fail(scheduler, "ValidationException")
        await timers.schedule(REF, "c7", LATER)
        assert dispatched == []
        assert len(caplog.records) == 1


def fail(client: Any, code: str) -> None:
    body = json.dumps({"Message": "no"}).encode()

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield body

    def answer(request: Any, **_: Any) -> AWSResponse:
        headers = HTTPHeaders()
        headers["x-amzn-errortype"] = code
        return AWSResponse(request.url, 400, headers, Raw())

    client.meta.events.register("before-send.scheduler", answer)
