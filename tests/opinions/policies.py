"""The policies of the shared stack as IAM would get them."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from infra.emulator import ROOT
from tests.template.conftest import TemplateLoader

ARNS: Final = {
    "Courier": "arn:aws:lambda:eu-west-1:111111111111:function:shop-Courier",
    "DeadLetters": "arn:aws:sqs:eu-west-1:111111111111:shop-DeadLetters",
    "Delays": "arn:aws:sqs:eu-west-1:111111111111:shop-Delays",
    "FunctionLogs": "arn:aws:logs:eu-west-1:111111111111:log-group:/aws/lambda/shop:*",
    "Invocations": "arn:aws:dynamodb:eu-west-1:111111111111:table/shop-Invocations",
    "Objects": "arn:aws:dynamodb:eu-west-1:111111111111:table/shop-Objects",
    "ScheduleRole": "arn:aws:iam::111111111111:role/shop-ScheduleRole",
}
"""What resources' ARNs are like."""

VALUES: Final = {
    "AWS::AccountId": "111111111111",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "HttpApi": "a1b2c3d4e5",
    "Name": "shop",
    "Timers": "shop-timers",
}


def policies() -> dict[str, dict[str, Any]]:
    """Return the documents of the managed policies by their logical ids."""
    template = yaml.load((ROOT / "adapter" / "project" / "stack.yaml").read_text(), TemplateLoader)
    return {
        name: _resolved(resource["Properties"]["PolicyDocument"])
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy"
    }


def _resolved(value: Any) -> Any:
    match value:
        case {"Fn::GetAtt": str(text)}:
            return ARNS[text.removesuffix(".Arn")]
        case {"Ref": str(name)}:
            return VALUES[name]
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: _named(found[1]), text)
        case dict():
            return {name: _resolved(item) for name, item in value.items()}
        case list():
            return [_resolved(item) for item in value]
        case _:
            return value


def _named(name: str) -> str:
    return ARNS[name.removesuffix(".Arn")] if name.endswith(".Arn") else VALUES[name]
