"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from adapter.garbage import THRESHOLD, settle


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize(("before", "after"), [(700, THRESHOLD), (0, 0), (50_000, 50_000)])
def test_the_threshold_is_only_raised(before: int, after: int) -> None:
    gc.set_threshold(before, 10, 10)
    settle()
    assert gc.get_threshold()[0] == after


def test_a_collector_that_is_switched_off_stays_so() -> None:
    gc.disable()
    settle()
    assert not gc.isenabled()


def test_what_is_there_is_not_looked_at_again() -> None:
    settle()
    assert gc.get_freeze_count() > 10_000


def test_an_import_changes_nothing() -> None:
    code = "import gc; before = gc.get_threshold(); from adapter import lambda_handler; import adapter.local.server\n"
    code += "assert gc.get_threshold() == before and not gc.get_freeze_count()"
    subprocess.run([sys.executable, "-c", code], check=True)
