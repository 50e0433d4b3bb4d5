"""The registrar: a Lambda function of the shared stack that connects an application's functions to it.

CloudFormation invokes it for the resource ``Custom::AdapterDeployment``. Its property ``Functions`` lists the alias and
the version of each function. For the driver of an SDK's function it also has an ``Endpoint``, which is the version of
the SDK's function that the driver's variable ``ADAPTER_ENDPOINT`` names. ``Authorization`` says what the routes of
services ask of requests: ``AWS_IAM``, which is the default, ``NONE``, or, with an ``AuthorizerId``, ``JWT`` or
``CUSTOM``. For each function it

- has Lambda retry nothing and keep failed events, for the alias and the version, because due times recover invocations,
- has Lambda allow recursion, because handlers call handlers,
- publishes a driver's version, and leads its alias there, if only the version of the SDK's function has changed,
- has the version register its services,
- creates the integration, the permission and the routes that lead requests to it.

A function that is no longer listed is withdrawn and disconnected. A deletion does that for all functions, and a
rollback repeats what the former list says. Every request brings the API into the wanted state, whatever state it is in.

`python -m infra.inline` copies this file into stack.yaml. It needs nothing but boto3, which Lambda's runtime has.
"""

import json
import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ADMIN, RESTATE = "ANY /admin/{proxy+}", "ANY /restate/{proxy+}"
"""The routes that any function can serve."""

SIGNED = {"AuthorizationType": "AWS_IAM"}

STATEMENT = "adapter-api"
"""The statement in an alias's policy that lets the API invoke it."""

ENDPOINT = "ADAPTER_ENDPOINT"
"""A driver's environment variable with the version of the SDK's function."""


@cache
def client(service: str, attempts: int) -> Any:
    aws: Any = boto3
    retries: Any = {"total_max_attempts": attempts, "mode": "standard"}
    return aws.client(service, config=Config(read_timeout=45, retries=retries))


def handler(event: dict[str, Any], context: object) -> None:
    """Do what CloudFormation asks for, and answer it, or the stack would wait for an hour."""
    status, reason = "FAILED", "the registrar was interrupted"
    try:
        run(event["RequestType"], event["ResourceProperties"], event.get("OldResourceProperties", {}))
        status, reason = "SUCCESS", ""
    except Exception as error:
        print(f"{event['RequestType']} failed: {error!r}")
        reason = str(error)[:1000] or repr(error)
        if event["RequestType"] == "Delete":  # a stack can always be deleted: its API goes with it
            status = "SUCCESS"
    finally:
        answer(event, status, reason)


def run(request: str, properties: dict[str, Any], former: dict[str, Any]) -> None:
    """Connect the listed functions, and disconnect those that are not listed any more."""
    listed, gone = functions(properties), functions(former)
    if request == "Delete":
        listed, gone = {}, listed
    asked = authorization(properties) if listed else {}
    gone = {alias: function for alias, function in gone.items() if alias not in listed}
    for attempts in (1, 5):  # made here, as boto3 does not make clients in several threads at once
        client("lambda", attempts)
    with ThreadPoolExecutor(8) as pool:
        services = dict(zip(listed, pool.map(register, listed, listed.values()), strict=True))
        list(pool.map(withdraw, gone))
    route(wanted_routes(services, asked), owned={*listed, *gone})


def functions(properties: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the listed functions by their aliases."""
    return {function["Alias"]: function for function in properties.get("Functions", [])}


def authorization(properties: dict[str, Any]) -> dict[str, str]:
    """Return what the routes of services ask of requests, as API Gateway calls it."""
    asked = properties.get("Authorization", "AWS_IAM")
    if asked in ("AWS_IAM", "NONE"):
        return {"AuthorizationType": asked}
    if asked in ("JWT", "CUSTOM") and properties.get("AuthorizerId"):
        return {"AuthorizationType": asked, "AuthorizerId": properties["AuthorizerId"]}
    raise ValueError("Authorization is AWS_IAM, NONE or, with an AuthorizerId, JWT or CUSTOM")


def wanted_routes(services: dict[str, list[str]], asked: dict[str, str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the alias and the authorization of each route."""
    wanted: dict[str, tuple[str, dict[str, str]]] = {}
    for alias, names in services.items():
        for name in names:
            key = f"ANY /{name}/{{proxy+}}"
            if key in wanted:
                raise ValueError(f"{wanted[key][0]} and {alias} both have a service {name}: rename one, or remove it")
            wanted[key] = alias, asked
    if services:
        first = next(iter(services))
        wanted |= {ADMIN: (first, SIGNED), RESTATE: (first, asked)}
    return wanted


# --- functions ---


def register(alias: str, function: dict[str, str]) -> list[str]:
    """Prepare a function and its version, and have the version register. Return the names of its services."""
    arn, qualifier = alias.rsplit(":", 1)
    name, prefix = arn.rpartition(":")[2], os.environ["FUNCTION_PREFIX"]
    if not name.startswith(prefix):
        raise ValueError(f"the function {name} is not the stack's: give it a FunctionName that begins with {prefix}")
    version = current(arn, function)
    client("lambda", 5).put_function_recursion_config(FunctionName=arn, RecursiveLoop="Allow")
    for each in (qualifier, version.rpartition(":")[2]):
        retry_nothing(arn, each)
    allow_api(arn, qualifier)
    services: list[str] = ask(version, "register", alias)["services"]
    if "Endpoint" in function:
        number = version.rpartition(":")[2]
        client("lambda", 5).update_alias(FunctionName=arn, Name=qualifier, FunctionVersion=number)
    print(f"{version}: {', '.join(services)}")
    return services


def current(arn: str, function: dict[str, str]) -> str:
    """Return the version to register. A driver's has to invoke the listed version of the SDK's function.

    SAM publishes a version when a function's code or the text of its template changes. A driver refers to the version
    of the SDK's function, so neither changes with it: CloudFormation sets the variable, and publishes no version.
    """
    version, endpoint = function["Version"], function.get("Endpoint")
    driven = endpoint_of(client("lambda", 5).get_function_configuration(FunctionName=version))
    if driven == endpoint:
        return version
    if endpoint is None:
        raise ValueError(f"{arn} is listed without an Endpoint: add the value of its variable {ENDPOINT}")
    number = publish(arn, endpoint)
    waiter = client("lambda", 5).get_waiter("published_version_active")
    waiter.wait(FunctionName=arn, Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return f"{arn}:{number}"


def publish(arn: str, endpoint: str) -> str:
    """Publish a version of a driver, and return its number. If nothing has changed, it is the last version."""
    for pause in (1, 3, 10, 0):  # CloudFormation may still be updating the function
        try:
            published = client("lambda", 5).publish_version(FunctionName=arn)
        except ClientError as error:
            if not pause or code(error) != "ResourceConflictException":
                raise
        else:
            if endpoint_of(published) == endpoint:
                return str(published["Version"])
        time.sleep(pause)
    raise ValueError(f"{arn} has another {ENDPOINT} than the Endpoint that is listed: give both one value")


def endpoint_of(configuration: dict[str, Any]) -> str | None:
    """Return the version of an SDK's function that a driver invokes; ``None`` if the function is no driver."""
    endpoint: str | None = configuration.get("Environment", {}).get("Variables", {}).get(ENDPOINT)
    return endpoint


def withdraw(alias: str) -> None:
    """Undo `register`. The function may be broken or deleted, which must not keep a stack from being deleted."""
    arn, qualifier = alias.rsplit(":", 1)
    undo: list[Callable[[], object]] = [
        lambda: ask(alias, "withdraw", alias),
        lambda: client("lambda", 5).remove_permission(FunctionName=arn, Qualifier=qualifier, StatementId=STATEMENT),
        lambda: client("lambda", 5).delete_function_event_invoke_config(FunctionName=arn, Qualifier=qualifier),
        lambda: client("lambda", 5).put_function_recursion_config(FunctionName=arn, RecursiveLoop="Terminate"),
    ]
    for action in undo:
        try:
            action()
        except Exception as error:
            print(f"{alias}: {error}")


def ask(function: str, event: str, alias: str) -> Any:
    """Invoke a function once, so that the registrar has time to answer, and return what the function returns."""
    payload = json.dumps({"adapter": event, "function": alias}).encode()
    response = client("lambda", 1).invoke(FunctionName=function, Payload=payload)
    found = json.loads(response["Payload"].read() or b"null")
    if "FunctionError" in response:
        raise RuntimeError(f"{function} did not {event}: {found.get('errorMessage', found)} (see its log)")
    return found


def retry_nothing(function: str, qualifier: str) -> None:
    """Have Lambda retry no event, and send failed events to the dead-letter queue."""
    for pause in (1, 3, 10, 0):  # a role that was created a moment ago is not known everywhere
        try:
            client("lambda", 5).put_function_event_invoke_config(
                FunctionName=function,
                Qualifier=qualifier,
                MaximumRetryAttempts=0,
                MaximumEventAgeInSeconds=60,
                DestinationConfig={"OnFailure": {"Destination": os.environ["DEAD_LETTERS"]}},
            )
            return
        except ClientError as error:
            if not pause or code(error) != "InvalidParameterValueException":
                raise
            time.sleep(pause)


def allow_api(function: str, qualifier: str) -> None:
    """Let the API, and no other, invoke the alias."""
    try:
        client("lambda", 5).add_permission(
            FunctionName=function,
            Qualifier=qualifier,
            StatementId=STATEMENT,
            Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com",
            SourceArn=os.environ["API_ARN"],
        )
    except ClientError as error:
        if code(error) != "ResourceConflictException":  # which says that it may already
            raise


def code(error: ClientError) -> str:
    """Return what AWS calls an error."""
    return error.response.get("Error", {}).get("Code", "")


# --- routes ---


def route(wanted: dict[str, tuple[str, dict[str, str]]], owned: set[str]) -> None:
    """Create, change and delete routes and integrations of the owned functions until they are the wanted ones.

    Other applications may share the API. What leads to their functions stays, unless a service has moved.
    """
    targets = {invoked(each["IntegrationUri"]): each["IntegrationId"] for each in pages("get_integrations")}
    routes = {each["RouteKey"]: each for each in pages("get_routes")}
    owners = {f"integrations/{id}": alias for alias, id in targets.items()}
    others = [alias for alias in targets if alias not in owned]
    for key in (ADMIN, RESTATE):
        if key in routes and owners.get(routes[key].get("Target", "")) in others:
            wanted.pop(key, None)
        elif key in routes and key not in wanted and others:
            wanted[key] = others[0], {}
    for alias in {alias for alias, _ in wanted.values()} - set(targets):
        integration = client("apigatewayv2", 5).create_integration(
            ApiId=os.environ["API_ID"],
            IntegrationType="AWS_PROXY",
            IntegrationUri=alias,
            PayloadFormatVersion="2.0",
        )
        targets[alias] = integration["IntegrationId"]
    for key, (alias, asked) in wanted.items():
        values = {"Target": f"integrations/{targets[alias]}", **asked}
        found = routes.get(key)
        if found is None:
            client("apigatewayv2", 5).create_route(ApiId=os.environ["API_ID"], RouteKey=key, **values)
        elif any(found.get(name, "NONE") != value for name, value in values.items()):
            client("apigatewayv2", 5).update_route(ApiId=os.environ["API_ID"], RouteId=found["RouteId"], **values)
    for key, found in routes.items():
        if key not in wanted and owners.get(found.get("Target", "")) in owned:
            client("apigatewayv2", 5).delete_route(ApiId=os.environ["API_ID"], RouteId=found["RouteId"])
    for alias in (owned & set(targets)) - {alias for alias, _ in wanted.values()}:
        client("apigatewayv2", 5).delete_integration(ApiId=os.environ["API_ID"], IntegrationId=targets[alias])


def invoked(uri: str) -> str:
    """Return the alias that an integration invokes; API Gateway also knows a longer form."""
    return uri.partition("/functions/")[2].removesuffix("/invocations") or uri


def pages(operation: str) -> list[dict[str, Any]]:
    """Return all items of a listing."""
    found = client("apigatewayv2", 5).get_paginator(operation).paginate(ApiId=os.environ["API_ID"])
    return [item for page in found for item in page["Items"]]


def answer(event: dict[str, Any], status: str, reason: str) -> None:
    """See https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html."""
    body = {
        "Status": status,
        "Reason": reason or "see the registrar's log",
        # It stays the same, or CloudFormation would have the former resource deleted after an update.
        "PhysicalResourceId": event.get("PhysicalResourceId") or f"adapter-{event['LogicalResourceId']}",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(
        event["ResponseURL"],
        data=json.dumps(body).encode(),
        method="PUT",
        headers={"content-type": ""},  # the URL is signed without one
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
