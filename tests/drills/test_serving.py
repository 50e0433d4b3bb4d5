"""`make drills`: one server in all the troubles at once, on which each command of the guide works as it is printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.drills import __main__ as drills
from tests.drills import situations
from tests.drills.world import World, until
from tests.drills.world import world as served

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "operating.md"

DEPLOY = "# fix the code, and deploy"

ASKS = ("inv resume --on", "dead-letters purge", "deployments remove")
"""Commands that ask before they act."""


@pytest.fixture
def world() -> Iterator[World]:
    with served() as world:
        yield world


def printed() -> dict[str, list[str]]:
    """The lines of code of each drill, by its heading."""
    chapter = GUIDE.read_text().partition("\n## Drills\n")[2].partition("\n## ")[0]
    return {
        section.partition("\n")[0]: re.findall(r"^    ((?:adapter|#) .*)$", section, re.MULTILINE)
        for section in chapter.split("\n### ")[1:]
    }


def is_quiet(world: World) -> bool:
    """Return True if no attempt runs or is about to."""
    return not world.http.get("/admin/invocations", params={"status": ["ready", "running"]}).json()["invocations"]


def test_each_drill_works_as_it_is_printed(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/14/6/")
    made = {each.title: each for each in drills.make(world)}
    found = printed()
    assert list(found) == list(made)
    for title, lines in found.items():
        assert any(line.startswith("adapter") for line in lines), title
        until("nothing runs", lambda: is_quiet(world))
        for line in lines:
            if line.startswith(DEPLOY):
                situations.fix(world)
            if not line.startswith("adapter"):
                continue
            words = [made[title].words.get(word, word) for word in shlex.split(line, comments=True)[1:]]
            if "state set" in line:  # the version is the one that `state list` prints
                words[-1] = str(cli.ok("state", "list", "Cart", "mary", "-o", "json").json["version"])
            asks = any(line.startswith(f"adapter {command}") for command in ASKS) and "--dry-run" not in words
            cli.ok(*words, *(["--yes"] if asks else []))
    until("nothing runs", lambda: is_quiet(world))
    left = cli.ok("inv", "list", "-o", "json").json
    assert {each["deployment"] for each in left} <= {"shop:3"}
    assert not any("Account/ann" in each["target"] or each["status"] == "paused" for each in left)
    assert cli.ok("state", "get", "Cart", "mary", "total").out == "5"
    assert cli.ok("dead-letters", "list", "-o", "json").json == []
    assert "shop:1" not in cli.ok("deployments", "list").out
