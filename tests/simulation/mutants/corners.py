"""Engines that are broken where `tests.simulation.corners` and `tests.simulation.leaving` look."""

from __future__ import annotations

from adapter.engine import conflicts, control, lifecycle, loop
from adapter.engine.committer import Committer
from adapter.engine.control import Control
from adapter.engine.corrections import Corrections
from adapter.engine.engine import Engine
from adapter.engine.holding import Holding
from adapter.engine.listeners import Listeners
from adapter.engine.pending import Pending
from adapter.engine.runner import Runner
from adapter.engine.session import Session
from adapter.engine.transaction import Transaction
from adapter.engine.transitions import Transition
from adapter.engine.under_way import UnderWay
from adapter.engine.waiting import Waiting
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a commit creates again what already waits for its key",
        "2",
        Edit(Corrections, "_leave_out", "execution.dropped = True", "pass"),
        focus="twice",
    ),
    mutant(
        "a session that may not suspend an invocation forgets that it was to resume it",
        "no notification lost",
        Edit(Session, "_perform", "self.residents.woken |= woken", "pass"),
        focus="stale",
    ),
    mutant(
        "an invocation that another attempt has suspended is not resumed by the session that was to",
        "no notification lost",
        Edit(Engine, "_continue_interrupted", "for woken in session.residents.woken:", "for woken in ():"),
        focus="stale",
    ),
    mutant(
        "a rewind stops the read of what is counted",
        "no notification lost",
        Edit(UnderWay, "rewind", "isinstance(entry.task, Step | Refresh)", "isinstance(entry.task, Step)"),
        focus="counted",
    ),
    mutant(
        "an attempt begins on what was suspended since its record was read",
        "3",
        Edit(
            Transition,
            "update",
            'if "status" in self.requires or',
            'if ("status" in self.requires and "due" not in self.requires) or',
        ),
        focus="frozen",
    ),
    mutant(
        "a deadlock is broken when it is none any more",
        "no false deadlock",
        Edit(control, "_still_waiting", "[lifecycle.in_deadlock(meta) for meta in cycle]", "[]"),
        focus="crossed",
    ),
    mutant(
        "what an operator ends waits for its key",
        "an end waits for no key",
        Edit(Control, "_end", "execution.without_key = head.owner != meta.ref", "pass"),
        focus="doomed",
    ),
    mutant(
        "what an operator ends waits for its key after a crash",
        "an end waits for no key",
        Edit(Engine, "_begin", "execution.meta.outcome is not None and head.owner != execution.ref", "False"),
        focus="doomed",
    ),
    mutant(
        "a session commits what ran before its key was given to another",
        "7",
        Edit(Committer, "_holds", "if transaction.ran_without_key():", "if False:"),
        focus="parted+small",
    ),
    mutant(
        "a session commits what ran and ended before its key was given to another",
        "7",
        Edit(Transaction, "add", "own is not None and own.ran and state.owner != execution.ref", "False"),
        focus="parted+small",
    ),
    mutant(
        "a session does not tell its client that it suspends the invocation",
        "a client leaves what is suspended",
        Edit(Committer, "_on_committed", "self._runtime.listeners.on_suspended(id)", "pass"),
        focus="leaves",
    ),
    mutant(
        "what only sleeps is held for a client that leaves",
        "a client leaves what is suspended",
        Edit(
            Holding,
            "until",
            "if patience.leaves and not any(map(self._comes_from_elsewhere, self._awaited())):",
            "if False:",
        ),
        focus="leaves",
    ),
    mutant(
        "what waits for others is held for as long as a client waits that leaves",
        "a client leaves what is suspended",
        Edit(Holding, "inactivity", "min(longest, LEAVE_AFTER) if self._patience.leaves else longest", "longest"),
        focus="leaves",
    ),
    mutant(
        "what waits for others is not held for a client that leaves",
        "a client leaves what is suspended",
        Edit(Holding, "_comes_from_elsewhere", "return awaited is None or awaited.attempt is None", "return False"),
        focus="leaves",
    ),
    mutant(
        "a client does not leave what runs elsewhere",
        "a client leaves what is suspended",
        Edit(
            Waiting,
            "outcome",
            "elif meta is not None and patience.leaves and self._is_left(meta, ran_at):",
            "elif False:",
        ),
        focus="leaves",
    ),
    mutant(
        "a client leaves at once what runs elsewhere",
        "a client leaves what is suspended",
        Edit(Waiting, "_is_left", "now - ran_at >= LEAVE_AFTER", "True"),
        focus="leaves",
    ),
    mutant(
        "a client waits a while for what sleeps",
        "a client leaves what is suspended",
        Edit(Waiting, "_is_left", " or (meta.rests_until or 0) - now > LEAVE_AFTER", ""),
        focus="leaves",
    ),
    mutant(
        "each client leaves what its session suspends",
        "a client that does not leave waits",
        Edit(Listeners, "on_suspended", "if listener.patience.leaves:", "if True:"),
        focus="leaves",
    ),
    mutant(
        "each client leaves what runs elsewhere",
        "a client that does not leave waits",
        Edit(Waiting, "outcome", "and patience.leaves and", "and"),
        focus="leaves",
    ),
    mutant(
        "an output is stored that is too large",
        "values have a bound",
        Edit(
            Runner, "_check", 'bounded(attempt.result(), f"the output of {execution.meta.target}")', "attempt.result()"
        ),
        focus="excess",
    ),
    mutant(
        "of all tasks that await one operation, only the first continues",
        "no notification lost",
        Edit(Pending, "resolve", "for future in self.waiters:", "for future in self.waiters[:1]:"),
        focus="shields",
    ),
    mutant(
        "a set of futures has another order in each replay",
        "6",
        Edit(loop._Future, "__hash__", "return self._number", "return id(self) // 16"),
        focus="shields",
    ),
    mutant(
        "a cancelled message is not ended before it begins",
        "what is cancelled before it begins does not run",
        Edit(Control, "cancel", "if not_begun or await self._did_nothing(meta):", "if await self._did_nothing(meta):"),
        focus="withdrawn",
    ),
    mutant(
        "what was purged is answered until it expires",
        "what is purged is gone",
        Edit(lifecycle, "purged", '"expires": now, ', ""),
        focus="purges",
    ),
    mutant(
        "a session is given up where only the result of one that was ended meanwhile is seen",
        "a session goes on",
        Edit(
            conflicts,
            "_judge",
            "case Put(JournalSegment(",
            "case Put() if hasattr(found, 'outcome'): return Exists(found)\n        case Put(JournalSegment(",
        ),
        focus="ended+partly+waits",
    ),
)
