"""`adapter invocations`: lists, one, why, and the actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from adapter.cli import acting, asking
from adapter.cli.invocations import summaries
from tests.cli.conftest import Cli
from tests.drills import situations
from tests.drills.situations import Crossed, Stuck, Waiting
from tests.drills.world import World, until
from tests.drills.world import world as served

UNKNOWN = "inv_" + "a" * 32


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with served() as world:
        yield world


@pytest.fixture(scope="module")
def stuck(world: World) -> Stuck:
    return situations.stuck_key(world)


@pytest.fixture(scope="module")
def waiting(world: World) -> Waiting:
    return situations.waiting_awakeable(world)


@pytest.fixture(scope="module")
def failed(world: World) -> str:
    return situations.failed_at_the_fifth_entry(world)


# --- looking ---


def test_a_list_has_what_is_live(cli: Cli, stuck: Stuck, waiting: Waiting, failed: str) -> None:
    ran = cli.ok("inv", "list")
    lines = ran.out.splitlines()
    assert lines[0].split()[:4] == ["id", "target", "status", "age"]
    row = next(line for line in lines if stuck.cause in line)
    assert re.search(r"Account/bank/deposit +backing-off .* next in 5\d min: ConnectionError: the bank is down", row)
    assert stuck.waits in ran.out
    assert waiting.id in ran.out
    assert failed not in ran.out


def test_filters(cli: Cli, stuck: Stuck, waiting: Waiting, failed: str) -> None:
    def ids(*options: str) -> list[str]:
        return [each["id"] for each in cli.ok("invocations", "list", *options, "-o", "json").json]

    assert ids("--status", "queued") == [stuck.waits]
    assert set(ids("--status", "queued", "--status", "backing-off")) == {stuck.waits, stuck.cause}
    assert ids("--outcome", "failed") == [failed]
    assert failed in ids("--all")
    assert ids("--service", "Account", "--handler", "deposit") == [stuck.cause]
    assert ids("--service", "Account", "--key", "carl") == [stuck.waits, stuck.owner]
    assert ids("--deployment", "shop:9") == []
    assert ids("--older-than", "1h") == []
    assert stuck.waits in ids("--since", "1h")
    assert stuck.waits in ids("--since", (datetime.now(UTC) - timedelta(minutes=50)).isoformat())
    assert len(ids("--limit", "2")) == 2
    assert ids("--service", "Account", "--service", "Cart", "--handler", "withdraw", "--handler", "add") == [
        stuck.waits
    ]
    assert set(ids("--key", "carl", "--key", "bank")) == {stuck.waits, stuck.owner, stuck.cause}
    assert ids("bank is down") == ids("--text", "Bank is Down") == [stuck.cause]
    assert ids("account/carl", "queued") == [stuck.waits]
    assert ids(stuck.waits[:12]) == [stuck.waits]
    assert ids("--all", "report/make", "failed") == [failed]
    assert cli.ok("inv", "list", "--key", "nobody").err.startswith("no invocation matches; --all lists")


def test_a_narrow_terminal_gets_two_lines_for_each(cli: Cli, stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.cli.output.WIDE", 80)
    lines = cli.ok("inv", "list", "--service", "Account", "--handler", "deposit").out.splitlines()
    assert re.fullmatch(rf"{stuck.cause}  backing-off +\d+ \w+  Account/bank/deposit", lines[0])
    assert re.match(r"    next in 5\d min: ConnectionError: the bank is down", lines[1])
    lines = cli.ok("inv", "why", stuck.waits).out.splitlines()
    assert lines[0] == f"{stuck.waits} Account/carl/withdraw"
    assert lines[1].startswith("    queued for ")


def test_what_runs_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    one = {"id": "inv_1", "target": "Mailer/send", "created": soon, "attempts": 1, "due": soon}
    for width in (200, 80):
        Console(width=width).print(
            summaries([{**one, "status": "running"}, {**one, "id": "inv_2", "status": "scheduled"}], width)
        )
        assert capsys.readouterr().out.count("due in") == 1


def test_json_lines(cli: Cli, stuck: Stuck) -> None:
    listed = cli.ok("inv", "list", "-o", "jsonl", "--service", "Account").lines
    assert {stuck.waits, stuck.owner, stuck.cause} == {each["id"] for each in listed}


def test_one_invocation(cli: Cli, waiting: Waiting) -> None:
    ran = cli.ok("inv", "show", waiting.id)
    first, second, third = ran.out.splitlines()[:3]
    assert re.match(r"Approval/o1/run +suspended for \d+ \w+ +attempt 1 of 70 +deployment shop:1$", first)
    assert second.startswith(f"{waiting.id}   created 20")
    assert third == f"waits for awakeable {waiting.awakeable}  (adapter awakeable resolve {waiting.awakeable})"
    assert re.search(r'0 .* awakeable .*\n1 .* set +ask .*\n2 .* run +"mail"|run +mail', ran.out)
    shown = cli.ok("inv", "show", waiting.id, "-o", "json").json
    assert shown["waits"][0]["id"] == waiting.awakeable
    assert [each["command"] for each in shown["journal"] if "n" in each] == ["awakeable", "set", "run"]


def test_attempts_are_counted_as_the_retry_policy_does(cli: Cli, stuck: Stuck) -> None:
    assert re.match(r"Account/bank/deposit +backing-off .* attempt 1 of 70 ", cli.ok("inv", "show", stuck.cause).out)
    resumed = cli.ok("inv", "show", stuck.owner, "-o", "json").json
    assert resumed["attempts"] == 2  # it was suspended in between, and did not fail
    assert re.match(r"Account/carl/transfer +suspended .* attempt 1 of 70 ", cli.ok("inv", "show", stuck.owner).out)


def test_one_that_failed_with_its_payloads(cli: Cli, failed: str) -> None:
    ran = cli.ok("inv", "show", failed, "--payloads")
    assert "failure 503: the printer has no paper" in ran.out
    assert re.search(r"^input +2026$", ran.out, re.MULTILINE)
    assert re.search(r'^0 .* run +collect .* "collect"', ran.out, re.MULTILINE)
    assert "input  2026" not in cli.ok("inv", "show", failed).out


def test_a_large_payload_is_fetched(cli: Cli, world: World) -> None:
    world.call("Cart/large/add", "x" * 5000)
    [id] = [each["id"] for each in cli.ok("inv", "list", "--all", "--key", "large", "-o", "json").json]
    assert "x" * 5000 not in cli.ok("inv", "show", id).out
    assert "x" * 5000 in cli.ok("inv", "show", id, "--payloads").out.replace("\n", "")


def test_a_terminal_is_not_told_what_to_do_by_a_key(cli: Cli) -> None:
    key = "\x1b[2J\x9b"
    cli.ok("call", f"Cart/{key}/add", '"pear"')
    ran = cli.ok("inv", "list", "--all", "--key", key)
    assert "\x1b" not in ran.out
    assert "Cart/\\x1b[2J\\x9b/add" in ran.out
    assert cli.ok("inv", "list", "--all", "--key", key, "-o", "json").json[0]["key"] == key
    assert "\x1b" not in cli("state", "get", "Cart", "x", key).err


def test_a_key_with_a_line_break_is_one_row(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.ok("call", "Cart/one\ntwo\tthree/add", '"pear"')
    [row] = cli.ok("inv", "list", "--all", "--key", "one\ntwo\tthree").out.splitlines()[1:]
    assert r"Cart/one\ntwo\tthree/add" in row
    id = row.split()[0]
    for command in (["show", id], ["show", id, "--tree"], ["why", id]):
        assert r"Cart/one\ntwo\tthree/add" in cli.ok("inv", *command).out
    assert cli.ok("keys", "show", "Cart", "one\ntwo\tthree").out.startswith(r"Cart/one\ntwo\tthree ")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("adapter.cli.output.WIDE", 100)
    assert r"Cart/one\ntwo\tthree/add" in cli.ok("inv", "list", "--all", "--key", "one\ntwo\tthree").out


def test_a_deployed_stack_has_its_log_elsewhere(cli: Cli, failed: str) -> None:
    refused = cli("inv", "logs", failed)
    assert refused.code == 1
    assert f"adapter inv logs {failed} --stack" in refused.err


def test_a_tree(cli: Cli, stuck: Stuck) -> None:
    tree = cli.ok("inv", "show", stuck.owner, "--tree").out.rpartition("\n\n")[2].splitlines()
    assert tree[0].startswith("Account/carl/transfer  suspended")
    assert "Account/bank/deposit" in tree[1]
    tree = cli.ok("inv", "show", stuck.cause, "--tree").out.rpartition("\n\n")[2].splitlines()
    assert "Account/carl/transfer" in tree[0]


def test_why(cli: Cli, stuck: Stuck) -> None:
    ran = cli.ok("inv", "why", stuck.waits)
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"{stuck.waits} Account/carl/withdraw ")
    assert lines[1].startswith(f"└ {stuck.owner} Account/carl/transfer ")
    assert re.match(
        rf"  └ {stuck.cause} Account/bank/deposit +backing off, attempt 1 of 70: ConnectionError: the bank is down",
        lines[2],
    )
    assert f"\nadapter inv resume {stuck.cause}   # resume it now: Account/bank/deposit\n" in ran.out
    answer = cli.ok("inv", "why", stuck.waits, "-o", "json").json
    assert [each["id"] for each in answer["chain"]] == [*stuck]


def test_why_in_a_ring(cli: Cli, world: World) -> None:
    crossed: Crossed = situations.cross_deadlock(world)
    ran = cli.ok("inv", "why", crossed.ann)
    assert "a deadlock" in ran.out
    assert f"adapter inv cancel {crossed.ann}" in ran.out
    assert f"adapter inv kill {crossed.ann}" not in ran.out
    cli.ok("inv", "kill", crossed.ann)


def test_an_id_may_be_cut(cli: Cli, stuck: Stuck, waiting: Waiting) -> None:
    cut = stuck.waits[:12]
    assert cli.ok("inv", "show", cut, "-o", "json").json["id"] == stuck.waits
    [first, *_] = cli.ok("inv", "why", f"{cut}\N{HORIZONTAL ELLIPSIS}", "-o", "json").json["chain"]
    assert first["id"] == stuck.waits
    assert cli.ok("inv", "cancel", cut, waiting.id[:12], "--dry-run", "-o", "json").json["matched"] == 2
    assert cli("inv", "show", "inv_00").code == 3
    several = cli("inv", "kill", "inv_")
    assert several.code == 2
    assert several.err.startswith("adapter inv kill: several ids begin with inv_, as inv_")


@pytest.mark.parametrize("command", ["show", "why", "cancel", "kill", "pause", "resume", "restart", "purge"])
def test_there_is_no_such_invocation(cli: Cli, command: str) -> None:
    assert cli("inv", command, UNKNOWN).code == 3
    assert cli("inv", command, "inv_1").code == 3
    assert cli("inv", command, "Shop").code == 2
    assert cli("inv", command, UNKNOWN, "-o", "json").error["status"] == 404


def test_watching_ends_with_the_invocation(cli: Cli, failed: str) -> None:
    assert len(cli.ok("inv", "show", failed, "--watch", "-o", "jsonl").lines) == 1


def test_watching_ends_when_interrupted(cli: Cli, monkeypatch: pytest.MonkeyPatch, stuck: Stuck) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("adapter.cli.watching.time.sleep", sleep)
    ran = cli.ok("inv", "list", "--status", "queued", "--watch", "-o", "jsonl")
    assert [each["id"] for each in ran.lines] == [stuck.waits] * 2


# --- acting ---


@pytest.fixture
def sleeping(world: World) -> Iterator[list[str]]:
    ids = [world.send("Reminder/remind", name) for name in ("Ann", "Bob", "Eve")]
    for id in ids:
        world.until_status(id, "suspended")
    yield ids
    for id in ids:
        world.http.post(f"/admin/invocations/{id}/kill")


def test_a_life(cli: Cli, world: World, sleeping: list[str]) -> None:
    id = sleeping[0]
    assert cli.ok("inv", "pause", id).out == f"paused {id}\n"
    assert cli.ok("inv", "pause", id).out == f"{id} was paused already\n"
    assert cli.ok("inv", "resume", id).out == f"resumed {id}\n"
    world.until_status(id, "suspended")
    assert cli("inv", "purge", id).code == 4
    assert cli.ok("inv", "cancel", id, "-o", "json").json == {"invocationId": id, "status": "accepted"}
    world.until_status(id, "completed")
    assert cli("inv", "kill", id).code == 4
    restarted = cli.ok("inv", "restart", id, "-o", "json").json
    assert restarted["restarted"] == id
    cli.ok("inv", "kill", restarted["invocationId"])
    assert cli.ok("inv", "purge", id).out == f"purged {id}\n"
    assert cli("inv", "show", id).code == 3


def test_a_restart_of_what_is_live_says_that_both_run(cli: Cli, sleeping: list[str]) -> None:
    live = sleeping[0]
    restarted = cli.ok("inv", "restart", live)
    new = restarted.out.split()[-1]
    assert restarted.err == (
        f"{live} is suspended and continues beside the new one: adapter inv cancel {live} ends it\n"
    )
    cli.ok("inv", "kill", new)
    again = cli.ok("inv", "restart", new)
    assert again.err == ""
    cli.ok("inv", "kill", again.out.split()[-1])


def test_many_are_changed_after_a_question_only(
    cli: Cli, world: World, sleeping: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = ("--service", "Reminder", "--status", "suspended")
    dry = cli.ok("inv", "kill", *query, "--dry-run")
    assert all(id in dry.out for id in sleeping)
    assert dry.err == "3 to be killed\n"
    refused = cli("inv", "kill", *query)
    assert refused.code == 2
    assert all(id in refused.out for id in sleeping)
    assert "3 invocations are killed only with --yes" in refused.err
    monkeypatch.setattr(asking, "is_terminal", lambda: True)
    declined = cli("inv", "kill", *query, input="n\n")
    assert declined.code == 1
    assert "3 invocations are killed. Continue? [y/N]" in declined.err
    assert "nothing was changed" in declined.err
    assert all(world.shown(id)["status"] == "suspended" for id in sleeping)
    assert cli.ok("inv", "kill", *query, input="y\n").out.endswith("killed 3\n")
    assert all(world.shown(id)["outcome"] == "killed" for id in sleeping)
    assert cli.ok("inv", "kill", *query, "--yes").out == "killed 0\n"


@pytest.mark.parametrize("options", [["--dry-run"], ["--yes"]])
def test_no_invocation_is_changed_of_a_service_that_does_not_exist(cli: Cli, options: list[str]) -> None:
    refused = cli("inv", "kill", "--service", "Nope", *options)
    assert (refused.code, refused.out) == (3, "")
    assert "there is no service 'Nope': `adapter services list` lists them" in refused.err


def test_many_by_their_ids(cli: Cli, sleeping: list[str]) -> None:
    dry = cli.ok("inv", "cancel", *sleeping, UNKNOWN, "--dry-run", "-o", "json").json
    assert (dry["matched"], [each["id"] for each in dry["skipped"]]) == (3, [UNKNOWN])
    done = cli.ok("inv", "cancel", *sleeping, UNKNOWN, "--yes", "-o", "json").json
    assert (done["done"], len(done["skipped"])) == (3, 1)
    nothing = cli("inv", "cancel", UNKNOWN, UNKNOWN.replace("a", "b"), "--yes")
    assert (nothing.code, nothing.out) == (4, "cancelled 0\n")
    assert "there is no such invocation" in nothing.err


def test_more_than_a_page(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "PAGE", 2)
    ids = [world.send("Reminder/remind", "page") for _ in range(5)]
    for id in ids:
        world.until_status(id, "suspended")
    by_id = cli.ok("inv", "kill", *ids[:3], "--yes", "-o", "json").json
    assert by_id == {"done": 3, "skipped": []}
    assert cli.ok("inv", "kill", "--service", "Reminder", "--yes", "-o", "json").json == {"done": 2, "skipped": []}
    until("all are over", lambda: all(world.shown(id)["status"] == "completed" for id in ids))


def test_a_command_acts_again_when_it_is_given_again(cli: Cli, world: World, failed: str) -> None:
    for _ in range(2):
        assert cli.ok("inv", "restart", failed, failed, "--yes", "-o", "json").json["done"] == 1
    made = [each["id"] for each in cli.ok("inv", "list", "--all", "--service", "Report", "-o", "json").json]
    assert len(made) == 3
    for id in made:
        world.until_status(id, "completed")


def test_an_action_applies_to_what_it_can(cli: Cli, failed: str) -> None:
    assert cli.ok("inv", "restart", "--service", "Report", "--dry-run", "-o", "json").json["matched"] >= 1
    assert cli.ok("inv", "resume", "--service", "Report", "--dry-run", "-o", "json").json["matched"] == 0
