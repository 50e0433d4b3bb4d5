"""The commands as such: their help, their refusals, their exit codes, what they import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest

from adapter.cli.app import tree
from tests.cli.conftest import Cli
from tests.drills import situations
from tests.drills.world import World


def commands(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield every command of a tree, and every group, by its words."""
    yield words
    for name, each in getattr(command, "commands", {}).items():
        if name != "inv":  # the same as `invocations`
            yield from commands(each, *words, name)


ALL = list(commands(tree()))

EXPECTED = {
    "": "init dev pack template stubs openapi call send signal deadlocks doctor console",
    "awakeable": "resolve reject",
    "promise": "list resolve reject",
    "invocations": "list show why cancel kill pause resume restart purge logs",
    "state": "list get set edit clear",
    "keys": "list show",
    "services": "list show",
    "deployments": "list show remove",
    "dead-letters": "list purge",
}


def test_there_are_all_commands() -> None:
    for group, names in EXPECTED.items():
        assert {words[-1] for words in ALL if " ".join(words[:-1]) == group and words} >= set(names.split())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help(bare: Cli, words: tuple[str, ...]) -> None:
    ran = bare.ok(*words, "--help")
    assert "Usage: adapter" in ran.out


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_options_are_in_lower_case(words: tuple[str, ...]) -> None:
    command = tree()
    for word in words:
        command = command.commands[word]
    # Typer takes a metavar that is the option's name in capitals for the name.
    for parameter in command.params:
        assert all(name == name.lower() for name in parameter.opts if name.startswith("-") and len(name) > 2)


def test_version(bare: Cli) -> None:
    assert bare.ok("--version").out.strip() == version("serverless-adapter")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["inv", "show"], 2, "adapter inv show: Missing argument 'ID'. See adapter inv show --help"),
        (["inv", "list", "--foo"], 2, "No such option: --foo (Possible options: --on). See adapter inv list --help"),
        (["dev", "x", "--port", "99999"], 2, "99999 is not in the range 0<=x<=65535. See adapter dev --help"),
        (["dev", "x", "--port", "-1"], 2, "-1 is not in the range"),
        (["dev", "x", "--port", "http"], 2, "'http' is not a whole number. See adapter dev --help"),
        (["console", "--port", "99999"], 2, "99999 is not in the range"),
        (["explode"], 2, "No such command 'explode'"),
        (["inv", "list", "--status", "tired"], 2, "--status is one of scheduled, "),
        (["inv", "list", "--since", "soon"], 2, "'soon' is not a time"),
        (["inv", "list", "--url", "localhost"], 2, "--url starts with http"),
        (["inv", "list", "--url", "http://[x"], 2, "--url starts with http"),
        (["inv", "list", "--url", "http://localhost:1", "--stack", "x"], 2, "not both"),
        (["inv", "list", "--url", "http://localhost:1"], 1, "cannot reach http://localhost:1 "),
        (["inv", "cancel"], 2, "say which"),
        (["inv", "cancel", "inv_1", "--all"], 2, "not both"),
        (["inv", "list", "--watch", "-o", "json"], 2, "--watch"),
        (["call", "Greeter"], 2, "names no handler"),
        (["call", "Greeter/greet", "Mary"], 2, """For this text write '"Mary"'"""),
        (["call", "Greeter/greet", "@/does/not/exist"], 2, "cannot be read"),
        (["call", "Greeter/greet", "-H", "x"], 2, "'x' is not a header"),
        (["signal", "inv_1", "go", "1", "--reject", "no"], 2, "not both"),
        (["dev", "x", "--cors", "example.com"], 2, "is not an origin"),
        (["inv", "list", "--stack", "."], 2, "names no stack"),
    ],
)
def test_refusals(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bare(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    if "json" not in arguments:
        assert ran.err.startswith("adapter")
    if arguments[0] not in ("explode", "dev", "console"):
        told = bare(*arguments, "-o", "json").error
        assert told["exit_code"] == code
        assert told["message"] in ran.err


@pytest.mark.parametrize("words", [[], ["inv"], ["dead-letters"]])
def test_a_group_without_a_command_prints_its_help(bare: Cli, words: list[str]) -> None:
    ran = bare(*words)
    assert (ran.code, ran.err) == (2, "")
    assert "Usage: adapter" in ran.out


def test_without_a_server_it_says_which_there_could_be(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adapter.cli.target.DEV", "http://localhost:1")
    assert "start `adapter dev`, or give --stack NAME" in bare("services", "list").err
    (tmp_path / "samconfig.toml").write_text('[default.global.parameters]\nstack_name = "shop"\n')
    assert "--stack . for the deployed stack shop" in bare("services", "list").err


def imported(*arguments: str) -> set[str]:
    """The modules that a command imports, in a process of its own."""
    code = f"""
import sys
try:
    from adapter.cli import main
    main({list(arguments)!r})
except SystemExit:
    print(*{{name for name in sys.modules}}, file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stderr.splitlines()[-1].split())


SLOW = {
    "adapter.context", "adapter.engine.engine", "adapter.http", "boto3", "botocore", "pydantic", "starlette", "uvicorn",
}  # fmt: skip


def test_commands_start_fast_because_they_import_little() -> None:
    assert imported("--version") & (SLOW | {"httpx", "yaml"}) == set()
    loaded = imported("inv", "list", "--url", "http://127.0.0.1:1")
    assert "httpx" in loaded
    assert loaded & (SLOW | {"yaml"}) == set()


def test_a_function_imports_nothing_of_the_command_line() -> None:
    code = "import sys, adapter.aws.entry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "adapter.aws.entry" in loaded
    assert {name for name in loaded if name.split(".")[0] in ("typer", "rich", "yaml", "httpx")} == set()
    assert {name for name in loaded if name.startswith(("adapter.cli", "adapter.console", "adapter.project"))} == set()


def test_a_function_ships_no_library_of_the_command_line() -> None:
    required = {re.split(r"[^\w-]", each)[0] for each in requires("serverless-adapter") or () if "extra ==" not in each}
    assert "pydantic" in required
    assert required & {"httpx", "pyyaml", "rich", "tenacity", "typer", "uvicorn", "watchfiles"} == set()


def completed(line: str, world: World) -> list[str]:
    """What bash is offered at the end of a line."""
    ran = subprocess.run(
        [sys.executable, "-m", "adapter"],
        env={
            "PATH": os.environ["PATH"],
            "ADAPTER_URL": world.url,
            "_ADAPTER_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.split()


def test_completion(world: World) -> None:
    id = situations.waiting_awakeable(world).id
    assert {"list", "show", "why"} <= set(completed("adapter inv ", world))
    assert completed("adapter services show Appr", world) == ["Approval"]
    assert completed("adapter inv why inv_", world) == [id]
    assert "suspended" in completed("adapter inv list --status s", world)
    assert completed("adapter inv list --on shop", world) == ["shop:1"]
    assert completed("adapter inv why --url http://127.0.0.1:1 inv_", world) == []
