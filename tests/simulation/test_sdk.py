"""Handlers of Restate's SDK do what their programs say, whatever happens to the exchanges with their endpoint."""

from __future__ import annotations

import pytest

from tests.simulation.run import case, run

# What a run that ends at a violation leaves behind.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 10):
        assert run(case(seed, "sdk")).violations == [], f"python -m tests.simulation --seed {seed} --focus sdk"
