"""The page on internals places every module of the engine, and the order of the lines is true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "adapter" / "engine"
SECTION = (ROOT / "docs" / "internals.md").read_text().partition("\n## Layers of the engine\n")[2].partition("\n## ")[0]
LINES = [re.findall(r"\[(\w+)\.py\]", line) for line in SECTION.splitlines() if line.startswith("| [")]
MODULES = sorted(path.stem for path in ENGINE.glob("*.py") if path.stem != "__init__")


def test_every_module_is_in_one_line() -> None:
    assert sorted(module for line in LINES for module in line) == MODULES


def test_a_module_imports_none_of_the_lines_above() -> None:
    place = {module: at for at, line in enumerate(LINES) for module in line}
    upwards = [(each, other) for each in MODULES for other in _imports(each) if place[other] < place[each]]

    assert upwards == []


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ENGINE / f"{module}.py").read_text())):
        match node:
            case ast.ImportFrom(module="adapter.engine", names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(source)) if source.startswith("adapter.engine."):
                yield source.split(".")[2]
            case _:
                pass
