"""Checks of a deployed stack in its account: credentials, tables, functions, roles, schedules."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from adapter.aws.deployed import DeployedStack
from adapter.cli.checks import drivers
from adapter.cli.checks.finding import Finding, note, ok, unknown, wrong
from adapter.cli.text import duration

ALIAS: Final = "live"
"""The alias under which functions are called."""

VARIABLE: Final = "ADAPTER_STACK"

RECENT: Final = 15
"""Minutes within which a sweep has to have completed: there is one each minute."""


def check(stack: DeployedStack) -> Iterator[Finding]:
    """Yield what AWS says of the stack."""
    looks: dict[str, Callable[[DeployedStack], Iterator[Finding]]] = {
        "credentials": _credentials,
        "stack": _stack,
        "tables": _tables,
        "functions": _functions,
        "timers": _timers,
        "sweeper": _sweeper,
    }
    for name, look in looks.items():
        try:
            yield from look(stack)
        except ClientError as error:
            operation, answer = error.operation_name, error.response.get("Error", {})
            yield unknown(
                name, f"{operation}: {answer.get('Message', error)}", f"allow {operation} to your credentials"
            )
        except BotoCoreError as error:
            yield unknown(name, str(error), "see that AWS can be reached, and that you are logged in")


def _credentials(stack: DeployedStack) -> Iterator[Finding]:
    identity = stack.client("sts").get_caller_identity()
    yield ok("credentials", f"{identity['Arn']} in {stack.region}")


def _stack(stack: DeployedStack) -> Iterator[Finding]:
    status = stack.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"][0]["StackStatus"]
    if status.endswith("_FAILED"):
        yield wrong("stack", f"{stack.name} is {status}", "see its events in CloudFormation, and deploy again")
    elif "ROLLBACK" in status:
        yield note("stack", f"{stack.name} is {status}", "the last deployment failed: see its events in CloudFormation")
    elif not status.endswith("_COMPLETE"):
        yield note("stack", f"{stack.name} is {status}", "wait until it has ended")
    else:
        yield ok("stack", f"{stack.name} is {status}")


def _tables(stack: DeployedStack) -> Iterator[Finding]:
    client = stack.client("dynamodb")
    for output in ("InvocationsTable", "ObjectsTable"):
        name = stack.outputs[output]
        table = client.describe_table(TableName=name)["Table"]
        check = f"table {name}"
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            yield wrong(check, f"it is {table['TableStatus']}", "wait, or restore it from a backup")
            continue
        ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
        backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        lacks = [
            *(["time to live"] if not ttl.startswith("ENABL") else []),
            *(["point-in-time recovery"] if recovery != "ENABLED" else []),
            *(["deletion protection"] if not table.get("DeletionProtectionEnabled") else []),
        ]
        if "time to live" in lacks and os.environ.get("AWS_ENDPOINT_URL"):
            yield note(check, f"without {' and '.join(lacks)}", "none is needed on an emulator, some of which set none")
        elif "time to live" in lacks:
            yield wrong(check, f"without {' and '.join(lacks)}", "deploy the shared stack's template as it is")
        elif lacks:
            yield note(check, f"without {' and '.join(lacks)}", "wanted in production: see docs/production.md")
        else:
            yield ok(check, "active, backed up, protected")


def _functions(stack: DeployedStack) -> Iterator[Finding]:
    names = [
        resource["PhysicalResourceId"]
        for page in stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.name)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    ]
    if not names:
        yield note("functions", f"the stack {stack.name} has no function", "give --stack the name of the application's")
    client = stack.client("lambda")
    functions = {name: _current(client, name) for name in names}
    endpoints = [drivers.endpoint_of(function) for function in functions.values() if function is not None]
    driven = {drivers.name_of(endpoint) for endpoint in endpoints if endpoint}
    for name, function in functions.items():
        if name not in driven:
            yield from _function(stack, client, name, function)


def _current(client: Any, name: str) -> Any:
    """Return what Lambda says of a function's alias; ``None`` if it has none."""
    try:
        return client.get_function_configuration(FunctionName=name, Qualifier=ALIAS)
    except client.exceptions.ResourceNotFoundException:
        return None


def _function(stack: DeployedStack, client: Any, name: str, function: Any) -> Iterator[Finding]:
    check = f"function {name}"
    if function is None:
        yield wrong(check, f"it has no alias {ALIAS}", f"set AutoPublishAlias: {ALIAS} on it, and deploy")
        return
    found = [
        *(wrong(check, says, advice) for says, advice in _mistakes(stack, client, name, function)),
        *drivers.in_account(client, name, function, f"{_settings(stack)['name']}_"),
    ]
    yield from found or [ok(check, f"version {function['Version']}, {function['Runtime']}")]
    yield from _role(stack, check, function["Role"].rpartition("/")[2])


def _mistakes(stack: DeployedStack, client: Any, name: str, function: Any) -> Iterator[tuple[str, str]]:
    prefix = f"{_settings(stack)['name']}_"
    if not name.startswith(prefix):
        yield (
            f"its name does not begin with {prefix}",
            f"set FunctionName: !Sub ${{AWS::StackName}}_NAME, as roles allow {prefix}*",
        )
    given = function.get("Environment", {}).get("Variables", {}).get(VARIABLE)
    if given is None:
        yield f"it has no variable {VARIABLE}", f"set {VARIABLE}: !GetAtt Adapter.Outputs.Settings in its environment"
    elif _read(given) != _settings(stack):
        yield f"its variable {VARIABLE} is not what the stack has now", "deploy again: functions read it at their start"
    recursion = client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"]
    if recursion != "Allow":
        yield (
            "AWS ends its calls as recursive loops after 16 steps (RecursiveLoop: Terminate)",
            "name it in the resource Custom::AdapterDeployment, or set RecursiveLoop: Allow on it",
        )


def _role(stack: DeployedStack, check: str, role: str) -> Iterator[Finding]:
    try:
        attached = stack.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    except ClientError as error:
        yield unknown(f"role {role}", str(error), "allow iam:ListAttachedRolePolicies to your credentials")
        return
    policy = stack.outputs["FunctionPolicy"]
    if policy not in {each["PolicyArn"] for each in attached}:
        yield wrong(
            check, f"its role {role} lacks the policy {policy}", "add !GetAtt Adapter.Outputs.FunctionPolicy to it"
        )


def _settings(stack: DeployedStack) -> Any:
    return _read(stack.outputs["Settings"])


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"name": ""}


def _sweeper(stack: DeployedStack) -> Iterator[Finding]:
    group = f"{_settings(stack)['name']}-sweeper"
    schedules = stack.client("scheduler").list_schedules(GroupName=group)["Schedules"]
    if not any(each["State"] == "ENABLED" for each in schedules):
        yield wrong("sweeper", f"no schedule is enabled in the group {group}", "enable it: crashes are not recovered")
        return
    if os.environ.get("AWS_ENDPOINT_URL"):  # emulators make no metrics of logs
        yield ok("sweeper", "its schedule is enabled")
        return
    now = datetime.now(UTC)
    points = stack.client("cloudwatch").get_metric_statistics(
        Namespace="Adapter",
        MetricName="SweepsCompleted",
        Dimensions=[{"Name": "service", "Value": _settings(stack)["name"]}],
        StartTime=now - timedelta(minutes=RECENT),
        EndTime=now,
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    if points:
        last = max(point["Timestamp"] for point in points)
        yield ok("sweeper", f"the last sweep was {duration((now - last).total_seconds())} ago")
    else:
        yield wrong(
            "sweeper",
            f"no sweep has completed for {RECENT} minutes",
            f"crashes are not recovered: read the log group {stack.outputs['LogGroup']}",
        )


def _timers(stack: DeployedStack) -> Iterator[Finding]:
    group = stack.outputs["TimersGroup"]
    state = stack.client("scheduler").get_schedule_group(Name=group)["State"]
    if state == "ACTIVE":
        yield ok("timers", f"the schedule group {group} is active")
    else:
        yield wrong("timers", f"the schedule group {group} is {state}", "deploy the shared stack's template as it is")
