"""The simulator finds nothing in the engine, and finds what is broken on purpose."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, broken
from tests.simulation.run import case, run

REGRESSIONS = {
    5: "a head that a call had to read was read on the handler's own loop: waiting for it became a durable sleep",
    7: "the same: a journal with sleeps that nobody had asked for",
    8: "an optimistic request that had ended and met a conflict was not replayed",
    92: "the owner of a key whose head had just been read was failed before it ran",
    117: "a step ended just before its unit looked what to wait for: suspended, with nothing to wake it",
    387: "a process stood still between a head and its inbox, and found the inbox emptier than the head said",
    505: "a step that had ended ran again: the commit of its result met a conflict elsewhere",
    1027: "a step that had ended ran again: its result was on the way when the unit was rewound",
}
"""Seeds that once failed, and why."""


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 25):
        assert run(case(seed)).violations == [], f"python -m tests.simulation --seed {seed} --verbose"


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_regressions(seed: int) -> None:
    assert run(case(seed, extended=False)).violations == [], REGRESSIONS[seed]


def test_same_seed_same_history() -> None:
    one, two = run(case(3), history=True), run(case(3), history=True)

    assert [str(event) for event in one.history] == [str(event) for event in two.history]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(mutant: Mutant) -> None:
    with broken(mutant):
        assert any(run(case(seed)).violations for seed in range(200)), f"nobody noticed that {mutant.name}"
