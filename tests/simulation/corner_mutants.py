"""Engines that are broken at the corners of `tests.simulation.corners`: what the simulator has to find."""

from __future__ import annotations

from adapter.engine.committer import Committer
from adapter.engine.control import Control
from adapter.engine.corrections import Corrections
from adapter.engine.engine import Engine
from adapter.engine.session import Session
from adapter.engine.transaction import Transaction
from tests.simulation.mutants import Edit, mutant

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
        Edit(Session, "_perform", "self.woken |= woken", "pass"),
        focus="stale",
    ),
    mutant(
        "an invocation that another attempt has suspended is not resumed by the session that was to",
        "no notification lost",
        Edit(Engine, "_continue_interrupted", "for woken in session.woken:", "for woken in ():"),
        focus="stale",
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
)
