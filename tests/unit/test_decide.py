"""What a session does next, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.engine.decide import (
    FLUSH_AFTER,
    NEVER,
    REFRESH_EVERY,
    Action,
    Commit,
    Finish,
    Hold,
    Reason,
    Suspend,
    View,
    Wait,
    decide,
)
from adapter.engine.wakeups import MAX_INLINE_WAIT

NOW = 1_000_000
SOON, LATER = NOW + MAX_INLINE_WAIT, NOW + MAX_INLINE_WAIT + 1
REFRESH = NOW + REFRESH_EVERY

TABLE: dict[str, tuple[dict[str, Any], Action]] = {
    "reads come before all else": ({"reading": True, "new_work": True, "outcome": True, "over": True}, Wait(None)),
    "a step begins after a commit": ({"new_work": True, "outcome": True}, Commit(Reason.WORK)),
    "a replay follows each commit": ({"replays": True, "new_work": True}, Commit(Reason.REPLAY)),
    "nothing runs any more": ({"over": True, "outcome": True}, Finish()),
    "a client waits for an outcome, though steps run": ({"outcome": True, "running": True}, Commit(Reason.OUTCOME)),
    "steps run, nothing can be lost": ({"running": True}, Wait(REFRESH)),
    "steps run, and a sleep ends before": ({"running": True, "timer": NOW + 7}, Wait(NOW + 7)),
    "steps run, a message waits": ({"running": True, "for_others": True}, Wait(REFRESH, Reason.OTHERS)),
    "a result waits a moment for company": ({"running": True, "lost_by_crash": True}, Wait(NOW + FLUSH_AFTER)),
    "a result has waited long enough": (
        {"running": True, "lost_by_crash": True, "progress_at": NOW - FLUSH_AFTER},
        Wait(REFRESH, Reason.CRASH),
    ),
    "a message goes with a result that waits": (
        {"running": True, "lost_by_crash": True, "for_others": True},
        Wait(REFRESH, Reason.OTHERS),
    ),
    "a very short sleep needs no commit": ({"timer": NOW + FLUSH_AFTER}, Wait(NOW + FLUSH_AFTER)),
    "a very short sleep, and a message": ({"timer": NOW + 1, "for_others": True}, Wait(NOW + 1, Reason.OTHERS)),
    "a short sleep is waited out": ({"timer": SOON}, Wait(SOON, Reason.WAIT)),
    "a long sleep is not": ({"timer": LATER}, Suspend()),
    "the process stops before a short sleep ends": ({"timer": SOON, "remaining": MAX_INLINE_WAIT - 1}, Suspend()),
    "a short sleep is longer than the inactivity timeout": ({"timer": SOON, "inactivity": 100}, Suspend()),
    "nothing is waited out where code is replayed": ({"timer": NOW + 1, "remaining": 0}, Suspend()),
    "a client waits": ({"hold_until": NOW + 9000}, Hold(NOW + 9000)),
    "a client waits, and a long sleep ends before": ({"hold_until": NOW + 9000, "timer": LATER}, Hold(LATER)),
    "the client has its answer from elsewhere": ({"hold_until": NOW}, Suspend()),
    "a client waits, and the process is out of time": ({"hold_until": NOW + 9000, "remaining": 0}, Suspend()),
    "no client waits": ({}, Suspend()),
}


@pytest.mark.parametrize(("fields", "action"), TABLE.values(), ids=TABLE)
def test_decide(fields: dict[str, Any], action: Action) -> None:
    assert decide(View(**({"now": NOW, "refreshed_at": NOW, "progress_at": NOW} | fields))) == action


@pytest.mark.parametrize("busy", ["reading", "new_work", "replays", "over", "outcome", "running"])
def test_a_session_that_has_something_to_do_is_not_idle(busy: str) -> None:
    assert View(NOW).idle
    assert not View(NOW, **{busy: True}).idle


def test_a_view_waits_for_nothing_by_default() -> None:
    assert View(NOW).inactivity == NEVER
