"""Which invocations run in a session, as the rest of its process sees it."""

from __future__ import annotations

from adapter.engine.process import Process, Receiver
from adapter.engine.wakeups import Wakeups


class Residents:
    """The invocations that run in one session.

    Args:
        process: The process, which finds the session by them.
        wakeups: Resumes an invocation that was to be resumed while it ran here.
        session: The session.

    Attributes:
        woken: The ids of the invocations that were to be resumed while they ran here.
    """

    def __init__(self, process: Process, wakeups: Wakeups, session: Receiver) -> None:
        self._process = process
        self._wakeups = wakeups
        self._session = session
        self.woken: set[str] = set()

    def enter(self, id: str) -> None:
        """Have the process tell the session what concerns an invocation."""
        self._process.active[id] = self._session

    def take_woken(self) -> set[str]:
        """Return the ids of the invocations that were to be resumed, and forget them."""
        woken, self.woken = self.woken, set()
        return woken

    def leave(self, id: str) -> None:
        """Take note that an invocation no longer runs here. Resume it if it was to be resumed while it did."""
        self._process.active.pop(id, None)
        if id in self.woken:
            self.woken.discard(id)
            self._wakeups.resume(id)
