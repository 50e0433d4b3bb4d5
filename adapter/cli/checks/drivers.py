"""Checks of drivers and of the SDKs' functions that they invoke, in a template and in an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from adapter.cli.checks.finding import Finding, note, wrong

VARIABLE: Final = "ADAPTER_ENDPOINT"
"""The variable of a driver with the version of the SDK's function."""

TIMEOUT: Final = 3
"""Seconds that a function may take without a `Timeout` in its template: Lambda's default."""

Function = Mapping[str, Any]
"""A function's properties in a template, or what Lambda says of it."""


def driven(functions: Mapping[str, Function]) -> dict[str, str]:
    """Return the drivers of a template by the SDKs' functions that they invoke. Both are logical ids."""
    found = {name: endpoint_of(function) for name, function in functions.items()}
    return {endpoint.partition(".")[0]: name for name, endpoint in found.items() if endpoint}


def in_template(functions: Mapping[str, Function], listed: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what is wrong with the drivers of a template.

    Args:
        functions: The functions' properties by their logical ids, with those that are common to all.
        listed: What the deployment says of them.
    """
    for sdk, name in driven(functions).items():
        driver = functions[name]
        if name in listed and listed[name].get("Endpoint") != endpoint_of(driver):
            yield wrong(
                "template",
                f"{name} is deployed without its endpoint: a new version of {sdk} alone would not be noticed",
                f"add Endpoint: !Ref {sdk}.Version to its line in Custom::AdapterDeployment",
            )
        if sdk not in functions:
            continue  # it is in another template
        other = functions[sdk]
        yield from _timeouts("template", name, driver.get("Timeout", TIMEOUT), sdk, other.get("Timeout", TIMEOUT))
        if str(other.get("FunctionName", "")).startswith("${AWS::StackName}_"):
            yield _named("template", sdk)
        elif driver.get("Role") == "Adapter.Outputs.FunctionRole":
            yield wrong(
                "template",
                f"{name} may not invoke {sdk}: the role of all functions does not allow it",
                "instead of its Role set Policies: [!GetAtt Adapter.Outputs.FunctionPolicy, "
                f"{{LambdaInvokePolicy: {{FunctionName: !Ref {sdk}}}}}]",
            )


def in_account(client: Any, name: str, driver: Function, prefix: str) -> Iterator[Finding]:
    """Yield what is wrong with a deployed driver.

    Args:
        client: A Lambda client.
        name: The driver's name.
        driver: What Lambda says of the driver's alias.
        prefix: What the names of functions begin with that every function may invoke.
    """
    check, endpoint = f"function {name}", endpoint_of(driver)
    if endpoint is None:
        return
    function, _, version = endpoint.rpartition(":")
    sdk = name_of(endpoint)
    try:
        other = client.get_function_configuration(FunctionName=endpoint)
    except client.exceptions.ResourceNotFoundException:
        yield wrong(check, f"it invokes {endpoint}, which does not exist", "deploy again, and delete no version of it")
        return
    yield from _timeouts(check, name, driver.get("Timeout"), sdk, other.get("Timeout"))
    current = _current(client, function)
    if current not in (version, None):
        yield wrong(
            check,
            f"it invokes version {version} of {sdk}, whose current version is {current}",
            "deploy again, with an Endpoint in its line in Custom::AdapterDeployment",
        )
    if sdk.startswith(prefix):
        yield _named(check, sdk)


def _current(client: Any, function: str) -> str | None:
    """Return the version that an SDK's function is deployed in; ``None`` if it has another alias."""
    try:
        current: str = client.get_alias(FunctionName=function, Name="live")["FunctionVersion"]
    except client.exceptions.ResourceNotFoundException:
        return None
    return current


def _timeouts(check: str, name: str, own: Any, sdk: str, other: Any) -> Iterator[Finding]:
    """Yield a finding if a driver ends before the SDK's function does. In a template, timeouts may be references."""
    if isinstance(own, int) and isinstance(other, int) and own <= other:
        yield wrong(
            check,
            f"{name} waits for {sdk}, but its Timeout of {own} s is not longer than that of {sdk}, which is {other} s",
            f"give {name} a longer Timeout than {sdk}: else an exchange may be repeated, and its steps run again",
        )


def _named(check: str, sdk: str) -> Finding:
    says = f"every function of the stack may invoke {sdk}, because its name begins with the stack's name and _"
    return note(check, says, "let its driver alone invoke it: see the permissions in docs/guides/sdks.md")


def endpoint_of(function: Function) -> str | None:
    """Return the version of the SDK's function that a driver invokes; ``None`` for another function."""
    endpoint = function.get("Environment", {}).get("Variables", {}).get(VARIABLE)
    return str(endpoint) if endpoint else None


def name_of(version: str) -> str:
    """Return the name of the function that a version's ARN leads to.

    >>> name_of("arn:aws:lambda:eu-west-1:123456789012:function:shop-Greeter-1A2B:7")
    'shop-Greeter-1A2B'
    """
    return version.rsplit(":", 2)[-2] if ":" in version else version
