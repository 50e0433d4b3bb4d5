"""What a session tells its attempts: results, and why an attempt failed."""

from __future__ import annotations

import asyncio
from collections import deque

from adapter.engine.execution import Execution
from adapter.engine.journal import StepRetried
from adapter.engine.types import Outcome
from adapter.frozen import frozen

BY_NOTIFICATION = -2
"""The command number of an event that a notification brings. The notification's id tells the command."""

ENDED = -1
"""The command number of an event that says that a call has ended in this session."""


REFRESHING = -3
"""The number under which a session reads the notifications to an invocation."""

LOADING = -4
"""The command number of an event that says that a key's head or inbox was read. Its id is the key's."""


@frozen
class Event:
    """News for a handler: the result of command ``n``, or the reason why its attempt failed."""

    id: str
    n: int
    outcome: Outcome | None = None
    notification_id: str | None = None
    child: Execution | None = None
    error: BaseException | None = None


class Events:
    """The events of a session that its code has not seen.

    Attributes:
        waiting: The events, in their order.
        signal: Set when something has happened that a waiting session looks at.
    """

    def __init__(self) -> None:
        self.waiting: deque[Event] = deque()
        self.signal = asyncio.Event()

    def append(self, event: Event) -> None:
        """Append an event while the session runs code."""
        self.waiting.append(event)

    def post(self, event: Event) -> None:
        """Append an event, and wake the session."""
        self.waiting.append(event)
        self.signal.set()


class Postponed(Exception):
    """A step failed, and its next try is later than the attempt waits for: at a time, or when an operator resumes the
    invocation (``due`` is ``None``)."""

    def __init__(self, retry: StepRetried, due: int | None, text: str, error: BaseException) -> None:
        super().__init__(text)
        self.retry = retry
        self.due = due
        self.error = error


class NotImmediate(Exception):
    """An invocation of the inbox does not complete at once. It therefore does not run in a session whose client
    waits."""
