"""Engines that are broken at the corners of `tests.simulation.corners`: what the simulator has to find."""

from __future__ import annotations

from adapter.engine.corrections import Corrections
from adapter.engine.engine import Engine
from adapter.engine.session import Session
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
)
