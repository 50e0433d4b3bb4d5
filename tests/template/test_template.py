"""What the template has to say, and a local AWS does not hold anybody to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapter.aws.host import ALIAS
from adapter.aws.tables import definitions
from adapter.local.server import CORS_MAX_AGE, EXPOSED

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


def test_tables_are_billed_by_request_backed_up_encrypted_and_expire_by_ttl(resources: Resources) -> None:
    tables = of_type(resources, "AWS::DynamoDB::Table")
    assert set(tables) == {"Invocations", "Objects"}
    for table in tables.values():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


@pytest.mark.parametrize("history", [True, False])
def test_tables_are_the_ones_that_the_store_works_with(
    resources: Resources, template: dict[str, Any], history: bool
) -> None:
    assert template["Conditions"]["KeepsHistory"] == {"Fn::Equals": [{"Ref": "History"}, "true"]}
    for name, definition in definitions(history).items():
        table = resolve(resources[name]["Properties"], KeepsHistory=history)
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
        return {name: resolve(item, **conditions) for name, item in value.items()}
    if isinstance(value, list):
        items = [resolve(item, **conditions) for item in value]
        return [item for item in items if item != {"Ref": "AWS::NoValue"}]
    return value


# ---- functions -------------------------------------------------------------------------------------------------------


def test_functions_publish_a_version_of_every_change_and_may_call_themselves(functions: dict[str, Properties]) -> None:
    assert len(functions) >= 3
    for function in functions.values():
        assert function["AutoPublishAlias"] == ALIAS
        assert function["AutoPublishAliasAllProperties"] is True
        assert function["RecursiveLoop"] == "Allow"
        assert function["Tracing"] == "Active"
        assert function["Runtime"] == "python3.11"


def test_what_functions_are_told_depends_on_no_parameter(
    template: dict[str, Any], functions: dict[str, Properties]
) -> None:
    # SAM publishes a version when the template says something else of a function. It is blind to a parameter's value,
    # and the alias would stay on a version with the old one. What Architecture changes is the packages.
    for function in functions.values():
        said = str({name: value for name, value in function.items() if name != "Architectures"})
        assert not [name for name in template["Parameters"] if f"'Ref': '{name}'" in said or f"${{{name}}}" in said]


def test_a_crash_is_noticed_soon_and_a_request_fits_the_gateway(functions: dict[str, Properties]) -> None:
    assert all(function["Timeout"] <= 30 for function in functions.values())


def test_functions_know_their_surroundings(functions: dict[str, Properties]) -> None:
    for function in functions.values():
        assert set(function["Environment"]["Variables"]) == {
            "ADAPTER_DLQ_ARN",
            "ADAPTER_INVOCATIONS_TABLE",
            "ADAPTER_OBJECTS_TABLE",
            "ADAPTER_SCHEDULE_GROUP",
            "ADAPTER_SCHEDULE_ROLE_ARN",
            "LOG_LEVEL",
            "POWERTOOLS_METRICS_NAMESPACE",
            "POWERTOOLS_SERVICE_NAME",
        }


def test_packages_hold_the_project_and_nothing_of_the_repository(functions: dict[str, Properties]) -> None:
    for function in functions.values():
        folder = ROOT / function["CodeUri"]
        assert folder.parent == ROOT / "handlers"  # the root itself would ship tests and documents
        assert "Layers" not in function  # a change in a layer publishes no version
        assert (folder / "requirements.txt").read_text().split()[0] in (".", ".[aws]")


def test_builds_are_not_cached(samconfig: dict[str, Any]) -> None:
    # sam's cache looks at the function's folder only, and would ship an old adapter/.
    assert samconfig["build"]["parameters"]["cached"] is False


def test_lambda_retries_nothing_and_keeps_what_failed(functions: dict[str, Properties], resources: Resources) -> None:
    dead_letters = {"Fn::GetAtt": "DeadLetters.Arn"}
    for name, function in functions.items():
        alias = function["EventInvokeConfig"]
        assert alias["DestinationConfig"] == {"OnFailure": {"Type": "SQS", "Destination": dead_letters}}
        (version, config), *more = [
            (resource, resource["Properties"])
            for resource in resources.values()
            if resource["Type"] == "AWS::Lambda::EventInvokeConfig"
            and resource["Properties"]["FunctionName"] == {"Ref": name}
        ]
        assert not more
        assert config["Qualifier"] == {"Fn::GetAtt": f"{name}.Version.Version"}
        assert config["DestinationConfig"] == {"OnFailure": {"Destination": dead_letters}}
        # Invocations resume on the version that they started on, long after the stack has a newer one.
        assert version["UpdateReplacePolicy"] == "Retain"
        # Whereas one that a failed deployment left behind would be in the way of the next.
        assert version["DeletionPolicy"] == "RetainExceptOnCreate"
        for settings in (alias, config):
            assert settings["MaximumRetryAttempts"] == 0
            assert settings["MaximumEventAgeInSeconds"] == 60


def test_each_deployment_registers_itself(functions: dict[str, Properties], resources: Resources) -> None:
    deployments = of_type(resources, "Custom::AdapterDeployment")
    registered = {properties["ServiceToken"]["Ref"]: properties for properties in deployments.values()}
    assert set(registered) == {f"{name}.Alias" for name in functions}
    for name in functions:
        properties = registered[f"{name}.Alias"]
        assert properties["Version"] == {"Ref": f"{name}.Version"}
        # Without it a function that cannot even start holds the deployment up for an hour.
        assert properties["ServiceTimeout"] <= 60


# ---- HTTP ------------------------------------------------------------------------------------------------------------


def test_every_function_is_reachable_through_its_alias_and_by_this_api_only(
    functions: dict[str, Properties], resources: Resources
) -> None:
    aliases = [{"Ref": f"{name}.Alias"} for name in functions]
    integrations = of_type(resources, "AWS::ApiGatewayV2::Integration")
    permissions = of_type(resources, "AWS::Lambda::Permission")
    assert [i["IntegrationUri"] for i in integrations.values()] == aliases
    assert [p["FunctionName"] for p in permissions.values()] == aliases
    assert all(i["PayloadFormatVersion"] == "2.0" for i in integrations.values())
    assert all(p["SourceArn"]["Fn::Sub"].endswith(":${HttpApi}/*") for p in permissions.values())
    routed = {route["Target"]["Fn::Sub"] for route in of_type(resources, "AWS::ApiGatewayV2::Route").values()}
    assert routed == {f"integrations/${{{name}}}" for name in integrations}


def test_the_admin_is_signed_and_nothing_else_is(resources: Resources) -> None:
    routes = of_type(resources, "AWS::ApiGatewayV2::Route").values()
    for route in routes:
        path = route["RouteKey"].split()[1]
        assert route.get("AuthorizationType", "NONE") == ("AWS_IAM" if path.startswith("/admin") else "NONE")
    assert any(route["RouteKey"] == "ANY /admin/{proxy+}" for route in routes)
    # Any route that could take a request meant for the admin would let it in unsigned.
    assert not any(route["RouteKey"].split()[-1] in ("$default", "/{proxy+}") for route in routes)


def test_web_pages_may_call_where_a_parameter_says_so(resources: Resources, template: dict[str, Any]) -> None:
    assert template["Parameters"]["CorsOrigins"]["Default"] == ""
    (api,) = of_type(resources, "AWS::ApiGatewayV2::Api").values()
    assert resolve(api, AllowsCors=False)["CorsConfiguration"] == {"Ref": "AWS::NoValue"}
    cors = resolve(api, AllowsCors=True)["CorsConfiguration"]
    assert cors["AllowOrigins"] == {"Ref": "CorsOrigins"}
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert cors["AllowHeaders"] == ["*", "authorization"]
    assert cors["ExposeHeaders"] == list(EXPOSED)
    assert cors["MaxAge"] == CORS_MAX_AGE
    assert "AllowCredentials" not in cors


def test_requests_are_logged_without_their_queries_and_headers(resources: Resources) -> None:
    (stage,) = of_type(resources, "AWS::ApiGatewayV2::Stage").values()
    assert stage["AccessLogSettings"]["DestinationArn"] == {"Fn::GetAtt": "AccessLogs.Arn"}
    assert "header" not in stage["AccessLogSettings"]["Format"]
    assert "query" not in stage["AccessLogSettings"]["Format"]


def test_requests_are_throttled_by_the_accounts_limits_only(resources: Resources) -> None:
    (stage,) = of_type(resources, "AWS::ApiGatewayV2::Stage").values()
    # Other tools' users found that route settings without limits stand for limits of 0: each request is a 429.
    limits = {"ThrottlingBurstLimit", "ThrottlingRateLimit"}
    for settings in (stage.get("DefaultRouteSettings", {}), *stage.get("RouteSettings", {}).values()):
        assert not settings or limits <= set(settings)
        assert not settings.get("DetailedMetricsEnabled")  # they are charged for, by route


# ---- schedules -------------------------------------------------------------------------------------------------------


def test_the_sweeper_runs_every_minute_and_is_out_of_the_functions_reach(resources: Resources) -> None:
    sweeper = resources["Sweeper"]["Properties"]
    assert sweeper["ScheduleExpression"] == "rate(1 minute)"
    assert sweeper["GroupName"] == {"Ref": "SweeperGroup"}
    target = sweeper["Target"]
    assert target["Input"] == '{"adapter": "sweep"}'
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "DeadLetters.Arn"}}
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert "SweeperGroup" not in str(statements(resources, "AdapterPolicy"))


# ---- permissions -----------------------------------------------------------------------------------------------------


def test_functions_may_do_what_the_engine_does_and_no_more(resources: Resources) -> None:
    allowed = {
        action: statement
        for policy in ("AdapterPolicy", "InvokePolicy")
        for statement in statements(resources, policy)
        for action in as_list(statement["Action"])
    }
    assert set(allowed) == {
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "iam:PassRole",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "scheduler:CreateSchedule",
        "scheduler:DeleteSchedule",
        "sqs:SendMessage",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    everything = {action for action, statement in allowed.items() if statement["Resource"] == "*"}
    assert everything == {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}  # they know no resources
    assert allowed["iam:PassRole"]["Resource"] == {"Fn::GetAtt": "ScheduleRole.Arn"}
    assert allowed["iam:PassRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"},
    }
    assert allowed["scheduler:CreateSchedule"]["Resource"]["Fn::Sub"].endswith(":schedule/${Timers}/*")


def test_only_versions_and_aliases_of_the_stacks_own_functions_are_invoked(
    functions: dict[str, Properties], resources: Resources
) -> None:
    (statement,) = [s for s in statements(resources, "InvokePolicy") if s["Action"] == "lambda:InvokeFunction"]
    named = [resource["Fn::Sub"].split(":function:")[1] for resource in statement["Resource"]]
    assert named == [f"{function['FunctionName']['Fn::Sub']}:*" for function in functions.values()]


def test_roles_are_assumed_by_their_service_and_have_named_policies_only(
    functions: dict[str, Properties], resources: Resources
) -> None:
    roles = of_type(resources, "AWS::IAM::Role")
    assert set(roles) == {"FunctionRole", "ScheduleRole"}
    assert all(function["Role"] == {"Fn::GetAtt": "FunctionRole.Arn"} for function in functions.values())
    for role in roles.values():
        assert "Policies" not in role
        assert all("Ref" in policy for policy in role["ManagedPolicyArns"])  # none of AWS's own, which are wide
    (trust,) = roles["ScheduleRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    sources = [source["Fn::Sub"].rpartition("/")[2] for source in trust["Condition"]["ArnEquals"]["aws:SourceArn"]]
    groups = of_type(resources, "AWS::Scheduler::ScheduleGroup").values()
    assert sources == [group["Name"]["Fn::Sub"] for group in groups]


# ---- logs and alarms -------------------------------------------------------------------------------------------------


def test_logs_are_not_kept_for_ever(functions: dict[str, Properties], resources: Resources) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] <= 30 for group in groups.values())
    assert all(function["LoggingConfig"]["LogGroup"] == {"Ref": "FunctionLogs"} for function in functions.values())


def test_alarms_watch_dead_letters_the_sweeper_and_every_function(
    functions: dict[str, Properties], resources: Resources
) -> None:
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    watched = [
        (alarm["MetricName"], *(dimension["Value"] for dimension in alarm.get("Dimensions", [])))
        for alarm in alarms.values()
    ]
    assert ("ApproximateNumberOfMessagesVisible", {"Fn::GetAtt": "DeadLetters.QueueName"}) in watched
    assert ("InvocationAttemptCount", {"Ref": "SweeperGroup"}) in watched
    assert ("Throttles",) in watched
    assert ("SweepsUnfinished", {"Ref": "AWS::StackName"}) in watched
    told = functions["GreeterFunction"]["Environment"]["Variables"]
    assert alarms["BacklogAlarm"]["Namespace"] == told["POWERTOOLS_METRICS_NAMESPACE"]
    assert alarms["BacklogAlarm"]["Dimensions"] == [{"Name": "service", "Value": told["POWERTOOLS_SERVICE_NAME"]}]
    for name in functions:
        assert ("Errors", {"Ref": name}) in watched
    # A sweeper that does not run leaves no data: here its absence is the alarm.
    assert alarms["SweeperAlarm"]["TreatMissingData"] == "breaching"
    for alarm in alarms.values():
        assert alarm["AlarmActions"]["Fn::If"][0] == "NotifiesAlarms"
