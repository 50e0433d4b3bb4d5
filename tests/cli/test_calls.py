"""`adapter call` and `adapter send`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from adapter.engine.ids import idempotent_id
from adapter.engine.types import Target
from tests.cli.conftest import Cli
from tests.drills.app import Report
from tests.drills.world import World, until


def test_a_call_prints_the_result(cli: Cli) -> None:
    assert cli.ok("call", "Mailer/send", '"Mary"').out == '"Dear Mary"\n'
    assert cli.ok("call", "Cart/ann/add", '"pear"', "-o", "json").json == 1
    assert cli.ok("call", "Cart/a key/with a slash/add", '"pear"').json == 1


def test_input_from_a_file_and_from_standard_input(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('"Ann"')
    assert cli.ok("call", "Mailer/send", f"@{file}").json == "Dear Ann"
    assert cli.ok("call", "Mailer/send", "-", input='"Bob"').json == "Dear Bob"


def test_an_idempotency_key_makes_calls_one(cli: Cli) -> None:
    for _ in range(2):
        assert cli.ok("call", "Cart/eve/add", '"fig"', "--idempotency-key", "7").json == 1


def test_a_call_that_is_suspended_is_waited_for(cli: Cli, world: World) -> None:
    id = idempotent_id(Target("Account", "transfer", "zoe"), "9")

    def go() -> None:
        output = f"{world.url}/restate/invocation/{id}/output"
        until(f"{id} has begun", lambda: httpx.get(output).status_code == 470)
        world.until_status(id, "suspended")
        world.signal(id, "go", "now")

    with ThreadPoolExecutor() as threads:
        going = threads.submit(go)
        ran = cli.ok("call", "Account/zoe/transfer", '"ann"', "--idempotency-key", "9", "-o", "table")
        going.result()
    assert ran.json == "10 for ann"
    assert ran.err == f"{id} is suspended. This command waits for its result.\n"


def test_a_call_that_is_not_to_be_waited_for(cli: Cli) -> None:
    sent = cli.ok("call", "Reminder/remind", '"Mary"', "-H", "Prefer: respond-async", "-o", "json")
    assert sent.json["status"] == "Accepted"


def test_refused_calls(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Report, "paper", False)
    assert cli("call", "Mailer/send", "7").code == 2
    assert cli("call", "Nobody/send", '"x"').code == 3
    failed = cli("call", "Report/make", "2026", "-o", "json")
    assert failed.code == 1
    assert (
        failed.error.items() >= {"message": "the printer has no paper", "status": 503, "source": "invocation"}.items()
    )
    assert failed.error["id"].startswith("inv_")


def test_a_message_is_sent(cli: Cli, world: World) -> None:
    id = cli.ok("send", "Mailer/send", '"Mary"').out.strip()
    assert world.shown(id)["target"] == "Mailer/send"
    later = cli.ok("send", "Mailer/send", '"Mary"', "--delay", "1h", "-o", "json").json
    assert later["status"] == "Accepted"
    assert world.shown(later["invocationId"])["status"] == "scheduled"
    assert cli("send", "Mailer/send", '"Mary"', "--delay", "soon").code == 2
