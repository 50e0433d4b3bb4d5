"""Timers that EventBridge Scheduler cannot keep: short delays, on a delay queue of SQS.

Scheduler invokes a function up to a minute late. SQS delivers a message within a second of its delay, which is at most
15 minutes. The queue's consumer, a function that the stack has for this, invokes the function that a message names.
"""

from __future__ import annotations

import json
import logging
from typing import Final

from adapter.aws.scheduler import wake_event
from adapter.aws.wire import Api, WireError
from adapter.engine.ports import Clock, Timers
from adapter.engine.records import Ref

LONGEST: Final = 900
"""Seconds that SQS can delay a message."""

log = logging.getLogger("adapter")


class QueueTimers:
    """The `Timers` port: short delays on a queue, longer ones on other timers.

    Args:
        queue: The URL of the queue.
        longest: The longest delay that goes to the queue, in seconds; 900 at most.
        target: The ARN of the Lambda alias that is invoked.
        beyond: The timers for longer delays, and for times that have passed.
        clock: The time.
        api: SQS's API; by default where the environment says.
    """

    def __init__(
        self, *, queue: str, longest: int, target: str, beyond: Timers, clock: Clock, api: Api | None = None
    ) -> None:
        self._queue = queue
        self._longest = min(longest, LONGEST)
        self._target = target
        self._beyond = beyond
        self._clock = clock
        self._sqs = api or Api("sqs", connections=10, attempts=4)

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        """`SendMessage <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>`_
        with the delay in whole seconds, rounded up.

        Nothing is raised: the due time is committed before, and the sweeper wakes what has no timer.
        """
        delay = -((self._clock.now() - at) // 1000)
        if not 0 < delay <= self._longest:
            await self._beyond.schedule(ref, name, at)
            return
        body = json.dumps({"function": self._target, "event": wake_event(ref)})
        message = {"QueueUrl": self._queue, "MessageBody": body, "DelaySeconds": delay}
        try:
            await self._sqs.call("SendMessage", message)
        except WireError as error:
            log.warning("perhaps no timer, then the sweeper wakes it: %s", error, extra={"invocation_id": ref.id})

    async def unschedule(self, ref: Ref, name: str) -> None:
        """Remove a longer timer. A message stays in the queue: when it arrives there is nothing to do."""
        await self._beyond.unschedule(ref, name)
