"""Decide what a session does when its code has run as far as it can. Only this module says how long a session stays."""

from __future__ import annotations

import sys
from enum import Enum

from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.frozen import frozen

FLUSH_AFTER = 50
"""Milliseconds that a handler may wait before its effects are committed, so that a crash does not lose them."""

REFRESH_EVERY = 3000
"""Milliseconds after which a session reads its records again, to learn of a cancellation or of another attempt."""

NEVER = sys.maxsize


class Reason(Enum):
    """Why a session commits."""

    WORK = "steps or outbound requests are to begin"
    REPLAY = "the code is replayed after each commit"
    OUTCOME = "a client or a caller waits for an outcome"
    OTHERS = "another process waits for an effect"
    CRASH = "a crash would lose the result of a step or a call"
    WAIT = "the session waits without anything that runs"


@frozen
class View:
    """What a session knows when it decides. Times are in milliseconds since the epoch.

    Attributes:
        now: The time.
        reading: True if heads, inboxes or state are being read.
        new_work: True if steps or outbound requests have not begun.
        replays: True if the code is replayed after each commit, and the log is not empty.
        over: True if nothing runs here, and no failure waits to be logged.
        outcome: True if the log holds a failure, or an outcome that a caller waits for.
        running: True if steps or outbound requests run.
        lost_by_crash: True if a crash would lose the result of a step or a call, or an invocation that is not stored.
        for_others: True if the log holds an effect that another process waits for.
        timer: When the next sleep ends that code awaits.
        refreshed_at: When the records were last read.
        progress_at: When code last ran.
        hold_until: Until when attempts are held for a client. This and what follows is known if the session is idle.
        inactivity: The longest time without progress.
        remaining: The time until the process is stopped; 0 if nothing is waited out.
    """

    now: int
    reading: bool = False
    new_work: bool = False
    replays: bool = False
    over: bool = False
    outcome: bool = False
    running: bool = False
    lost_by_crash: bool = False
    for_others: bool = False
    timer: int | None = None
    refreshed_at: int = 0
    progress_at: int = 0
    hold_until: int = 0
    inactivity: int = NEVER
    remaining: int = 3_600_000

    @property
    def idle(self) -> bool:
        """True if all code is blocked, and nothing that runs here would unblock it."""
        return not (self.reading or self.new_work or self.replays or self.over or self.outcome or self.running)


@frozen
class Commit:
    """Commit the log, then begin the work that waited for it."""

    reason: Reason


@frozen
class Wait:
    """Wait for an event or a time; before that, commit if there is a reason."""

    until: int | None
    commit: Reason | None = None


@frozen
class Hold:
    """Commit, then wait until a time, and read the store meanwhile: a client waits for what comes from elsewhere."""

    until: int


@frozen
class Suspend:
    """Suspend all executions."""


@frozen
class Finish:
    """Commit the log, and end the session."""


Action = Commit | Wait | Hold | Suspend | Finish


def decide(view: View) -> Action:
    """Return what a session does next."""
    if view.reading:
        return Wait(None)
    if view.new_work or view.replays:
        return Commit(Reason.REPLAY if view.replays else Reason.WORK)
    if view.over:
        return Finish()
    if view.outcome:
        return Commit(Reason.OUTCOME)
    if view.running:
        return _while_work_runs(view)
    return _while_idle(view)


def _while_work_runs(view: View) -> Action:
    flush_at = view.progress_at + FLUSH_AFTER if view.lost_by_crash else NEVER
    reason = Reason.OTHERS if view.for_others else Reason.CRASH if view.now >= flush_at else None
    until = min(view.timer or NEVER, view.refreshed_at + REFRESH_EVERY, flush_at if reason is None else NEVER)
    return Wait(until, reason)


def _while_idle(view: View) -> Action:
    if view.timer is not None and view.timer - view.now <= min(MAX_INLINE_WAIT, view.remaining, view.inactivity):
        reason = Reason.OTHERS if view.for_others else Reason.WAIT if view.timer - view.now > FLUSH_AFTER else None
        return Wait(view.timer, reason)
    if view.now < view.hold_until and view.remaining > 0:
        return Hold(min(view.hold_until, view.timer or NEVER))
    return Suspend()
