"""Results that are broken on their way to whoever waits for them."""

from __future__ import annotations

from adapter import combinators
from adapter.engine import runner, suspensions
from adapter.engine.commit_log import CommitLog
from adapter.engine.notifier import Notifier
from adapter.engine.outbound import Outbound
from adapter.engine.pending import Pending
from adapter.engine.promises import Promises
from adapter.engine.session import Session
from adapter.engine.sweeper import Sweeper
from adapter.local import changes
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a record completes without regard to the number of its waiters",
        "no notification lost",
        Edit(changes, "is_allowed", "(change.waiters is None or old.waiters == change.waiters)", "True"),
    ),
    mutant(
        "a result does not wake its receiver",
        "no notification lost",
        Edit(Notifier, "notify", "if not woken and _waits(found, urgent=urgent, cancels=cancels):", "if False:"),
        focus="fan-in",
    ),
    mutant(
        "nothing is swept",
        "8",
        Edit(Sweeper, "_act", "if meta is None or meta.due is None or meta.due > now:", "if True:"),
    ),
    mutant(
        "code that is about to start is taken for code that waits for nothing",
        "a session goes on",
        Edit(Session, "_has_changed", "if self._runner.can_run or", "if"),
        focus="backlog",
    ),
    mutant(
        "the last result that an invocation lacks dispatches nothing",
        "budgets",
        Edit(Notifier, "notify", "<= (found.wake_after or 0)", "< (found.wake_after or 0)"),
        focus="fan-in",
    ),
    mutant(
        "a repeated request of a handler counts as another handler's",
        "9",
        Edit(
            Outbound,
            "perform",
            "commit_id = command_commit_id(execution.ref, n)",
            "commit_id = new_commit_id()",
        ),
        focus="results+rough",
    ),
    mutant(
        "the second completion of a promise is answered as the first",
        "2",
        Edit(Promises, "complete", '"accepted" if meta.commit_id == commit_id else "already"', '"accepted"'),
    ),
    mutant(
        "select gives what has not completed",
        "combinators",
        Edit(combinators, "select", "return done[0]", "return operations[0]"),
    ),
    mutant(
        "what has completed is given twice",
        "combinators",
        Edit(combinators._AsCompleted, "__anext__", "self._left.pop(place)[0]", "self._left[place][0]"),
    ),
    mutant(
        "a timeout that came in time is forgotten",
        "combinators",
        Edit(Pending, "resolve", "self.attempt.loop.fire(self.timer)", "pass"),
        focus="time",
    ),
    mutant(
        "an output is there before its invocation has completed",
        "outputs",
        Edit(Outbound, "perform", "Outcome(c.NOT_READY)", 'Outcome(b"{}")'),
        Edit(Outbound, "perform", "meta.live or outcome.failure", "outcome.failure"),
    ),
    mutant(
        "an attempt waits for as many notifications as it has seen",
        "no notification lost",
        Edit(suspensions, "suspension_of", "Awaiting(execution.counted,", "Awaiting(len(execution.notifications) + 1,"),
        focus="fan-in+waits",
    ),
    mutant(
        "the sweeper does not look for notifications that were not counted",
        "no notification lost",
        Edit(Sweeper, "_act", "if await self._runtime.notifier.wake_if_unseen(meta):", "if False:"),
    ),
    mutant(
        "the waiters of a promise are not told that its workflow is over",
        "storage is given back",
        Edit(Promises, "check", "if meta.waiters:", "if False:"),
        focus="results+expiry",
    ),
    mutant(
        "a promise is never given up",
        "storage is given back",
        Edit(Promises, "check", "if not gone:", "if True:"),
        focus="results+expiry",
    ),
    mutant(
        "a promise is given up although its workflow is not over",
        "2",
        Edit(Promises, "check", "if not gone:", "if False:"),
        focus="results+expiry",
    ),
    mutant(
        "an awakeable's id completes a command that is no awakeable",
        "results",
        Edit(runner, "receiving_command", "and not awakeable", "and False"),
        focus="strangers",
    ),
    mutant(
        "the outcome of a call waits for its caller's step",
        "5",
        Edit(CommitLog, "has_results", "case Completed(Execution(stored=True)):", "case Completed() if False:"),
        focus="beside+waits",
    ),
    mutant(
        "a result that came while its receiver resumed counts as expired",
        "no notification lost",
        Edit(Outbound, "attach", "lost and await self._was_notified(execution, n, id)", "False"),
        focus="attached",
    ),
    mutant(
        "a result of which its receiver is still to be notified counts as expired",
        "no notification lost",
        Edit(
            Outbound, "_was_notified", "if expired is not None and not expired.live and expired.waiters:", "if False:"
        ),
        focus="attached",
    ),
    mutant(
        "the dispatch of what has its result gets lost, and the next check is far off",
        "no notification lost",
        Edit(Notifier, "notify", " or not self._is_checked_soon(found)", ""),
        focus="distant",
    ),
)
