"""The simulator finds nothing in the engine, and finds what is broken on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from tests.simulation.corners import CORNERS
from tests.simulation.fingerprint import fingerprint
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutation import Mutant, broken
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.run import case, run
from tests.simulation.storms import PLANS

# What a run that ends at a violation leaves behind.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 25):
        assert run(case(seed)).violations == [], f"python -m tests.simulation --seed {seed} --verbose"


def test_what_the_library_builds_on_the_engine() -> None:
    for seed in range(25):
        assert run(case(seed, "further")).violations == [], f"python -m tests.simulation --seed {seed} --focus further"


@pytest.mark.parametrize("focus", [*CORNERS, "cuts+parts", "ended+partly", "parted+small", "leaves", "leaving"])
def test_corners(focus: str) -> None:
    for seed in range(15):
        assert run(case(seed, focus)).violations == [], f"python -m tests.simulation --seed {seed} --focus {focus}"


@pytest.mark.parametrize("focus", ["stills+rough", "tardy+pages", "belated", *PLANS])
def test_storms(focus: str) -> None:
    for seed in range(15):
        assert run(case(seed, focus)).violations == [], f"python -m tests.simulation --seed {seed} --focus {focus}"


def test_costs() -> None:
    for seed in range(200):
        assert run(case(seed, "costs")).violations == [], f"python -m tests.simulation --seed {seed} --focus costs"


@pytest.mark.parametrize("what", REGRESSIONS)
def test_regressions(what: str) -> None:
    for seed in (REGRESSIONS[what].seed, *map(str, range(20))):
        assert run(replace(REGRESSIONS[what], seed=seed)).violations == [], what


@pytest.mark.parametrize("focus", ["results", "sdk"])
def test_a_fingerprint_depends_on_nothing_but_the_seed(focus: str) -> None:
    command = (sys.executable, "-m", "tests.simulation", "--fingerprint", "--seeds", "8", "--focus", focus)
    hashes = [
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True)
        for seed in ("1", "2")
    ]

    assert hashes[0].stdout == hashes[1].stdout
    assert fingerprint(run(case(3), history=True)) != fingerprint(run(case(4), history=True))


def test_a_fingerprint_leaves_out_names_and_nothing_else() -> None:
    @dataclass
    class Renamed:
        due: int

    @dataclass
    class Former:
        at: int

    one, two, other = (
        replace(run(case(3)), history=[(0.0, "P1", each)]) for each in (Former(1), Renamed(1), Former(2))
    )

    assert fingerprint(one) == fingerprint(two) != fingerprint(other)


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
