"""A function that is added to a stack for a test is like an example, in all parts of the template."""

from __future__ import annotations

from typing import Any

from tests.faults.template import copy_function, keep_functions


def function(name: str) -> dict[str, Any]:
    return {"Type": "AWS::Serverless::Function", "Properties": {"FunctionName": f"stack_{name}", "CodeUri": name}}


def deployed(name: str) -> dict[str, Any]:
    return {"Alias": {"Ref": f"{name}Function.Alias"}, "Version": {"Ref": f"{name}Function.Version"}}


def test_a_function_takes_an_examples_place() -> None:
    template: dict[str, Any] = {
        "Resources": {
            "GreeterFunction": function("greeter"),
            "SignUpFunction": function("signup"),
            "Deployment": {
                "Type": "Custom::AdapterDeployment",
                "Properties": {"Functions": [deployed("Greeter"), deployed("SignUp")]},
            },
        },
        "Outputs": {
            "GreeterFunctionName": {"Value": {"Ref": "GreeterFunction"}},
            "SignUpFunctionName": {"Value": {"Ref": "SignUpFunction"}},
        },
    }

    copy_function(template, "SignUp", "Bank")["Properties"]["Handler"] = "bank.entry"
    keep_functions(template, "Greeter", "Bank")

    bank = function("bank")
    bank["Properties"]["Handler"] = "bank.entry"
    deployment = template["Resources"].pop("Deployment")
    assert template["Resources"] == {"GreeterFunction": function("greeter"), "BankFunction": bank}
    assert template["Outputs"] == {
        "GreeterFunctionName": {"Value": {"Ref": "GreeterFunction"}},
        "BankFunctionName": {"Value": {"Ref": "BankFunction"}},
    }
    assert deployment["Properties"]["Functions"] == [deployed("Greeter"), deployed("Bank")]
