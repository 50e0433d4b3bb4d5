"""Packages with another template: how a stack gets something in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

Template = dict[str, Any]
"""A template as `sam build` writes it: without short forms."""


@contextmanager
def rewritten(packages: Path, rewrite: Callable[[Template], None], name: str = "rewritten") -> Iterator[Path]:
    """The same packages, in a folder of this name beside them, with a template that was changed."""
    directory = packages.with_name(name)
    directory.mkdir(exist_ok=True)
    for package in packages.iterdir():
        link = directory / package.name
        if package.is_dir() and not link.exists():
            link.symlink_to(package)
    template = yaml.safe_load((packages / "template.yaml").read_text())
    rewrite(template)
    (directory / "template.yaml").write_text(json.dumps(template, indent=1))
    yield directory


def keep_functions(template: Template, *kept: str) -> None:
    """Remove the examples that are not named, such as ``Greeter``."""
    resources = template["Resources"]
    functions = [name for name, resource in resources.items() if resource["Type"] == "AWS::Serverless::Function"]
    for name in set(functions) - {f"{each}Function" for each in kept}:
        del resources[name], template["Outputs"][f"{name}Name"]
    deployed = resources["Deployment"]["Properties"]["Functions"]
    deployed[:] = [function for function in deployed if function["Alias"]["Ref"].partition(".")[0] in resources]


def copy_function(template: Template, example: str, name: str) -> dict[str, Any]:
    """Add a function such as an example, such as ``SignUp``, and return its part of the template."""

    def copied(part: Any) -> Any:
        return json.loads(json.dumps(part).replace(example, name).replace(example.lower(), name.lower()))

    resources, outputs = template["Resources"], template["Outputs"]
    resource: dict[str, Any] = copied(resources[f"{example}Function"])
    resources[f"{name}Function"] = resource
    outputs[f"{name}FunctionName"] = copied(outputs[f"{example}FunctionName"])
    deployed = resources["Deployment"]["Properties"]["Functions"]
    deployed += [copied(each) for each in deployed if each["Alias"]["Ref"] == f"{example}Function.Alias"]
    return resource


def with_aws_at(url: str) -> Callable[[Template], None]:
    """Changes a template so that its functions find the services that they use at another address."""

    def rewrite(template: Template) -> None:
        variables = template["Globals"]["Function"]["Environment"]["Variables"]
        variables |= {f"AWS_ENDPOINT_URL_{service}": url for service in ("DYNAMODB", "LAMBDA", "SCHEDULER", "SQS")}

    return rewrite
