"""What `adapter doctor` finds in an account, and how a stack is found by its name. AWS is a few canned answers here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from adapter.aws.deployed import DeployedStack, StackError, core_session, find_stack, signer
from adapter.cli.checks import account
from adapter.cli.checks.finding import Level
from adapter.cli.failures import Exit, Failure
from adapter.cli.target import Target

SETTINGS = json.dumps({"name": "shop", "invocations": "shop-Invocations"})
OUTPUTS = {
    "Settings": SETTINGS,
    "ApiUrl": "https://id.execute-api.eu-central-1.amazonaws.com/",
    "ApiId": "id",
    "InvocationsTable": "shop-Invocations",
    "ObjectsTable": "shop-Objects",
    "FunctionPolicy": "arn:aws:iam::1:policy/shop",
    "TimersGroup": "shop-timers",
    "LogGroup": "/aws/lambda/shop",
}


class Missing(Exception):
    pass


def refused(operation: str, code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Aws:
    """Answers of AWS by operation. A test changes the one that it is about; an exception is raised."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "get_caller_identity": {"Arn": "arn:aws:iam::1:user/mary"},
            "describe_stacks": {"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]},
            "describe_table": {"Table": {"TableStatus": "ACTIVE", "DeletionProtectionEnabled": True}},
            "describe_time_to_live": {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED"}},
            "describe_continuous_backups": {
                "ContinuousBackupsDescription": {
                    "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}
                }
            },
            "list_stack_resources": {
                "StackResourceSummaries": [
                    {"ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": "shop_app"},
                    {"ResourceType": "AWS::CloudFormation::Stack", "PhysicalResourceId": "nested"},
                ]
            },
            "get_function_configuration": {
                "Version": "7",
                "Runtime": "python3.13",
                "Role": "arn:aws:iam::1:role/shop-role",
                "Environment": {"Variables": {"ADAPTER_STACK": SETTINGS}},
            },
            "get_function_recursion_config": {"RecursiveLoop": "Allow"},
            "list_attached_role_policies": {"AttachedPolicies": [{"PolicyArn": OUTPUTS["FunctionPolicy"]}]},
            "get_schedule_group": {"State": "ACTIVE"},
            "list_schedules": {"Schedules": [{"State": "ENABLED"}]},
        }
        self.exceptions = SimpleNamespace(ResourceNotFoundException=Missing)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            answer = self.answers[operation]
            if callable(answer):
                answer = answer(**arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **arguments: iter([getattr(self, operation)(**arguments)]))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws = Aws()
    monkeypatch.setattr(DeployedStack, "client", lambda self, service: aws)
    return aws


def findings() -> Iterator[Any]:
    return account.check(DeployedStack("shop", "eu-central-1", OUTPUTS, botocore.session.Session()))


def test_a_stack_in_order(aws: Aws) -> None:
    found = list(findings())
    assert [each for each in found if each.level is not Level.OK] == []
    assert [each.check for each in found] == [
        "credentials", "stack", "table shop-Invocations", "table shop-Objects", "function shop_app", "timers",
        "sweeper",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "answer", "level", "says", "advice"),
    [
        ("get_caller_identity", NoCredentialsError(), "unknown", "Unable to locate credentials", "logged in"),
        ("describe_stacks", {"Stacks": [{"StackStatus": "UPDATE_FAILED"}]}, "wrong", "UPDATE_FAILED", "deploy again"),
        ("describe_stacks", {"Stacks": [{"StackStatus": "UPDATE_ROLLBACK_COMPLETE"}]}, "note", "ROLLBACK", "failed"),
        ("describe_stacks", {"Stacks": [{"StackStatus": "UPDATE_IN_PROGRESS"}]}, "note", "IN_PROGRESS", "wait"),
        ("describe_table", {"Table": {"TableStatus": "ARCHIVED"}}, "wrong", "ARCHIVED", "backup"),
        ("describe_table", {"Table": {"TableStatus": "ACTIVE"}}, "note", "without deletion protection", "production"),
        (
            "describe_time_to_live",
            {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}},
            "note",
            "without time to live",
            "emulator",
        ),
        ("get_function_configuration", Missing(), "wrong", "no alias live", "AutoPublishAlias: live"),
        ("get_function_recursion_config", {"RecursiveLoop": "Terminate"}, "wrong", "recursive loop", "Loop: Allow"),
        ("list_attached_role_policies", {"AttachedPolicies": []}, "wrong", "lacks the policy", "FunctionPolicy"),
        (
            "list_attached_role_policies",
            refused("ListAttachedRolePolicies", "AccessDenied", "no"),
            "unknown",
            "ListAttachedRolePolicies",
            "iam:ListAttachedRolePolicies",
        ),
        ("get_schedule_group", {"State": "DELETING"}, "wrong", "shop-timers is DELETING", "template"),
        ("list_schedules", {"Schedules": [{"State": "DISABLED"}]}, "wrong", "no schedule is enabled", "enable it"),
    ],
)  # fmt: skip
def test_something_is_wrong(aws: Aws, operation: str, answer: Any, level: str, says: str, advice: str) -> None:
    aws.answers[operation] = answer
    [found, *_] = [each for each in findings() if each.level is not Level.OK]
    assert found.level == level
    assert says in found.says
    assert advice in found.advice


def test_on_aws_a_table_needs_a_time_to_live(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    aws.answers["get_metric_statistics"] = {"Datapoints": []}
    aws.answers["describe_time_to_live"] = {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    found = [each for each in findings() if each.check.startswith("table")]
    assert [(each.level, each.says) for each in found] == [(Level.WRONG, "without time to live")] * 2


@pytest.mark.parametrize(
    ("variables", "says"),
    [({}, "no variable ADAPTER_STACK"), ({"ADAPTER_STACK": "{}"}, "not what the stack has now")],
)
def test_a_functions_settings(aws: Aws, variables: dict[str, str], says: str) -> None:
    aws.answers["get_function_configuration"]["Environment"] = {"Variables": variables}
    [found] = [each for each in findings() if each.level is not Level.OK]
    assert says in found.says


# --- drivers of SDKs' functions ---

SDK = "arn:aws:lambda:eu-central-1:1:function:shop-GreeterFunction-1A2B"


@pytest.fixture
def driven(aws: Aws) -> dict[str, dict[str, Any]]:
    """A stack with an SDK's function and its driver: what Lambda says of both."""
    host = aws.answers["get_function_configuration"]
    driver = {
        **host,
        "Timeout": 60,
        "Environment": {"Variables": {"ADAPTER_STACK": SETTINGS, "ADAPTER_ENDPOINT": f"{SDK}:4"}},
    }
    sdk = {"Version": "4", "Runtime": "nodejs22.x", "Role": "arn:aws:iam::1:role/sdk", "Timeout": 30}
    functions = {"shop_driver": driver, "shop-GreeterFunction-1A2B": sdk, f"{SDK}:4": sdk}
    aws.answers["list_stack_resources"] = {
        "StackResourceSummaries": [
            {"ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": name}
            for name in ("shop_driver", "shop-GreeterFunction-1A2B")
        ]
    }
    aws.answers["get_function_configuration"] = lambda FunctionName, Qualifier="": functions.get(  # noqa: N803
        FunctionName, Missing()
    )
    aws.answers["get_alias"] = lambda FunctionName, Name: {"FunctionVersion": functions[f"{SDK}:4"]["Version"]}  # noqa: N803
    return functions


def test_an_sdks_function_needs_no_settings_of_ours(aws: Aws, driven: dict[str, dict[str, Any]]) -> None:
    found = list(findings())
    assert [each for each in found if each.level is not Level.OK] == []
    assert [each.check for each in found if each.check.startswith("function")] == ["function shop_driver"]


def test_an_sdks_function_with_an_alias_of_its_own(aws: Aws, driven: dict[str, dict[str, Any]]) -> None:
    aws.answers["get_alias"] = Missing()
    assert [each for each in findings() if each.level is not Level.OK] == []


@pytest.mark.parametrize(
    ("function", "change", "level", "says"),
    [
        ("shop_driver", {"Timeout": 30}, "wrong", "its Timeout of 30 s is not longer than"),
        (f"{SDK}:4", {"Version": "5"}, "wrong", "version 4 of shop-GreeterFunction-1A2B, whose current version is 5"),
        (f"{SDK}:4", None, "wrong", f"it invokes {SDK}:4, which does not exist"),
        (
            "shop_driver",
            {"Environment": {"Variables": {"ADAPTER_STACK": SETTINGS, "ADAPTER_ENDPOINT": "f:shop_greeter:4"}}},
            "note",
            "every function of the stack may invoke shop_greeter",
        ),
    ],
)
def test_something_is_wrong_with_a_driver(
    aws: Aws, driven: dict[str, dict[str, Any]], function: str, change: dict[str, Any] | None, level: str, says: str
) -> None:
    driven["f:shop_greeter:4"] = driven[f"{SDK}:4"]
    if change is None:
        del driven[function]
    else:
        driven[function] |= change
    [found] = [each for each in findings() if each.level is not Level.OK and each.check == "function shop_driver"]
    assert (found.level, says in found.says) == (level, True), found.says
    assert found.advice


# --- a stack by its name ---


def test_the_outputs_of_the_nested_stack(aws: Aws) -> None:
    own = {"ApiUrl": "https://shop.example"}
    aws.answers["describe_stacks"] = lambda **given: {
        "Stacks": [
            {
                "Outputs": [
                    {"OutputKey": name, "OutputValue": value}
                    for name, value in (OUTPUTS if given["StackName"] == "nested" else own).items()
                ]
            }
        ]
    }
    stack = find_stack("shop", region="eu-central-1")
    assert stack.outputs == OUTPUTS | own
    assert stack.url == "http://localhost:4566/_aws/execute-api/id/$default"
    assert DeployedStack("shop", "r", OUTPUTS, stack._core).outputs["ApiUrl"].endswith("/")


def test_on_aws_the_url_is_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    stack = DeployedStack("shop", "eu-central-1", OUTPUTS, botocore.session.Session())
    assert stack.url == "https://id.execute-api.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("error", "says", "missing"),
    [
        (refused("DescribeStacks", "ValidationError", "Stack shop does not exist"), "there is no stack shop", True),
        (refused("DescribeStacks", "AccessDenied", "no"), "Allow them cloudformation:DescribeStacks", False),
        (refused("DescribeStacks", "Throttling", "slow down"), "(Throttling): slow down", False),
        (NoCredentialsError(), "aws sso login", False),
        ({"Stacks": [{"Outputs": []}]}, "does not contain the shared stack", True),
    ],
)  # fmt: skip
def test_a_stack_that_is_not_found(aws: Aws, error: Any, says: str, missing: bool) -> None:
    aws.answers["describe_stacks"] = error
    with pytest.raises(StackError) as raised:
        find_stack("shop", region="eu-central-1")
    assert says in str(raised.value)
    assert raised.value.missing is missing
    with pytest.raises(Failure) as failed:
        _ = Target(stack="shop", region="eu-central-1").base
    assert failed.value.code == (Exit.MISSING if missing else Exit.FAILED)


def test_there_is_no_such_profile() -> None:
    with pytest.raises(StackError, match="aws configure list-profiles"):
        core_session("nobody")


def test_requests_are_signed_except_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for url in ("http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1", "http://shop.localhost"):
        assert Target(url).auth is None
    auth = Target("https://api.example", region="eu-central-1").auth
    assert auth is not None
    request = httpx.Request("GET", "https://api.example/admin/services")
    next(auth.sync_auth_flow(request))
    assert "/eu-central-1/execute-api/aws4_request" in request.headers["authorization"]
    assert isinstance(signer(core_session()), httpx.Auth)


def test_a_stack_of_samconfig(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    named = '[default.global.parameters]\nstack_name = "one"\n[default.deploy.parameters]\nregion = "eu-west-1"\n'
    (tmp_path / "samconfig.toml").write_text(named)
    outputs = [{"OutputKey": name, "OutputValue": value} for name, value in OUTPUTS.items()]
    aws.answers["describe_stacks"] = {"Stacks": [{"Outputs": outputs}]}
    stack = Target(stack=".").deployed
    assert stack is not None
    assert (stack.name, stack.region) == ("one", "eu-west-1")
    other = Target(stack=".", region="us-east-1").deployed
    assert other is not None
    assert other.region == "us-east-1"
    (tmp_path / "samconfig.toml").write_text("[")
    with pytest.raises(Failure, match="cannot be read"):
        _ = Target(stack=".").deployed
