"""Engines and stores that are broken on purpose: what the simulator has to find."""

from __future__ import annotations

from tests.simulation.mutants import (
    attempts,
    corners,
    deadlocks,
    keys,
    messages,
    operators,
    results,
    sdk,
    steps,
    store,
    storms,
)

MUTANTS = (
    *attempts.MUTANTS,
    *corners.MUTANTS,
    *deadlocks.MUTANTS,
    *keys.MUTANTS,
    *messages.MUTANTS,
    *operators.MUTANTS,
    *results.MUTANTS,
    *sdk.MUTANTS,
    *steps.MUTANTS,
    *store.MUTANTS,
    *storms.MUTANTS,
)
