"""The guides' code works: the Python blocks of a page make a module, whose tests run here."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Test = Callable[..., Coroutine[Any, Any, None]]


def _load(guide: Path) -> list[Test]:
    text = guide.read_text()
    module = ModuleType(f"guide_{guide.stem}")
    sys.modules[module.__name__] = module
    for block in BLOCK.finditer(text):
        lines = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines + block[1], guide, "exec", dont_inherit=True), vars(module))
    return [each for name, each in vars(module).items() if name.startswith("test_")]


CASES = [pytest.param(test, id=f"{guide.stem}-{test.__name__}") for guide in GUIDES for test in _load(guide)]


@pytest.mark.parametrize("test", CASES)
async def test_guide(test: Test) -> None:
    for replay in (False, True) if "replay" in inspect.signature(test).parameters else (None,):
        await (test() if replay is None else test(replay))


def test_every_guide_is_tested() -> None:
    assert {guide.stem for guide in GUIDES} == {str(case.id).split("-")[0] for case in CASES}
