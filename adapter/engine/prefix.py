"""The beginning of a journal, for an invocation that is restarted from one of its commands.

The new invocation replays this beginning and continues from there. It repeats none of its calls and steps, and
state that was set stays as it is. If a call has no result yet, the new invocation waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adapter.engine.ids import SDK_AWAKEABLE
from adapter.engine.journal import (
    CANCEL,
    AttemptStarted,
    CommandIssued,
    Entry,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
)
from adapter.engine.records import Copied, Meta
from adapter.engine.types import Outcome


def copied(meta: Meta, first: int) -> tuple[Copied, ...]:
    """Return where an invocation that is restarted from a command has the results of those before it from."""
    earlier = [each for each in meta.copied if 0 < each.before < first]
    latest = [Copied(first, meta.issuer(first - 1))] if first else []
    return (*earlier, *latest, Copied(0, meta.ref))


def cut_before(entries: Iterable[Entry], notifications: Mapping[str, Outcome], first: int) -> list[Entry]:
    """Return the entries before command ``first``, with the results that its commands got later.

    Args:
        entries: The whole journal.
        notifications: The outcomes of the notifications to its invocation, by their ids.
        first: The number of the first command that is left out.

    Raises:
        ValueError: If the journal cannot be cut there. The message says where it can be.

    >>> step, call = CommandIssued(0, "run", "charge"), CommandIssued(1, "call", "Mailer/send")
    >>> cut_before([step, ResultDelivered(0, Outcome(b"1")), call], {}, 1) == [step, ResultDelivered(0, Outcome(b"1"))]
    True
    """
    kept: list[Entry] = []
    open: dict[int, CommandIssued] = {}
    late: dict[int, Outcome] = {}
    count, reached = 0, False
    given = set[int]()
    """The awakeables of an SDK. Its code made them earlier, and gave their ids away."""
    for entry in entries:
        match entry:
            case CommandIssued(n):
                count, reached = n + 1, reached or n >= first
                if entry.kind == "signal" and SDK_AWAKEABLE.fullmatch(entry.name):
                    given.add(n)
                if not reached:
                    kept.append(entry)
                    if entry.value is None:
                        open[n] = entry
            case ResultDelivered(n, outcome):
                _take(kept, open, late, ResultDelivered(n, outcome), reached=reached)
            case NotificationDelivered(n, id):
                if id not in notifications:
                    raise ValueError(f"the result of {n} is not kept any more")
                _take(kept, open, late, ResultDelivered(n, notifications[id]), reached=reached)
            case StateRead(n, outcome):
                if n in open:
                    late[n] = outcome
            case AttemptStarted() | StepRetried():
                pass
    if first > count:
        raise ValueError(f"its journal has {count} commands" if count else "it has no journal, or none any more")
    if first in given:
        raise ValueError(f"its awakeable {first} was made earlier: use the entry that gives its id away")
    for n, command in open.items():
        result = late.get(n, notifications.get(f"w{n}", notifications.get(f"c{n}")))
        if result is not None:
            kept.append(StateRead(n, result))
        elif command.kind == "awakeable":
            raise ValueError(f"its awakeable {n} has no result, and completing it continues the other one: use {n}")
        elif n in given:
            raise ValueError(f"its awakeable {n} has no result: use the entry that gives its id away")
    return kept


def _take(
    kept: list[Entry],
    open: dict[int, CommandIssued],
    late: dict[int, Outcome],
    entry: ResultDelivered,
    *,
    reached: bool,
) -> None:
    """Keep a result that was delivered before the cut. One that was delivered after it is late."""
    n = entry.n
    if not reached:
        if n == CANCEL:
            raise ValueError("it was cancelled before that command: use an earlier one")
        kept.append(entry)
        open.pop(n, None)
    elif n in open:
        late[n] = entry.outcome
