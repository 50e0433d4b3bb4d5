"""The pages show commands that exist, and docs/cli.md is what the commands say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.cli.app import tree
from tests.cli.reference import PAGE, page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "adapter").rglob("*.md.tmpl"))]
COMMAND = re.compile(r"(?:^|[`$(&;]) *(?:\.venv/bin/)?adapter ([a-z-]+(?: [^`\n]*)?)(?:`|$)", re.MULTILINE)


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.cli.reference"


def shown() -> Iterator[Any]:
    for each in PAGES:
        for found in COMMAND.finditer(each.read_text()):
            yield pytest.param(found[1], id=f"{each.stem}-{found[1][:40]}")


@pytest.mark.parametrize("line", list(shown()))
def test_commands_of_the_pages_exist(line: str) -> None:
    command: Any = tree()
    for word in shlex.split(line.replace("'", "").replace('"', ""), comments=True):
        if word in ("|", ">", "&&"):
            break
        if hasattr(command, "commands"):
            assert word in command.commands or word in ("COMMAND", "--install-completion"), line
            command = command.commands.get(word, command)
        elif word.startswith("--") or re.fullmatch("-[a-zA-Z]", word):
            names = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
            assert word.partition("=")[0].strip("[]") in names, line
