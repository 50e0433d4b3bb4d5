"""The template of a project with an SDK's function and its driver, as docs/guides/sdks.md has it."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Final

import pytest
import yaml

from tests.template.conftest import ROOT, Resources, TemplateLoader

NAMES: Final = {
    "AWS::Partition": "aws",
    "AWS::Region": "r",
    "AWS::AccountId": "1",
    "AWS::StackName": "shop",
    "Name": "shop",
}
FUNCTION: Final = "arn:aws:lambda:r:1:function:"

FUNCTIONS: Final = {
    "app": "shop_app",
    "driver": "shop_greeter-driver",
    "sdk": "shop-GreeterFunction-1A2B3C",  # what CloudFormation makes of a logical id
    "another sdk": "shop-OrderFunction-4D5E6F",
    "courier": "shop-Adapter-1A2B3C-Courier-1A2B3C",
    "registrar": "shop-Adapter-1A2B3C-Registrar-1A2B3C",
    "another stack": "shop-test_app",
}
TARGETS: Final = {f"{name}{end}" for name in FUNCTIONS for end in ("", ":live", ":7")}
"""Functions as a whole, their alias and a version."""

ENGINE: Final = {f"{name}:{end}" for name in ("app", "driver") for end in ("live", "7")}
"""What the engine invokes: the current and former versions of the functions that have handlers."""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


FUNCTIONS_BLOCK, LISTED_BLOCK = blocks("guides/sdks.md", "yaml")
SDK_BLOCK, DRIVER_BLOCK = re.split(r"^(?=  GreeterDriver:)", FUNCTIONS_BLOCK, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """A new project's template with the two functions, what Globals adds included."""
    text = (ROOT / "adapter/project/new/template.yaml.tmpl").read_text()
    text = text.replace("  Deployment:\n", f"{FUNCTIONS_BLOCK}  Deployment:\n").replace(
        "\nOutputs:\n", f"{LISTED_BLOCK}\nOutputs:\n"
    )
    template = yaml.load(re.sub(r"@(\w+)@", r"\1", text), TemplateLoader)
    common = template["Globals"]["Function"]
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"] = {**common, **resource["Properties"]}
    return template


def properties(project: dict[str, Any], name: str) -> dict[str, Any]:
    return project["Resources"][name]["Properties"]


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_a_driver_is_a_python_function_of_two_lines_more() -> None:
    python, listed = (block.splitlines() for block in blocks("deploying.md", "yaml")[:2])
    assert len(DRIVER_BLOCK.splitlines()) == len(python) + 2
    assert len(LISTED_BLOCK.splitlines()) == len(listed) == 1


def test_the_sdks_function_is_a_function_like_any_other(project: dict[str, Any]) -> None:
    assert len(SDK_BLOCK.splitlines()) == 7
    assert set(re.findall(r"^      (\w+):", SDK_BLOCK, re.MULTILINE)) == {
        "Runtime",
        "Handler",
        "CodeUri",
        "AutoPublishAliasAllProperties",
    }
    assert "GreeterFunction" not in str(properties(project, "Deployment")).replace("GreeterFunction.Version", "")


def test_a_new_version_of_the_sdks_function_is_noticed(project: dict[str, Any]) -> None:
    version = {"Ref": "GreeterFunction.Version"}
    driver = properties(project, "GreeterDriver")
    assert driver["Environment"]["Variables"] == {"ADAPTER_ENDPOINT": version}
    [listed] = [each for each in properties(project, "Deployment")["Functions"] if "Endpoint" in each]
    assert listed == {
        "Alias": {"Ref": "GreeterDriver.Alias"},
        "Version": {"Ref": "GreeterDriver.Version"},
        "Endpoint": version,
    }
    assert driver["Timeout"] > properties(project, "GreeterFunction")["Timeout"]


# ---- permissions -----------------------------------------------------------------------------------------------------


def arn(value: Any) -> str:
    """A resource of a statement as an ARN with wildcards."""
    if value == {"Fn::GetAtt": "Courier.Arn"}:
        return FUNCTION + FUNCTIONS["courier"]
    if isinstance(value, str):
        return value
    text = value["Fn::Sub"]
    return re.sub(r"\$\{([\w:]+)\}", lambda found: NAMES[found[1]], text)


def invokes(statements: list[dict[str, Any]]) -> set[str]:
    """The targets that statements allow to invoke."""
    patterns = [
        arn(resource)
        for statement in statements
        if {"lambda:InvokeFunction", "lambda:*", "*"} & set(listed(statement["Action"]))
        for resource in listed(statement["Resource"])
    ]
    arns = {
        target: FUNCTION + target.replace(target.partition(":")[0], FUNCTIONS[target.partition(":")[0]], 1)
        for target in TARGETS
    }
    return {target for target, it in arns.items() if any(fnmatchcase(it, pattern) for pattern in patterns)}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(resources: Resources, policy: str) -> list[dict[str, Any]]:
    return resources[policy]["Properties"]["PolicyDocument"]["Statement"]


def allowed(project: dict[str, Any], resources: Resources, function: str) -> list[dict[str, Any]]:
    """The statements of a function's role, without those of logs that SAM gives the roles that it makes."""
    function_properties = properties(project, function)
    if function_properties.get("Role") == {"Fn::GetAtt": "Adapter.Outputs.FunctionRole"}:
        assert "Policies" not in function_properties
        return statements(resources, "FunctionPolicy")
    assert "Role" not in function_properties
    found: list[dict[str, Any]] = []
    for policy in function_properties.get("Policies", []):
        if policy == {"Fn::GetAtt": "Adapter.Outputs.FunctionPolicy"}:
            found += statements(resources, "FunctionPolicy")
        else:
            # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-policy-template-list.html
            assert policy == {"LambdaInvokePolicy": {"FunctionName": {"Ref": "GreeterFunction"}}}
            found.append({"Action": "lambda:InvokeFunction", "Resource": f"{FUNCTION}{FUNCTIONS['sdk']}*"})
    return found


def test_functions_invoke_functions_with_handlers_and_a_driver_its_sdks_function(
    project: dict[str, Any], resources: Resources
) -> None:
    assert invokes(allowed(project, resources, "AppFunction")) == ENGINE
    assert invokes(allowed(project, resources, "GreeterDriver")) == ENGINE | {"sdk", "sdk:live", "sdk:7"}


def test_the_role_of_the_sdks_function_writes_logs_only(project: dict[str, Any], resources: Resources) -> None:
    assert allowed(project, resources, "GreeterFunction") == []
    # SAM adds permissions for these.
    assert not {"Tracing", "VpcConfig", "Events", "DeadLetterQueue"} & set(properties(project, "GreeterFunction"))


def test_nothing_else_invokes_the_sdks_function(resources: Resources) -> None:
    current = {"app:live", "driver:live"}
    assert invokes(statements(resources, "CourierPolicy")) == current
    assert invokes(statements(resources, "SchedulePolicy")) == current | {"courier"}
    assert invokes(statements(resources, "RegistrarPolicy")) == ENGINE | {"app", "driver"}
