"""The table of all transitions of records: from which states, to which states, on which conditions.

`adapter.engine.lifecycle` makes the changes. ``python -m adapter.engine.transitions`` prints the table and a diagram.

Every change also requires the record's generation. A change of a live record requires that it is not completed, and a
change of a completed record that it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from adapter.engine.lifetimes import time_to_live
from adapter.engine.ports import Finish, Update
from adapter.engine.records import WAITING, Meta, Ref, Status
from adapter.frozen import frozen, replace

QUEUED_CHECK = 1_000
"""Milliseconds until the sweeper first checks whether a call that waits for a key is part of a deadlock."""

OWNER_CHECK = 60_000
"""Milliseconds until the sweeper first checks whether the key of another waiting invocation has an owner."""

MARGIN = 2_000
"""The most milliseconds by which clocks may differ."""

GRACE = 10_000
"""Milliseconds until the sweeper regards a dispatch as lost."""

SOON = 60_000
"""Milliseconds until the sweeper checks a suspended invocation at the latest, if nothing else makes up for what a
process leaves undone. The sweeper comes once a minute."""

RECHECK = 45_000
"""Milliseconds until the sweeper checks again for a deadlock, at first."""

MAX_RECHECK = 3600 * 1000
"""The longest interval, in milliseconds, at which the sweeper checks a suspended invocation."""

OPEN_CHECK = 3600 * 1000
"""Milliseconds until an open promise is first checked for its workflow. The intervals grow after that."""

PROMISE_CHECK = 30 * 24 * 3600 * 1000
"""Milliseconds until a completed promise is checked for its workflow."""


@frozen
class Times:
    """The time of a change, and the due times that follow from it, in milliseconds."""

    now: int
    lease: int
    grace: int

    @property
    def ttl(self) -> int:
        """The time to live of the items that are put with the change, in seconds since the epoch."""
        return time_to_live(self.now)


SCHEDULED, QUEUED, READY, RUNNING, SUSPENDED, BACKING_OFF, PAUSED, COMPLETED = Status

LIVE: Final = tuple(status for status in Status if status is not COMPLETED)

STARTABLE: Final = (SCHEDULED, READY, RUNNING, SUSPENDED, BACKING_OFF)
"""The states from which an attempt begins once the record is due: all but those that wait for a key or an operator."""


RESTING: Final = (SCHEDULED, READY, SUSPENDED)
"""The states that an attempt may end in its first commit, without having been claimed (see `Meta.at_rest`)."""


class Moved(NamedTuple):
    """A record after a transition, and the change that makes it so."""

    meta: Meta
    change: Update


@frozen
class Transition:
    """A transition of records.

    Attributes:
        event: What happens.
        sources: The states from which it leads; none if it creates the record.
        to: The states to which it leads; none if the status stays.
        requires: What the store compares with the record that the change is based on. ``queued``: the status, if the
            record is queued. ``notifications``: no more are counted than the change allows.
        due: When the record is due after that.
        by: The modules that make the change.
    """

    event: str
    sources: tuple[Status, ...]
    to: tuple[Status, ...]
    requires: tuple[str, ...]
    due: str
    by: str

    def move(self, meta: Meta, values: Mapping[str, Any], *, most: int | None = None) -> Moved:
        """Return the record with these values, and the change.

        Args:
            meta: The record that the change is based on.
            values: The new values of its fields.
            most: The most notifications that may be counted.
        """
        return Moved(replace(meta, **values), self.update(meta, values, most=most))

    def update(self, meta: Meta, values: Mapping[str, Any], *, most: int | None = None) -> Update:
        """Return the change alone."""
        after = values.get("status", meta.status)
        allowed = meta.status in self.sources and after in (self.to or (meta.status,))
        assert allowed, f"{meta.id}: {self.event!r} does not lead from {meta.status} to {after}"
        conditions = {name: getattr(meta, name) for name in self.requires if name in ("epoch", "due", "waiters")}
        if "status" in self.requires or ("queued" in self.requires and meta.status is QUEUED):
            conditions["status"] = meta.status
        return Update(meta.ref, set=values, notifications=most, **conditions)

    def unread(self, ref: Ref, values: Mapping[str, Any]) -> Update:
        """Return the change of a record that was not read. It can require nothing but the status."""
        return Update(ref, set=values, status=self.sources[0] if "status" in self.requires else None)

    def finish(self, ref: Ref, values: Mapping[str, Any]) -> Finish:
        """Return the change of a completed record."""
        return Finish(ref, set=values)


def _row(event: str, sources: Iterable[Status], to: Iterable[Status], requires: str, due: str, by: str) -> Transition:
    return Transition(event, tuple(sources), tuple(to), tuple(requires.split()), due, by)


REQUIREMENTS: Final = {
    "absent": "absent, or expired, of another generation and without waiters",
    "due": "due time",
    "queued": "status if queued",
    "notifications": "count of notifications",
    "waiters": "number of waiters",
}
"""What a page calls the requirements."""

LEASE = "the end of the lease"
DISPATCH = "the dispatch counts as lost"
LATER = "the next check, later each time"
RENEWAL = "the renewal"

# --- created ---

ACCEPT = _row(
    "its first commit creates it", [], Status, "absent", "as its state says below", "engine, transaction, calls"
)

# --- an attempt begins ---

CLAIM = _row("an attempt begins", STARTABLE, [RUNNING], "epoch due status", LEASE, "claims, committer")

# --- an attempt commits ---

TAKE_KEY = _row(
    "an attempt takes its key, or is given it", [RUNNING, QUEUED], [RUNNING], "epoch queued", LEASE, "transaction"
)
QUEUE = _row(
    "the attempt's key is taken",
    [RUNNING],
    [QUEUED],
    "epoch",
    "the next check: of a call after a second, of others after a minute",
    "transaction",
)
AWAIT = _row("the attempt waits in its process", [RUNNING], [], "epoch status", "as before", "cycles")
SUSPEND = _row(
    "the attempt suspends it",
    [RUNNING, QUEUED, *RESTING],
    [SUSPENDED],
    "epoch queued notifications",
    "the timer, the check or the renewal",
    "transaction",
)
FAIL = _row(
    "the attempt fails",
    [RUNNING, QUEUED],
    [BACKING_OFF, PAUSED],
    "epoch queued notifications",
    "the next attempt or the renewal",
    "transaction",
)
COMPLETE = _row(
    "the attempt completes it",
    [RUNNING, QUEUED, *RESTING],
    [COMPLETED],
    "epoch queued notifications waiters",
    "now for waiters; else the renewal, or the end of a workflow's state",
    "transaction",
)

# --- it continues ---

GRANT = _row("its key is given to it", [QUEUED], [READY], "status", DISPATCH, "transaction, handover")
COUNT = _row(
    "a notification is counted that wakes it at once",
    WAITING,
    [READY],
    "status",
    DISPATCH,
    "notifier",
)
WAKE = _row("it has a notification that it has not seen", WAITING, [READY], "epoch status", DISPATCH, "notifier")
REDISPATCH = _row(
    "it is overdue", STARTABLE, [READY], "epoch due status", DISPATCH + ", later each time", "sweeper, calls"
)
RELEASE = _row(
    "another execution of its session was taken over", [RUNNING], [READY], "epoch due status", DISPATCH, "engine"
)

# --- it stays as it is ---

CHECK = _row("it is due, and still waits for others", [QUEUED, SUSPENDED], [], "epoch due status", LATER, "sweeper")
WAIT = _row("it is due, and not to continue", [BACKING_OFF, PAUSED], [], "epoch due status", RENEWAL, "sweeper")
RENEW = _row("its items are kept for longer", LIVE, [], "", "as before", "renewal")
EXTEND = _row(
    "it is due, and its attempt runs in the sweeper's process", STARTABLE, [], "epoch due status", LEASE, "sweeper"
)
REPORT = _row("a deadlock of it is reported", [QUEUED], [], "epoch status", "as before", "control")
ATTACH = _row("another invocation waits for its result", LIVE, [], "", "as before", "outbound")
REQUEUE = _row("its inbox entry was lost, and is put again", [QUEUED], [], "status due", "as before", "control")
BREAK = _row(
    "a deadlock that it is part of is broken",
    [QUEUED, RUNNING, SUSPENDED],
    [],
    "status notifications",
    "as before",
    "control",
)
CALL = _row("the record of its call is missing, and is put", LIVE, [], "epoch", "as before", "calls")

# --- it cannot continue by itself ---

CANNOT_READ = _row(
    "part of it cannot be read",
    STARTABLE,
    [BACKING_OFF, PAUSED],
    "epoch due status",
    "the next attempt or the renewal",
    "claims",
)
LOSE = _row("no attempt began after ten dispatches", STARTABLE, [PAUSED], "epoch due status", RENEWAL, "sweeper")
PAUSE = _row(
    "an operator pauses it, or its last attempt's process ended",
    STARTABLE,
    [PAUSED],
    "epoch due status",
    RENEWAL,
    "control",
)

# --- operators ---

RESUME = _row(
    "an operator resumes it",
    [PAUSED, BACKING_OFF],
    [READY, SCHEDULED],
    "epoch due status",
    DISPATCH + "; or its delay's end",
    "control",
)
MOVE = _row(
    "an operator moves it to another deployment", LIVE, [], "epoch due status", "a millisecond later", "control"
)
END = _row("it is to end with a failure", LIVE, [RUNNING], "epoch due status", LEASE, "control")
END_QUEUED = _row("it is to end, and leaves its inbox", [QUEUED], [RUNNING], "epoch status", LEASE, "control")

# --- after completion ---

TELL = _row("all waiters have its result", [COMPLETED], [], "", "as after its completion", "notifier")
RETAIN = _row("its items are kept until it expires", [COMPLETED], [], "", "a workflow's: its expiry", "renewal")
KEEP = _row("it is kept for late requests", [COMPLETED], [], "", "their end", "expiry, promises")
PURGE = _row("it is to be deleted before it expires", [COMPLETED], [], "", "now", "control, promises, blobs")

# --- promises, large payloads, former state: records without code ---

OPEN = _row("a promise is used first", [], [SUSPENDED], "absent", LATER, "promises")
KEEP_PROMISE = _row(
    "a promise is completed", [SUSPENDED], [COMPLETED], "epoch waiters", "now for waiters; else the check", "promises"
)
CHECK_PROMISE = _row(
    "a promise is due: its workflow may be over",
    [SUSPENDED],
    [SUSPENDED, COMPLETED],
    "due waiters",
    "now if the workflow is over; else " + LATER,
    "promises",
)
STORE = _row("a large payload is put ahead of a commit", [], [SUSPENDED], "absent", LEASE, "blobs")
POINT = _row("the commit points at a large payload", [SUSPENDED], [COMPLETED], "", "never", "blobs")
GIVE_UP = _row("no commit points at a large payload in time", [SUSPENDED], [COMPLETED], "due", "now", "expiry")
DISCARD = _row("a key's former state is to be deleted", [], [COMPLETED], "absent", "in ten seconds", "transaction")

TRANSITIONS: Final = {
    name.lower().replace("_", " "): each for name, each in list(globals().items()) if isinstance(each, Transition)
}
"""All transitions by their names, in the order of an invocation's life."""


# --- the table as a page shows it ---


def render() -> str:
    """Return the table in Markdown, and the states with the transitions between them as a Mermaid diagram."""
    lines = ["| transition | from | event | to | requires | due next | by |", "| --- " * 7 + "|"]
    for name, each in TRANSITIONS.items():
        cells = (name, _states(each.sources), each.event, _states(each.to), _requirements(each), each.due, each.by)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "```mermaid", "stateDiagram-v2", *_edges(), "```"])


def _states(states: tuple[Status, ...]) -> str:
    names = {tuple(Status): "any", LIVE: "all but completed", STARTABLE: "all but queued, paused, completed", (): "-"}
    return names.get(states) or ", ".join(states)


def _requirements(transition: Transition) -> str:
    return ", ".join(REQUIREMENTS.get(name, name) for name in transition.requires) or "-"


def _edges() -> Iterable[str]:
    """Return an edge for each pair of states, with the names of the transitions that lead from one to the other."""
    edges: dict[tuple[str, str], list[str]] = {}
    for name, each in TRANSITIONS.items():
        if each not in (ACCEPT, END, KEEP_PROMISE, CHECK_PROMISE, POINT, GIVE_UP):
            for pair in ((_node(a), _node(b)) for a in each.sources for b in each.to if a is not b):
                edges.setdefault(pair, []).append(name)
    for first in ACCEPT.to:
        edges["[*]", _node(first)] = ["accept"]
    return [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in edges.items()]


def _node(status: Status) -> str:
    return status.replace("-", "_")


if __name__ == "__main__":
    print(render())
