"""Handlers of Restate's SDK do what their programs say, whatever happens to the exchanges with their endpoint."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import Mutant, broken
from tests.simulation.run import case, run
from tests.simulation.sdk_mutants import MUTANTS

# What a run that ends at a violation leaves behind.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 10):
        assert run(case(seed, "sdk")).violations == [], f"python -m tests.simulation --seed {seed} --focus sdk"


def test_every_mutant_still_applies() -> None:
    for mutant in MUTANTS:
        with broken(mutant):
            pass


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(mutant: Mutant) -> None:
    with broken(mutant):
        assert any(run(case(seed, mutant.focus)).violations for seed in range(200)), (
            f"nobody noticed that {mutant.name}"
        )
