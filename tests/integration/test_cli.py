"""The command line against the deployed stack: it finds the stack by its name, and signs its requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.integration.waiting import accepted, awaits_promise, until


@dataclass(frozen=True)
class Cli:
    """Runs commands in a process of their own, as an operator of the stack."""

    stack: Stack

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ADAPTER_"))}
        credentials = {name.upper(): value for name, value in LOCAL_CREDENTIALS.items()}
        assert self.stack.endpoint is not None
        environment |= {"AWS_ENDPOINT_URL": self.stack.endpoint, "AWS_DEFAULT_REGION": self.stack.region, **credentials}
        return subprocess.run(
            [sys.executable, "-m", "adapter", *arguments, "--stack", self.stack.name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def __call__(self, *arguments: str) -> str:
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture
def cli(stack: Stack) -> Cli:
    return Cli(stack)


@pytest.fixture
def key() -> str:
    return uuid4().hex[:10]


def test_calls_and_messages(cli: Cli, key: str) -> None:
    assert cli.json("call", f"Counter/{key}/add", "3") == 3
    id = cli("send", f"Counter/{key}/add", "4", "--delay", "1h").strip()
    assert re.match(rf"Counter/{key}/add +scheduled", cli("inv", "show", id))
    assert cli("inv", "kill", id) == f"killed {id}\n"
    assert cli.run("inv", "kill", id).returncode == 4
    assert cli.run("inv", "show", "inv_" + "a" * 32).returncode == 3


def test_lists_actions_and_logs(cli: Cli, http: httpx.Client, key: str) -> None:
    id = accepted(http, f"/SignUp/{key}/run/send", f"{key}@example.com")
    until("it is listed", lambda: any(each["id"] == id for each in cli.json("inv", "list", "--key", key)))
    until("it waits for the code", lambda: awaits_promise(cli.json("inv", "show", id)))
    assert "waits for" in cli("inv", "why", id[:20])
    assert [each["id"] for each in cli.json("inv", "list", f"SignUp/{key}/", "suspended")] == [id]
    several = ("--service", "SignUp", "--service", "Counter", "--key", key, "--key", "nobody")
    assert [each["id"] for each in cli.json("inv", "list", *several)] == [id]
    meant = cli.json("inv", "cancel", *several, "--dry-run")
    assert [each["id"] for each in meant["invocations"]] == [id]
    assert {"service": "SignUp", "key": key, "owner": id, "waiting": 0} in cli.json(
        "keys", "list", "--service", "SignUp", "--all"
    )
    done = cli.json("inv", "cancel", "--service", "SignUp", "--key", key, "--yes")
    assert (done["done"], done["skipped"]) == (1, [])
    until("it has ended", lambda: cli.json("inv", "show", id)["status"] == "completed")
    until("its lines are there", lambda: id in cli("inv", "logs", id, "-o", "jsonl"))


def test_state(cli: Cli, key: str) -> None:
    cli("call", f"Counter/{key}/add", "7")
    [name] = cli.json("state", "list", "Counter", key)["state"]
    cli("state", "set", "Counter", key, name, "40")
    assert cli.json("call", f"Counter/{key}/add", "2") == 42
    assert cli.json("keys", "show", "Counter", key)["owner"] is None


def test_the_stack(cli: Cli, stack: Stack) -> None:
    services = {each["name"]: each for each in cli.json("services", "list")}
    assert services["Counter"]["deployment"].startswith(f"{stack.name}_greeter:")
    current = [each for each in cli.json("deployments", "list") if each["current"]]
    assert len(current) == len(stack.functions)
    refused = cli.run("deployments", "remove", current[0]["deployment"], "--yes")
    assert refused.returncode == 4
    assert isinstance(cli.json("dead-letters", "list"), list)
    assert "/Counter/{key}/add" in cli("openapi")


def test_the_doctor_finds_nothing_wrong(cli: Cli) -> None:
    ran = cli.run("doctor", "--template", "none", "-o", "json")
    found = json.loads(ran.stdout)
    wrong = [each for each in found if each["level"] in ("wrong", "unknown")]
    assert [each for each in wrong if each["check"] not in ("dead letters", "deadlock")] == []
    assert {"credentials", "stack", "timers", "admin"} <= {each["check"] for each in found}
    assert sum(each["check"].startswith(("table ", "function ")) for each in found) >= 6


def test_there_is_no_such_stack(cli: Cli) -> None:
    other = Cli(Stack("nobody", cli.stack.endpoint, cli.stack.region))
    ran = other.run("services", "list")
    assert ran.returncode == 3
    assert "there is no stack nobody" in ran.stderr
