"""The smoke test for a real account, on the emulator: all but its deployment and its tour, which `make run` takes."""

from __future__ import annotations

import pytest

from infra.smoke import Smoke
from infra.stack import Stack
from infra.tour import UnexpectedError


def test_all_checks_succeed(stack: Stack) -> None:
    lines, well = Smoke(stack).report()
    assert well, "\n".join(lines)
    assert len(lines) == 2 + len(Smoke(stack).checks)


def test_a_check_that_fails_is_reported(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Smoke) -> str:
        """A check"""
        raise UnexpectedError("expected: more")

    monkeypatch.setattr(Smoke, "checks", property(lambda self: [fails.__get__(self)]))
    lines, well = Smoke(stack).report()
    assert not well
    assert lines[-1] == "| A check | **not as it should be**: expected: more |"
