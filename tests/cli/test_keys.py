"""`adapter keys`, `adapter state`, and results from outside: awakeables, promises, signals."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.drills import situations
from tests.drills.world import World, until


def test_keys(cli: Cli, world: World) -> None:
    stuck = situations.stuck_key(world)
    ran = cli.ok("keys", "list")
    assert ran.out.splitlines()[1].split() == ["Account", "carl", "1", stuck.owner]
    assert cli.ok("keys", "list", "--service", "Cart").err == "no key has a queue\n"
    every = cli.ok("keys", "list", "--service", "Account", "--all", "-o", "json").json
    assert {each["key"] for each in every} == {"carl", "bank"}
    shown = cli.ok("keys", "show", "Account", "carl")
    assert shown.out.index(stuck.owner) < shown.out.index("1 waiting") < shown.out.index(stuck.waits)
    assert f"adapter inv why {stuck.owner}" in shown.out
    assert cli.ok("keys", "show", "Account", "carl", "-o", "json").json["owner"]["id"] == stuck.owner
    assert "no owner" in cli.ok("keys", "show", "Account", "nobody").out
    assert cli("keys", "show", "Nothing", "x").code == 3
    refused = cli("state", "set", "Account", "carl", "balance", "7")
    assert refused.code == 4
    cli.ok("inv", "kill", stuck.owner)


def test_state_is_seen_and_changed(cli: Cli, world: World, tmp_path: Path) -> None:
    situations.wrong_state(world)
    ran = cli.ok("state", "list", "Cart", "mary")
    assert ran.out.splitlines()[1].split(maxsplit=2)[2].strip() == '["pear", "fig"]'
    version = cli.ok("state", "list", "Cart", "mary", "-o", "json").json["version"]
    assert ran.err == f"version {version}\n"
    assert cli.ok("state", "get", "Cart", "mary", "total").out == "14"
    would = cli.ok("state", "set", "Cart", "mary", "total", "5", "--dry-run").out
    assert would == f"to be set: total from 14 to 5, at version {version}\n"
    assert cli.ok("state", "set", "Cart", "mary", "total", "5").out == f"Cart/mary is at version {version + 1}\n"
    assert cli.ok("state", "get", "Cart", "mary", "total").out == "5"
    assert cli("state", "set", "Cart", "mary", "total", "6", "--version", str(version)).code == 4
    file = tmp_path / "items.json"
    file.write_text('["plum"]')
    cli.ok("state", "set", "Cart", "mary", "items", f"@{file}")
    assert world.call("Cart/mary/add", "kiwi") == 2
    assert cli("state", "get", "Cart", "mary", "nothing").code == 3
    assert cli.ok("state", "list", "Cart", "nobody").out == "no state\n"


def test_state_is_cleared(cli: Cli, world: World) -> None:
    world.call("Cart/eve/add", "pear")
    assert cli.ok("state", "clear", "Cart", "eve", "--dry-run", "-o", "json").json["cleared"] == ["items", "total"]
    refused = cli("state", "clear", "Cart", "eve")
    assert (refused.code, "all state of Cart/eve is cleared only with --yes" in refused.err) == (2, True)
    assert cli.ok("state", "clear", "Cart", "eve", "total").out == "cleared total\n"
    assert cli.ok("state", "clear", "Cart", "eve", "--yes").out == "cleared items\n"
    assert cli.ok("state", "clear", "Cart", "eve", "--yes").out == "cleared nothing\n"


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program that is the editor: Python, with the path of the file in `path`."""
    script = tmp_path / "editor.py"
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{shlex.quote(sys.executable)} {script}")
    return script


def edits(script: Path, code: str) -> None:
    script.write_text(f"import sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n{code}\n")


def test_state_is_edited(cli: Cli, world: World, editor: Path) -> None:
    world.call("Cart/bob/add", "pear")
    edits(editor, "path.write_text(path.read_text().replace('pear', 'fig'))")
    assert "is at version" in cli.ok("state", "edit", "Cart", "bob", "items").out
    assert cli.ok("state", "get", "Cart", "bob", "items").out == '["fig"]'
    edits(editor, "")
    assert cli.ok("state", "edit", "Cart", "bob", "items").err == "nothing was changed\n"
    edits(editor, "sys.exit(3)")
    assert cli("state", "edit", "Cart", "bob", "items").code == 1


def test_an_edit_that_fails_keeps_the_text(cli: Cli, world: World, editor: Path) -> None:
    world.call("Cart/ann/add", "pear")
    edits(editor, "path.write_text('[fig]')")
    ran = cli("state", "edit", "Cart", "ann", "items")
    assert ran.code == 2
    assert Path(ran.err.rpartition(" ")[2].strip()).read_text() == "[fig]"
    # Somebody else is faster.
    request = f"import httpx; httpx.post({world.url + '/Cart/ann/add'!r}, json='kiwi').raise_for_status()"
    edits(editor, f"{request}\npath.write_text('[]')")
    ran = cli("state", "edit", "Cart", "ann", "items")
    assert ran.code == 4
    assert Path(ran.err.rpartition(" ")[2].strip()).read_text() == "[]"
    assert json.loads(cli.ok("state", "get", "Cart", "ann", "items").out) == ["pear", "kiwi"]


# --- results from outside ---


def test_an_awakeable_is_completed(cli: Cli, world: World) -> None:
    first, second = (situations.waiting_awakeable(world, key) for key in ("o1", "o2"))
    for action in ("resolve", "reject"):
        would = cli.ok("awakeable", action, first.awakeable, '"no"', "--dry-run", "-o", "json").json
        assert would["invocation"] == {"id": first.id, "target": "Approval/o1/run", "status": "suspended"}
    assert cli.ok("awakeable", "resolve", first.awakeable, '"yes"').out == f"resolved {first.awakeable}\n"
    world.until_status(first.id, "completed")
    assert cli.ok("call", "Approval/o1/answer").json == "120: yes"
    cli.ok("awakeable", "reject", second.awakeable, "too much", "--code", "402", "-o", "json")
    world.until_status(second.id, "completed")
    assert world.shown(second.id)["failure"].items() >= {"code": 402, "message": "too much"}.items()
    assert "it had a result before" in cli.ok("awakeable", "resolve", second.awakeable, "1").out
    assert cli("awakeable", "resolve", "awk_1").code in (2, 3)


def test_promises(cli: Cli, world: World) -> None:
    id = world.send("Approval/o3/run", 7)
    world.until_status(id, "suspended")
    assert cli.ok("promise", "list", "Approval", "o3").err == "there are no promises\n"
    would = cli.ok("promise", "resolve", "Approval", "o3", "signed", '"Mary"', "--dry-run").out
    assert would == "to be resolved: signed, of Approval/o3 (not asked for yet)\n"
    cli.ok("promise", "resolve", "Approval", "o3", "signed", '"Mary"')
    assert cli.ok("promise", "reject", "Approval", "o3", "signed", "no", "--dry-run").out.endswith("(resolved)\n")
    assert cli.ok("promise", "list", "Approval", "o3").out.splitlines()[1].split() == ["signed", "resolved", '"Mary"']
    cli.ok("promise", "reject", "Approval", "o3", "paid", "no money")
    listed = {each["name"]: each for each in cli.ok("promise", "list", "Approval", "o3", "-o", "json").json}
    paid = listed["paid"]
    assert (paid["status"], paid["failure"]["message"]) == ("rejected", "no money")
    assert "it had a result before" in cli.ok("promise", "resolve", "Approval", "o3", "signed", "1").out


def test_signals(cli: Cli, world: World) -> None:
    ids = [world.send("Account/dora/transfer", "eve"), world.send("Account/fred/transfer", "eve")]
    for id in ids:
        world.until_status(id, "suspended")
    would = cli.ok("signal", ids[0], "go", '"now"', "--dry-run").out
    assert would == f"to be sent: go, for Account/dora/transfer (suspended), {ids[0]}\n"
    assert cli.ok("signal", ids[0], "go", '"now"').out == f"sent go to {ids[0]}\n"
    cli.ok("signal", ids[1], "go", "--reject", "stop", "--code", "410")
    until("both are over", lambda: all(world.shown(id)["status"] == "completed" for id in ids))
    assert world.shown(ids[0])["outcome"] == "completed"
    assert world.shown(ids[1])["failure"]["message"] == "stop"
    assert cli("signal", "inv_" + "a" * 32, "go", "1").code == 3
