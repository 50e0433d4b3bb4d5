"""What the templates have to say, and a local AWS does not check."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from adapter.aws.delays import LONGEST
from adapter.aws.directory import PARTITION
from adapter.aws.host import ALIAS
from adapter.aws.models import definitions
from adapter.aws.settings import Settings
from adapter.local.server import CORS_MAX_AGE, EXPOSED
from infra.inline import TEMPLATE, inlined

ROOT = Path(__file__).resolve().parents[2]

Properties = dict[str, Any]
Resources = dict[str, dict[str, Any]]


def of_type(resources: Resources, kind: str) -> dict[str, Properties]:
    found = {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}
    assert found, kind
    return found


def statements(resources: Resources, policy: str) -> list[dict[str, Any]]:
    return resources[policy]["Properties"]["PolicyDocument"]["Statement"]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_tables_are_billed_by_request_backed_up_protected_and_expire_by_ttl(
    resources: Resources, shared: dict[str, Any]
) -> None:
    tables = of_type(resources, "AWS::DynamoDB::Table")
    assert set(tables) == {"Invocations", "Objects"}
    for table in tables.values():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert "SSESpecification" not in table  # DynamoDB encrypts anyway; this would select a KMS key, which costs
        assert table["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
        assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert shared["Parameters"]["DeletionProtection"]["Default"] == "true"


@pytest.mark.parametrize("history", [True, False])
def test_tables_are_the_ones_that_the_store_works_with(
    resources: Resources, shared: dict[str, Any], history: bool
) -> None:
    assert shared["Conditions"]["KeepsHistory"] == {"Fn::Equals": [{"Ref": "History"}, "true"]}
    for name, definition in definitions(history).items():
        table = resolve(resources[name]["Properties"], KeepsHistory=history, Warms=False)
        assert {attribute: table.get(attribute) for attribute in definition} == definition


def test_tables_survive_a_replacement(resources: Resources) -> None:
    for table in ("Invocations", "Objects"):
        assert resources[table]["UpdateReplacePolicy"] == "Retain"


def resolve(value: Any, **conditions: bool) -> Any:
    """The value with each Fn::If replaced by what its condition picks."""
    if isinstance(value, dict):
        if "Fn::If" in value:
            condition, yes, no = value["Fn::If"]
            return resolve(yes if conditions[condition] else no, **conditions)
        items = {name: resolve(item, **conditions) for name, item in value.items()}
        return {name: item for name, item in items.items() if item != {"Ref": "AWS::NoValue"}}
    if isinstance(value, list):
        items = [resolve(item, **conditions) for item in value]
        return [item for item in items if item != {"Ref": "AWS::NoValue"}]
    return value


# ---- the examples' functions -----------------------------------------------------------------------------------------


def test_templates_stay_small(template: dict[str, Any]) -> None:
    text = (ROOT / "template.yaml").read_text()
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            lines = re.search(rf"^  {name}:\n(    .*\n)+", text, re.MULTILINE)
            assert lines is not None
            assert lines[0].count("\n") + 1 <= 10  # and one more in the deployment


def test_functions_publish_a_version_of_every_change(functions: dict[str, Properties]) -> None:
    assert len(functions) >= 3
    for function in functions.values():
        assert function["AutoPublishAlias"] == ALIAS
        assert function["AutoPublishAliasAllProperties"] is True
        assert function["Tracing"] == "PassThrough"  # Active would sample whole fan-outs
        assert function["MemorySize"] == 1024


def test_functions_run_on_a_python_that_is_supported(
    template: dict[str, Any], functions: dict[str, Properties]
) -> None:
    runtime = template["Parameters"]["PythonRuntime"]
    assert runtime["Default"] == "python3.13"
    assert runtime["AllowedValues"] == [f"python3.{minor}" for minor in (11, 12, 13, 14)]
    assert all(function["Runtime"] == {"Ref": "PythonRuntime"} for function in functions.values())


def test_what_functions_are_told_depends_on_no_parameter(
    template: dict[str, Any], functions: dict[str, Properties]
) -> None:
    # SAM publishes a version when the template says something else of a function. It is blind to a parameter's value,
    # and the alias would stay on a version with the old one. Architecture and runtime change the packages as well, and
    # reserved concurrency is the function's, not a version's.
    blind = {"Architectures", "ReservedConcurrentExecutions", "Runtime"}
    for function in functions.values():
        said = str({name: value for name, value in function.items() if name not in blind})
        assert not [name for name in template["Parameters"] if f"'Ref': '{name}'" in said or f"${{{name}}}" in said]


def test_a_crash_is_noticed_soon_and_a_request_fits_the_gateway(functions: dict[str, Properties]) -> None:
    assert all(function["Timeout"] <= 30 for function in functions.values())


def test_functions_know_their_surroundings(functions: dict[str, Properties], shared: dict[str, Any]) -> None:
    for function in functions.values():
        variables = function["Environment"]["Variables"]
        assert variables["ADAPTER_STACK"] == {"Fn::GetAtt": "Adapter.Outputs.Settings"}
        assert function["Role"] == {"Fn::GetAtt": "Adapter.Outputs.FunctionRole"}
        assert function["LoggingConfig"] == {"LogGroup": {"Fn::GetAtt": "Adapter.Outputs.LogGroup"}}
    settings = re.sub(r"\$\{[\w.]+\}", "7", shared["Outputs"]["Settings"]["Value"]["Fn::Sub"])
    assert set(json.loads(settings)) == {field.name for field in fields(Settings)}


def test_packages_hold_the_project_and_nothing_of_the_repository(functions: dict[str, Properties]) -> None:
    for function in functions.values():
        folder = ROOT / function["CodeUri"]
        assert folder.parent == ROOT / "handlers"  # the root itself would ship tests and documents
        assert "Layers" not in function  # a change in a layer publishes no version
        assert (folder / "requirements.txt").read_text().split()[0] in (".", ".[aws]")


def test_builds_are_not_cached(samconfig: dict[str, Any]) -> None:
    # sam's cache looks at the function's folder only, and would ship an old adapter/.
    assert samconfig["build"]["parameters"]["cached"] is False


def test_all_functions_are_deployed(template: dict[str, Any], functions: dict[str, Properties]) -> None:
    (deployment,) = of_type(template["Resources"], "Custom::AdapterDeployment").values()
    assert deployment["ServiceToken"] == {"Fn::GetAtt": "Adapter.Outputs.Registrar"}
    assert deployment["Authorization"] == {"Ref": "Authorization"}
    assert template["Parameters"]["Authorization"]["Default"] == "AWS_IAM"
    assert deployment["Functions"] == [
        {"Alias": {"Ref": f"{name}.Alias"}, "Version": {"Ref": f"{name}.Version"}} for name in functions
    ]


def test_the_shared_stack_has_what_it_is_given_and_gives_what_is_used(
    template: dict[str, Any], shared: dict[str, Any]
) -> None:
    given = template["Resources"]["Adapter"]["Properties"]["Parameters"]
    assert set(given) == set(shared["Parameters"])
    for name in set(given) - {"Name"}:
        assert given[name] == {"Ref": name}
        assert template["Parameters"][name]["Default"] == shared["Parameters"][name]["Default"]
    used = set(re.findall(r"Adapter\.Outputs\.(\w+)", (ROOT / "template.yaml").read_text()))
    assert used <= set(shared["Outputs"])


def test_the_shared_stack_is_one_file_without_transforms(shared: dict[str, Any]) -> None:
    # Users deploy it without building it, and with CAPABILITY_IAM alone.
    assert "Transform" not in shared
    assert not [resource for resource in shared["Resources"].values() if "CodeUri" in str(resource)]
    text = TEMPLATE.read_text()
    assert inlined(text) == text, "run `python -m infra.inline`"
    for name in ("Courier", "Registrar"):
        code = shared["Resources"][name]["Properties"]["Code"]["ZipFile"]
        assert code.endswith((ROOT / "adapter" / "project" / f"{name.lower()}.py").read_text())


def test_the_manual_has_every_parameter_output_and_alarm(shared: dict[str, Any], resources: Resources) -> None:
    deploying, production = ((ROOT / "docs" / f"{page}.md").read_text() for page in ("deploying", "production"))
    assert not [name for name in (*shared["Parameters"], *shared["Outputs"]) if f"`{name}`" not in deploying]
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert re.findall(r"^\| `(\w+Alarm)` \|", production, re.MULTILINE) == list(alarms)


# ---- HTTP ------------------------------------------------------------------------------------------------------------


def test_requests_are_logged_without_what_may_be_secret(resources: Resources) -> None:
    (stage,) = of_type(resources, "AWS::ApiGatewayV2::Stage").values()
    assert stage["AccessLogSettings"]["DestinationArn"] == {"Fn::GetAtt": "AccessLogs.Arn"}
    log = json.loads(stage["AccessLogSettings"]["Format"])
    assert log["route"] == "$context.routeKey"
    assert not re.search("path|header|query", str(log), re.IGNORECASE)


def test_requests_are_throttled(resources: Resources, shared: dict[str, Any]) -> None:
    (stage,) = of_type(resources, "AWS::ApiGatewayV2::Stage").values()
    # Settings of a route that leave out one limit stand for a limit of 0: each request is a 429.
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "ThrottleRate"},
        "ThrottlingBurstLimit": {"Ref": "ThrottleBurst"},
    }
    assert "RouteSettings" not in stage
    assert [shared["Parameters"][name]["Default"] for name in ("ThrottleRate", "ThrottleBurst")] == [100, 200]


def test_web_pages_may_call_where_a_parameter_says_so(resources: Resources, shared: dict[str, Any]) -> None:
    assert shared["Parameters"]["CorsOrigins"]["Default"] == ""
    (api,) = of_type(resources, "AWS::ApiGatewayV2::Api").values()
    assert "CorsConfiguration" not in resolve(api, AllowsCors=False)
    cors = resolve(api, AllowsCors=True)["CorsConfiguration"]
    assert cors["AllowOrigins"] == {"Ref": "CorsOrigins"}
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert cors["AllowHeaders"] == ["*", "authorization"]
    assert cors["ExposeHeaders"] == list(EXPOSED)
    assert cors["MaxAge"] == CORS_MAX_AGE
    assert "AllowCredentials" not in cors


# ---- timers ----------------------------------------------------------------------------------------------------------


def test_the_sweeper_runs_every_minute_and_is_out_of_the_functions_reach(resources: Resources) -> None:
    sweeper = resources["Sweeper"]["Properties"]
    assert sweeper["ScheduleExpression"] == "rate(1 minute)"
    assert sweeper["GroupName"] == {"Ref": "SweeperGroup"}
    target = sweeper["Target"]
    assert target["Arn"] == {"Fn::GetAtt": "Courier.Arn"}
    assert target["Input"] == '{"adapter": "sweep"}'
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "DeadLetters.Arn"}}
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert "SweeperGroup" not in str(statements(resources, "FunctionPolicy"))


def test_short_delays_go_through_a_queue(resources: Resources, shared: dict[str, Any]) -> None:
    longest = shared["Parameters"]["LongestQueuedDelay"]
    assert (longest["Default"], longest["MaxValue"]) == (60, LONGEST)
    queue, courier = resources["Delays"]["Properties"], resources["Courier"]["Properties"]
    assert queue["MessageRetentionPeriod"] > LONGEST
    assert queue["VisibilityTimeout"] >= 6 * courier["Timeout"]  # what Lambda's documentation asks for
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": "DeadLetters.Arn"}
    source = resources["CourierQueue"]["Properties"]
    assert source["EventSourceArn"] == {"Fn::GetAtt": "Delays.Arn"}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert courier["RecursiveLoop"] == "Allow"  # a handler that sleeps again and again is a loop through it


# ---- permissions -----------------------------------------------------------------------------------------------------

OWN_FUNCTIONS = ":function:${Name}_*"


def allowed(resources: Resources, policy: str) -> dict[str, dict[str, Any]]:
    """The statements of a policy by their actions."""
    return {action: each for each in statements(resources, policy) for action in as_list(each["Action"])}


def test_functions_may_do_what_the_engine_does_and_no_more(resources: Resources) -> None:
    found = allowed(resources, "FunctionPolicy")
    assert set(found) == {
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "iam:PassRole",
        "lambda:DeleteFunction",
        "lambda:GetAlias",
        "lambda:InvokeFunction",
        "lambda:ListVersionsByFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "scheduler:CreateSchedule",
        "scheduler:DeleteSchedule",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:PurgeQueue",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    everything = {action for action, statement in found.items() if statement["Resource"] == "*"}
    assert everything == {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}  # they know no resources
    assert found["iam:PassRole"]["Resource"] == {"Fn::GetAtt": "ScheduleRole.Arn"}
    assert found["iam:PassRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"},
    }
    assert found["scheduler:CreateSchedule"]["Resource"]["Fn::Sub"].endswith(":schedule/${Timers}/*")
    assert found["lambda:DeleteFunction"]["Resource"]["Fn::Sub"].endswith(f"{OWN_FUNCTIONS}:*"), "versions only"
    assert found["sqs:PurgeQueue"]["Resource"] == {"Fn::GetAtt": "DeadLetters.Arn"}


def test_only_versions_and_aliases_of_the_applications_own_functions_are_invoked(
    functions: dict[str, Properties], resources: Resources
) -> None:
    # A stack's name has no underscore, so these are the names of no other stack's functions.
    assert all(function["FunctionName"]["Fn::Sub"].startswith("${AWS::StackName}_") for function in functions.values())
    for policy, end in (("FunctionPolicy", ":*"), ("CourierPolicy", f":{ALIAS}"), ("SchedulePolicy", f":{ALIAS}")):
        named = as_list(allowed(resources, policy)["lambda:InvokeFunction"]["Resource"])
        assert [each["Fn::Sub"].rpartition(OWN_FUNCTIONS)[1:] for each in named if "Fn::Sub" in each] == [
            (OWN_FUNCTIONS, end)
        ]


def test_the_registrar_may_touch_its_api_and_the_applications_functions_only(resources: Resources) -> None:
    found = allowed(resources, "RegistrarPolicy")
    for action, statement in found.items():
        if action.startswith("lambda:"):
            assert [each["Fn::Sub"].rpartition(OWN_FUNCTIONS)[1:] for each in statement["Resource"]] == [
                (OWN_FUNCTIONS, "")
            ]
        elif action.startswith("apigateway:"):
            assert all("/apis/${HttpApi}/" in each["Fn::Sub"] for each in statement["Resource"])
        else:
            assert action.startswith("logs:")
    assert {action for action in found if action.startswith("lambda:")} == {
        "lambda:AddPermission",
        "lambda:DeleteFunctionEventInvokeConfig",
        "lambda:GetFunctionConfiguration",
        "lambda:InvokeFunction",
        "lambda:PublishVersion",
        "lambda:PutFunctionEventInvokeConfig",
        "lambda:PutFunctionRecursionConfig",
        "lambda:RemovePermission",
        "lambda:UpdateAlias",
    }


def test_the_courier_reads_the_registry_only(resources: Resources) -> None:
    statement = allowed(resources, "CourierPolicy")["dynamodb:Query"]
    assert statement["Resource"] == {"Fn::GetAtt": "Objects.Arn"}
    assert statement["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [PARTITION]}}


def test_roles_are_assumed_by_their_service_and_have_one_named_policy(resources: Resources) -> None:
    roles = of_type(resources, "AWS::IAM::Role")
    assert set(roles) == {"CourierRole", "FunctionRole", "RegistrarRole", "ScheduleRole"}
    for name, role in roles.items():
        assert "Policies" not in role
        assert role["ManagedPolicyArns"] == [{"Ref": name.replace("Role", "Policy")}]  # none of AWS's, which are wide
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        service = "scheduler" if name == "ScheduleRole" else "lambda"
        assert trust["Principal"] == {"Service": f"{service}.amazonaws.com"}
    (trust,) = roles["ScheduleRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    sources = [source["Fn::Sub"].rpartition("/")[2] for source in trust["Condition"]["ArnEquals"]["aws:SourceArn"]]
    groups = of_type(resources, "AWS::Scheduler::ScheduleGroup").values()
    assert sources == [group["Name"]["Fn::Sub"] for group in groups]


# ---- logs and alarms -------------------------------------------------------------------------------------------------


def test_logs_are_not_kept_for_ever(resources: Resources) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] <= 30 for group in groups.values())


def test_alarms_watch_crashes_dead_letters_and_the_sweeper(resources: Resources, shared: dict[str, Any]) -> None:
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    watched = {
        name: (alarm["Namespace"], alarm["MetricName"], *(each["Value"] for each in alarm.get("Dimensions", [])))
        for name, alarm in alarms.items()
    }
    assert watched == {
        "BacklogAlarm": ("Adapter", "SweepsUnfinished", {"Ref": "Name"}),
        "CrashesAlarm": ("Adapter", {"Fn::Sub": "Crashes-${Name}"}),
        "DeadLettersAlarm": (
            "AWS/SQS",
            "NumberOfMessagesSent",
            {"Fn::GetAtt": "DeadLetters.QueueName"},
        ),
        "SweeperAlarm": ("Adapter", "SweepsCompleted", {"Ref": "Name"}),
        "ThrottlesAlarm": ("AWS/Lambda", "Throttles"),
    }
    (transformation,) = resources["Crashes"]["Properties"]["MetricTransformations"]
    assert transformation["MetricName"] == alarms["CrashesAlarm"]["MetricName"]
    for alarm in alarms.values():
        assert alarm["AlarmActions"]["Fn::If"][0] == "NotifiesAlarms"


def test_the_dashboard_shows_metrics_that_exist(resources: Resources) -> None:
    dashboard = resources["Overview"]
    assert dashboard["Condition"] == "ShowsDashboard"
    text = dashboard["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(text)["widgets"]
    assert len({(widget["x"], widget["y"]) for widget in widgets}) == len(widgets)
    named = set(re.findall(r"\$\{(\w+)", text)) - {"AWS", "Name"}
    assert named <= set(resources)
    ours = set(re.findall(r'"Adapter", "(\w+)"|MetricName=\\"(Duration|Failures)\\"', text))
    written = (ROOT / "adapter/aws").rglob("*.py")
    code = "".join(path.read_text() for path in written)
    assert not [name for pair in ours for name in pair if name and f'"{name}"' not in code]


def test_a_lost_datapoint_is_no_alarm(resources: Resources) -> None:
    sweeper = resources["SweeperAlarm"]["Properties"]
    assert (sweeper["EvaluationPeriods"], sweeper["DatapointsToAlarm"]) == (3, 3)
    # A sweeper that does not run leaves no data: here its absence is the alarm.
    assert sweeper["TreatMissingData"] == "breaching"
