"""The drills of `docs/guides/operating.md` by the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Cli
from tests.drills import situations
from tests.drills.app import Report
from tests.drills.world import World
from tests.drills.world import world as served


@pytest.fixture
def world() -> Iterator[World]:
    with served() as world:
        yield world


def test_unblock_a_deadlock(cli: Cli, world: World) -> None:
    crossed = situations.cross_deadlock(world)
    [ring] = cli.ok("deadlocks", "-o", "json").json
    assert ring["text"] == "Account/ann → Account/bob → Account/ann"
    assert "deadlock" in cli.ok("inv", "why", crossed.bob).out
    cli.ok("inv", "cancel", crossed.bob)
    assert world.until_status(crossed.bob, "completed")["outcome"] == "cancelled"
    assert world.until_status(crossed.ann, "completed")["outcome"] == "completed"
    assert cli.ok("deadlocks").err == "no deadlock\n"


def test_resume_what_failed_on_the_fixed_version(cli: Cli, world: World) -> None:
    ids = situations.failed_since_a_deployment(world)
    listed = cli.ok("inv", "list", "--status", "paused", "--since", "1h", "-o", "json").json
    assert {each["id"] for each in listed} == set(ids)
    assert {each["deployment"] for each in listed} == {"shop:2"}
    assert "KeyError: 'no template for Ann'" in cli.ok("inv", "show", ids[0]).out
    situations.fix(world)
    query = ("--on", "shop:2", "--status", "paused", "--deployment", "latest")
    cli.ok("inv", "resume", *query, "--dry-run")
    assert cli.ok("inv", "resume", *query, "--yes").out == "resumed 3\n"
    for id in ids:
        done = world.until_status(id, "completed")
        assert (done["outcome"], done["deployment"]) == ("completed", "shop:3")


def test_find_why_a_key_is_stuck(cli: Cli, world: World) -> None:
    stuck = situations.stuck_key(world)
    assert stuck.owner in cli.ok("keys", "list").out
    assert stuck.waits in cli.ok("keys", "show", "Account", "carl").out
    assert "ConnectionError: the bank is down" in cli.ok("inv", "why", stuck.waits).out
    cli.ok("inv", "cancel", stuck.cause)
    assert world.until_status(stuck.waits, "completed")["outcome"] == "completed"


def test_edit_state(cli: Cli, world: World) -> None:
    situations.wrong_state(world)
    version = cli.ok("state", "list", "Cart", "mary", "-o", "json").json["version"]
    cli.ok("state", "set", "Cart", "mary", "total", "5", "--version", str(version))
    assert cli.ok("state", "get", "Cart", "mary", "total").out == "5"
    assert cli("state", "set", "Cart", "mary", "total", "6", "--version", str(version)).code == 4


def test_resolve_an_awakeable_by_hand(cli: Cli, world: World) -> None:
    waiting = situations.waiting_awakeable(world)
    assert waiting.awakeable in cli.ok("inv", "show", waiting.id).out
    cli.ok("awakeable", "resolve", waiting.awakeable, '"approved by phone"')
    world.until_status(waiting.id, "completed")
    assert "120: approved by phone" in cli.ok("inv", "show", waiting.id, "--payloads").out


def test_restart_from_the_fifth_entry(cli: Cli, world: World) -> None:
    failed = situations.failed_at_the_fifth_entry(world)
    assert "failure 503: the printer has no paper" in cli.ok("inv", "show", failed).out
    new = cli.ok("inv", "restart", failed, "--from", "4", "-o", "json").json["invocationId"]
    assert world.until_status(new, "completed")["outcome"] == "completed"
    assert "2026: collect, sort, sum, draw" in cli.ok("inv", "show", new, "--payloads").out
    assert set(Report.steps.values()) == {1}


def test_empty_the_dead_letters(cli: Cli, world: World) -> None:
    id = situations.dead_letters(world)
    assert id in cli.ok("dead-letters", "list").out
    assert world.shown(id)["status"] == "suspended"
    cli.ok("dead-letters", "purge", "--yes")
    assert cli.ok("dead-letters", "list").err == "there are no dead letters\n"


def test_remove_an_old_version(cli: Cli, world: World) -> None:
    id = situations.old_version(world)
    assert cli("deployments", "remove", "shop:1", "--yes").code == 4
    assert [each["id"] for each in cli.ok("inv", "list", "--on", "shop:1", "-o", "json").json] == [id]
    cli.ok("inv", "resume", id, "--deployment", "latest")
    world.until_status(id, "suspended")
    cli.ok("deployments", "remove", "shop:1", "--yes")
    assert "shop:1" not in cli.ok("deployments", "list").out
