"""The simulator finds nothing in the engine, and finds what is broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, broken
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.run import case, run

PLAIN = {
    5: "a head that a call had to read was read on the handler's own loop: waiting for it became a durable sleep",
    7: "the same: a journal with sleeps that nobody had asked for",
    8: "an optimistic request that had ended and met a conflict was not replayed",
    92: "the owner of a key whose head had just been read was failed before it ran",
    117: "a step ended just before its unit looked what to wait for: suspended, with nothing to wake it",
    387: "a process stood still between a head and its inbox, and found the inbox emptier than the head said",
    505: "a step that had ended ran again: the commit of its result met a conflict elsewhere",
    1027: "a step that had ended ran again: its result was on the way when the unit was rewound",
    31490: "three calls of a handler that had failed ended in one turn, and notified it in one commit",
    40372: "a rewind ran a root again that was over, and dropped a call that went on",
}
"""Seeds that once failed without extensions, and why."""

EXTENDED = {
    158: "a process died between two results of what a handler owes after its end: the replay did not expect them",
    596: "a failed attempt's cancellation of a call was carried out, and its retry met the result before its place",
    72553: "an invocation whose lease was over was claimed while its first attempt was queued behind the key's owner",
    84264: "an output whose parts were being deleted was read as an empty one",
    84789: "a claim met a notification, and was given up although that notification's dispatch counted on it",
    92294: "a cancelled call lost its place in the inbox; its process died; it ran after all, out of order",
    201499: "a rewind forgot that the unit had made an invocation under a key: the second call made it once more",
}
"""Seeds that once failed, and why."""


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_seeds(start: int) -> None:
    for seed in range(start, start + 25):
        assert run(case(seed)).violations == [], f"python -m tests.simulation --seed {seed} --verbose"


@pytest.mark.parametrize("seed", PLAIN)
def test_plain_regressions(seed: int) -> None:
    assert run(case(seed, extended=False)).violations == [], PLAIN[seed]


@pytest.mark.parametrize("seed", EXTENDED)
def test_extended_regressions(seed: int) -> None:
    assert run(case(seed)).violations == [], EXTENDED[seed]


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
        assert any(run(case(seed)).violations for seed in range(200)), f"nobody noticed that {mutant.name}"
