"""What a stack has: services, deployments, deadlocks, dead letters, descriptions; and the console's command."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.engine.ports import NotIndexed
from tests.cli.conftest import Cli
from tests.drills import situations
from tests.drills.world import World
from tests.drills.world import world as served


@pytest.fixture
def world() -> Iterator[World]:
    with served() as world:
        yield world


def test_services(cli: Cli) -> None:
    lines = cli.ok("services", "list").out.splitlines()
    assert ["Cart", "object", "shop:1", "add"] in [line.split() for line in lines]
    shown = cli.ok("services", "show", "Cart").out.splitlines()
    assert shown[0].split() == ["Cart", "object", "shop:1"]
    assert shown[2].split() == ["add", "exclusive", "string", "integer"]
    assert shown[-2:] == ["team=shop", "add: writes=items"]
    assert cli("services", "show", "Nobody").code == 3


def test_deployments(cli: Cli, world: World) -> None:
    id = situations.old_version(world)
    rows = {line.split()[0]: line for line in cli.ok("deployments", "list").out.splitlines()[1:]}
    assert rows["shop:1"].split()[1:4] == ["1", "1", "suspended"]
    assert rows["shop:2"].split()[-1] == "current"
    assert cli.ok("deployments", "show", "shop:1", "-o", "json").json["live"] == 1
    refused = cli("deployments", "remove", "shop:1", "--yes", "-o", "json")
    assert (refused.code, refused.error["live"]) == (4, 1)
    assert "it is the current one" in cli("deployments", "remove", "shop:2", "--yes").err
    cli.ok("inv", "kill", id)
    assert "safe to remove" in cli.ok("deployments", "list").out
    assert cli.ok("deployments", "remove", "shop:1", "--dry-run").out == "shop:1 would be removed\n"
    assert cli("deployments", "remove", "shop:1").code == 2
    assert cli.ok("deployments", "remove", "shop:1", "--yes").out == "removed shop:1\n"
    assert cli("deployments", "show", "shop:1").code == 3


def test_without_an_index_no_deployment_is_removed(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> Any:
        raise NotIndexed

    situations.old_version(world)
    cli.ok("inv", "kill", "--all", "--yes")
    monkeypatch.setattr(world.store, "index", refuse)
    assert "keeps no history" in cli.ok("deployments", "list").err
    for option in ("--dry-run", "--yes"):
        refused = cli("deployments", "remove", "shop:1", option)
        assert refused.code == 4
        assert "History=true" in refused.err
    monkeypatch.undo()


def test_deadlocks(cli: Cli, world: World) -> None:
    assert cli.ok("deadlocks").err == "no deadlock\n"
    crossed = situations.cross_deadlock(world)
    ran = cli.ok("deadlocks")
    assert "Account/ann → Account/bob → Account/ann" in ran.out
    assert f"adapter inv cancel {crossed.ann}   # Account/ann/transfer, suspended" in ran.out
    [ring] = cli.ok("deadlocks", "-o", "json").json
    assert set(crossed) <= {each["id"] for each in ring["cycle"]}


def test_dead_letters(cli: Cli, world: World) -> None:
    assert cli.ok("dead-letters", "list").err == "there are no dead letters\n"
    assert cli.ok("dead-letters", "purge").out == "deleted about 0 dead letters\n"
    id = situations.dead_letters(world)
    ran = cli.ok("dead-letters", "list")
    assert ran.out.count(id) == 4  # in a column of its own, and in the body
    assert "the function was throttled" in ran.out
    assert cli.ok("dead-letters", "purge", "--dry-run", "-o", "json").json["count"] == 2
    assert cli("dead-letters", "purge").code == 2
    assert len(world.dead_letters) == 2
    assert cli.ok("dead-letters", "purge", "--yes").out == "deleted about 2 dead letters\n"
    assert world.dead_letters == []


def test_descriptions(cli: Cli, tmp_path: Path) -> None:
    document = cli.ok("openapi").json
    assert "/Cart/{key}/add" in document["paths"]
    file = tmp_path / "admin.json"
    cli.ok("openapi", "--admin", "-o", str(file))
    assert json.loads(file.read_text())["openapi"].startswith("3.1")
    assert cli("openapi", "-o", str(tmp_path / "no" / "file")).code == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "says"),
    [
        (200, {"content-type": "text/html"}, b"<p>Hello", 1, "does not answer with JSON: check the URL"),
        (404, {}, b'{"message": "Not Found"}', 3, "is not served (Not Found): check the URL"),
        (403, {}, b'{"message": "Forbidden"}', 1, "denied (Forbidden): the credentials need execute-api:Invoke"),
        (503, {}, b'{"message": "busy", "code": 503, "source": "ingress"}', 1, "busy (503): try again"),
        (500, {}, b"", 1, "Internal Server Error (500): try again"),
    ],
)  # fmt: skip
def test_answers_of_others(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str], body: bytes, code: int, says: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, content=body)

    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: client(**options, transport=httpx.MockTransport(answer)))
    ran = bare("services", "list", "--url", "http://localhost:1")
    assert (ran.code, says in ran.err) == (code, True), ran.err


def test_the_console_is_told_where_the_server_is(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def serve(url: str, auth: Any, **options: Any) -> int:
        told.append((url, auth, options))
        return 0

    monkeypatch.setattr("adapter.console.serve.serve", serve)
    cli.ok("console", "--port", "0", "--no-browser")
    assert told == [(world.url, None, {"options": "", "stack": None, "port": 0, "browser": False})]


def test_the_consoles_port_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = cli("console", "--port", str(taken.getsockname()[1]), "--no-browser")
    assert (ran.code, "Try --port 0" in ran.err) == (1, True)


# --- the doctor ---


def test_a_healthy_server(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = {each["check"]: each["level"] for each in cli.ok("doctor", "-o", "json").json}
    assert found == {"server": "ok", "admin": "ok", "dead letters": "ok", "deployments": "ok"}


def test_a_server_that_does_not_answer(bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bare("doctor", "--url", "http://localhost:1", "-o", "json")
    assert ran.code == 1
    assert [(each["check"], each["level"]) for each in ran.json] == [("server", "wrong")]


def test_a_server_in_trouble(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    situations.cross_deadlock(world)
    situations.dead_letters(world)
    situations.failed_since_a_deployment(world)
    ran = cli("doctor", "-o", "json")
    assert ran.code == 1
    found = {each["check"]: each for each in ran.json}
    assert found["deadlock"]["level"] == found["dead letters"]["level"] == "wrong"
    assert found["paused"]["advice"] == "adapter inv list -s paused"
    assert all(each.get("advice") for each in ran.json if each["level"] != "ok")
    assert "→ cancel one of the cycle: adapter deadlocks" in cli("doctor").out


TEMPLATE = """\
Globals:
  Function:
    AutoPublishAlias: live
    Environment: {Variables: {ADAPTER_STACK: !GetAtt Adapter.Outputs.Settings}}
Resources:
  AppFunction:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${AWS::StackName}_app
      AutoPublishAliasAllProperties: true
  Deployment:
    Type: Custom::AdapterDeployment
    Properties:
      Functions:
        - {Alias: !Ref AppFunction.Alias, Version: !Ref AppFunction.Version}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("AppFunction.Alias", "Other.Alias", "AppFunction is in no Custom::AdapterDeployment"),
        ("Custom::AdapterDeployment", "AWS::SQS::Queue", "no resource has the type Custom::AdapterDeployment"),
        ("AutoPublishAlias: live", "AutoPublishAlias: new", "AppFunction is not published as live"),
        ("!Sub ${AWS::StackName}_app", "app", "AppFunction has no FunctionName that begins with the stack's"),
        (
            "AutoPublishAliasAllProperties: true",
            "MemorySize: 512",
            "publishes no version when only",
        ),
        ("Resources:", "Resources: [", "cannot be read"),
    ],
)
def test_mistakes_in_a_template(cli: Cli, tmp_path: Path, old: str, new: str, says: str) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)
    assert cli("doctor", "--template", str(file), "-o", "json").json[0]["level"] == "ok"
    assert old in TEMPLATE
    file.write_text(TEMPLATE.replace(old, new))
    ran = cli("doctor", "--template", str(file), "-o", "json")
    assert ran.code == 1
    [found] = [each for each in ran.json if each["level"] == "wrong"]
    assert says in found["says"]
    assert found["advice"]


POLICIES = (
    "Policies: [!GetAtt Adapter.Outputs.FunctionPolicy, {LambdaInvokePolicy: {FunctionName: !Ref GreeterFunction}}]"
)

DRIVER = f"""\
  GreeterFunction:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 30
  GreeterDriver:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${{AWS::StackName}}_greeter-driver
      AutoPublishAliasAllProperties: true
      {POLICIES}
      Timeout: 60
      Environment: {{Variables: {{ADAPTER_ENDPOINT: !Ref GreeterFunction.Version}}}}
  Deployment:
"""

LISTED = (
    "{Alias: !Ref GreeterDriver.Alias, Version: !Ref GreeterDriver.Version, Endpoint: !Ref GreeterFunction.Version}"
)


@pytest.mark.parametrize(
    ("old", "new", "level", "says"),
    [
        (", Endpoint: !Ref GreeterFunction.Version", "", "wrong", "GreeterDriver is deployed without its endpoint"),
        (LISTED, "{Alias: !Ref AppFunction.Alias}", "wrong", "GreeterDriver is in no Custom::AdapterDeployment"),
        ("Timeout: 60", "Timeout: 30", "wrong", "its Timeout of 30 s is not longer than that of GreeterFunction"),
        ("      Timeout: 60\n", "", "wrong", "its Timeout of 3 s is not longer"),
        (
            POLICIES,
            "Role: !GetAtt Adapter.Outputs.FunctionRole",
            "wrong",
            "GreeterDriver may not invoke GreeterFunction",
        ),
        (
            "    Properties:\n      Timeout: 30",
            "    Properties:\n      FunctionName: !Sub ${AWS::StackName}_greeter\n      Timeout: 30",
            "note",
            "every function of the stack may invoke GreeterFunction",
        ),
    ],
)
def test_mistakes_of_a_driver(cli: Cli, tmp_path: Path, old: str, new: str, level: str, says: str) -> None:
    file, text = tmp_path / "template.yaml", f"{TEMPLATE.replace('  Deployment:', DRIVER[:-1])}        - {LISTED}\n"
    file.write_text(text)
    assert cli("doctor", "--template", str(file), "-o", "json").json[0]["level"] == "ok"
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    ran = cli("doctor", "--template", str(file), "-o", "json")
    assert ran.code == (level == "wrong")
    [found] = [each for each in ran.json if each["level"] != "ok"]
    assert (found["level"], says in found["says"]) == (level, True), found
    assert found["advice"]


def test_a_driver_of_a_function_in_another_template(cli: Cli, tmp_path: Path) -> None:
    file, text = tmp_path / "template.yaml", f"{TEMPLATE.replace('  Deployment:', DRIVER[:-1])}        - {LISTED}\n"
    before, rest = text.split("  GreeterFunction:")
    after = rest[rest.index("  GreeterDriver:") :].replace("!Ref GreeterFunction.Version", "!Ref Endpoint")
    file.write_text(before + after)
    assert cli("doctor", "--template", str(file), "-o", "json").json[0]["level"] == "ok"


def test_a_stack_that_cannot_be_found(bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samconfig.toml").write_text(
        '[default.global.parameters]\nstack_name = "shop"\nregion = "eu-central-1"\n'
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    ran = bare("doctor", "-o", "json")
    assert ran.code == 1
    [found] = ran.json
    assert "cannot read the stack shop in eu-central-1" in found["says"]


@pytest.mark.parametrize(("command", "member"), [("deployments", "deployment"), ("dead-letters", "invocation_id")])
def test_a_list_is_watched(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch, command: str, member: str) -> None:
    situations.dead_letters(world)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("adapter.cli.watching.time.sleep", sleep)
    once = [each[member] for each in cli.ok(command, "list", "-o", "json").json]
    assert once
    assert [each[member] for each in cli.ok(command, "list", "--watch", "-o", "jsonl").lines] == 2 * once
