"""Timers on EventBridge Scheduler: one one-time schedule for each.

A timer only makes a wake punctual. The due time behind it is committed before, and the sweeper dispatches whatever is
past due: a schedule that could not be made costs a minute, not an invocation, which is why nothing is raised here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from adapter.aws.wire import Api, AwsError, WireError
from adapter.engine.ports import Clock
from adapter.engine.records import Ref

RETRIES: Final = 3
"""How often Scheduler tries again to invoke the function; then the event goes to the dead-letter queue."""

EVENT_AGE: Final = 300
"""For how many seconds it tries; the sweeper has taken over by then."""

JSON: Final = {"content-type": "application/json"}

log = logging.getLogger(__name__)


class SchedulerTimers:
    """The `Timers` port on EventBridge Scheduler.

    Args:
        group: The name of the schedule group that all timers share.
        target: The ARN of the Lambda function's version or alias that is invoked.
        role: The ARN of the role that Scheduler invokes it with.
        dead_letters: The ARN of the queue for what could not be delivered.
        dispatch: Wakes an invocation at once, for a time that has passed.
        clock: The time.
        api: Scheduler's API; by default where the environment says.
    """

    def __init__(
        self,
        *,
        group: str,
        target: str,
        role: str,
        dead_letters: str,
        dispatch: Callable[[Ref], Awaitable[None]],
        clock: Clock,
        api: Api | None = None,
    ) -> None:
        self._group = group
        self._target = {
            "Arn": target,
            "RoleArn": role,
            "DeadLetterConfig": {"Arn": dead_letters},
            "RetryPolicy": {"MaximumRetryAttempts": RETRIES, "MaximumEventAgeInSeconds": EVENT_AGE},
        }
        self._dispatch = dispatch
        self._clock = clock
        self._scheduler = api or Api("scheduler", connections=10, attempts=4)

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        """`CreateSchedule <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>`_; but
        a dispatch where ``at``, in milliseconds since the epoch, has passed."""
        if at <= self._clock.now():
            await self._dispatch(ref)
            return
        request = {
            "GroupName": self._group,
            "ScheduleExpression": schedule_expression(at),
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {**self._target, "Input": json.dumps(wake_event(ref))},
        }
        path, body = f"/schedules/{schedule_name(ref, name)}", json.dumps(request).encode()
        try:
            await self._scheduler.send("CreateSchedule", "POST", path, headers=JSON, body=body)
        except AwsError as error:
            if error.code == "ValidationException" and at <= self._clock.now() + 1000:
                await self._dispatch(ref)
            elif error.code != "ConflictException":  # which says that the timer is there
                log.warning("no timer for %s, the sweeper will wake it: %s", ref.id, error)
        except WireError as error:
            log.warning("perhaps no timer for %s, then the sweeper will wake it: %s", ref.id, error)

    async def unschedule(self, ref: Ref, name: str) -> None:
        """`DeleteSchedule <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteSchedule.html>`_."""
        path, query = f"/schedules/{schedule_name(ref, name)}", {"groupName": self._group}
        try:
            await self._scheduler.send("DeleteSchedule", "DELETE", path, query=query)
        except WireError as error:
            if not (isinstance(error, AwsError) and error.code == "ResourceNotFoundException"):
                log.warning("a timer of %s was not deleted, and wakes it for nothing: %s", ref.id, error)


def schedule_name(ref: Ref, name: str) -> str:
    """What a timer's schedule is called: a hash, for Scheduler allows 64 characters and few of them.

    >>> len(schedule_name(Ref("inv_a", "g"), "c7"))
    64
    """
    return hashlib.sha256("\0".join((*ref, name)).encode()).hexdigest()


def schedule_expression(at: int) -> str:
    """The second at or after a time in milliseconds since the epoch, in UTC.

    >>> schedule_expression(1_700_000_000_001)
    'at(2023-11-14T22:13:21)'
    """
    return f"at({datetime.fromtimestamp(-(-at // 1000), UTC):%Y-%m-%dT%H:%M:%S})"


def wake_event(ref: Ref) -> dict[str, str]:
    """What the function gets."""
    return {"adapter": "wake", "id": ref.id, "generation": ref.generation}
