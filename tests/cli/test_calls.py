"""`adapter call` and `adapter send`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.cli import calls
from adapter.cli.api import Api, Unreachable
from adapter.engine.ids import idempotent_id
from adapter.engine.types import Target
from tests.cli.conftest import Cli, Ran
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
    id, ran = suspended(cli, world, "9")
    assert ran.code == 0, ran.err
    assert ran.json == "10 for ann"
    assert ran.err == f"{id} has no result yet, and this command waits for it. Why: adapter inv why {id}\n"


class Interrupted:
    """Lets something happen to requests for results.

    Args:
        happens: For each of these requests, an error to raise or a status to return. The last is for all that follow.
        monkeypatch: Takes the place of the requests.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *happens: BaseException | int | None) -> None:
        self._happens = list(happens)
        self._ask = Api.ask
        monkeypatch.setattr(Api, "ask", lambda api, *arguments, **options: self(api, *arguments, **options))
        monkeypatch.setattr(calls, "LONGEST_UNTOLD", 0.01)

    def __call__(self, api: Api, method: str, path: str, *arguments: Any, **options: Any) -> httpx.Response:
        if path.endswith("/attach"):
            happens = self._happens.pop(0) if len(self._happens) > 1 else self._happens[0]
            if isinstance(happens, BaseException):
                raise happens
            if happens is not None:
                error = {"message": "down", "code": happens, "source": "ingress"}
                return httpx.Response(happens, json=error, headers={"x-restate-error-source": "ingress"})
        return self._ask(api, method, path, *arguments, **options)


def suspended(cli: Cli, world: World, idempotency_key: str) -> tuple[str, Ran]:
    """Call a handler that waits for a signal, which is sent already. Return the invocation's id, and how it ended."""
    id = idempotent_id(Target("Account", "transfer", idempotency_key), idempotency_key)

    def go() -> None:
        output = f"{world.url}/restate/invocation/{id}/output"
        until(f"{id} has begun", lambda: httpx.get(output).status_code == 470)
        world.until_status(id, "suspended")
        world.signal(id, "go", "now")

    with ThreadPoolExecutor() as threads:
        going = threads.submit(go)
        handler = f"Account/{idempotency_key}/transfer"
        ran = cli("call", handler, '"ann"', "--idempotency-key", idempotency_key, "-o", "table")
        going.result()
    return id, ran


def test_a_server_that_does_not_answer_for_a_while(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupted(monkeypatch, Unreachable("cannot reach it"), 503, None)
    assert suspended(cli, world, "outage")[1].json == "10 for ann"


def test_a_server_that_does_not_answer_any_more(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LONGEST_OUTAGE", 0.05)
    Interrupted(monkeypatch, Unreachable("cannot reach it"))
    id, ran = suspended(cli, world, "gone")
    assert ran.code == 1
    assert f"adapter call: cannot reach it. {id} continues: adapter inv show {id}" in ran.err


def test_an_interrupted_call_tells_what_continues(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupted(monkeypatch, KeyboardInterrupt())
    id, ran = suspended(cli, world, "interrupted")
    assert ran.code == 130
    assert f"{id} continues: adapter inv show {id}" in ran.err


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
