"""The public API is typed: mypy --strict and pyright strict accept the examples and flag the mistakes, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("examples.py", "mistakes.py")

Lines = dict[str, dict[int, str]]
"""What is flagged, by file and line."""


@pytest.fixture(scope="module")
def mypy() -> Lines:
    command = ["mypy", "--strict", "--no-error-summary", "--no-pretty", "--hide-error-context", "--output=json"]
    lines: Lines = {name: {} for name in FILES}
    for line in _run(*command, *(str(HERE / name) for name in FILES)).splitlines():
        problem = json.loads(line)
        if problem["severity"] == "error" and Path(problem["file"]).parent.name == HERE.name:
            lines[Path(problem["file"]).name].setdefault(problem["line"], problem["message"])
    return lines


@pytest.fixture(scope="module")
def pyright() -> Lines:
    # Strict by a comment in the files themselves.
    output = _run("pyright", "--outputjson", "--pythonpath", sys.executable, *(str(HERE / name) for name in FILES))
    report = json.loads(output[output.index("{") :])
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    lines: Lines = {name: {} for name in FILES}
    for problem in report["generalDiagnostics"]:
        if problem["severity"] == "error":
            line = problem["range"]["start"]["line"] + 1
            lines[Path(problem["file"]).name].setdefault(line, problem["message"])
    return lines


def _run(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _marked() -> set[int]:
    lines = (HERE / "mistakes.py").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("  # E")}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_examples_have_the_types_that_they_say(checker: str, request: pytest.FixtureRequest) -> None:
    found: Lines = request.getfixturevalue(checker)
    assert found["examples.py"] == {}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_mistake_is_flagged_and_nothing_else(checker: str, request: pytest.FixtureRequest) -> None:
    found: Lines = request.getfixturevalue(checker)
    unmarked = {line: message for line, message in found["mistakes.py"].items() if line not in _marked()}
    assert unmarked == {}
    assert _marked() - found["mistakes.py"].keys() == set()
