"""The simulator finds nothing in the engine, and finds what is broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, broken
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.run import case, run

# What a run that ends at a violation leaves behind.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 25):
        assert run(case(seed)).violations == [], f"python -m tests.simulation --seed {seed} --verbose"


def test_costs() -> None:
    for seed in range(200):
        assert run(case(seed, "costs")).violations == [], f"python -m tests.simulation --seed {seed} --focus costs"


@pytest.mark.parametrize("what", REGRESSIONS)
def test_regressions(what: str) -> None:
    for number in range(20):
        assert run(replace(REGRESSIONS[what], seed=str(number))).violations == [], what


def test_same_seed_same_history() -> None:
    one, two = run(case(3), history=True), run(case(3), history=True)

    assert [str(event) for event in one.history] == [str(event) for event in two.history]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(mutant: Mutant) -> None:
    with broken(mutant):
        assert any(run(case(seed, mutant.focus)).violations for seed in range(200)), (
            f"nobody noticed that {mutant.name}"
        )
