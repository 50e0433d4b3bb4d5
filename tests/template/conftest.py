"""`template.yaml` and `samconfig.toml` as data, for what no emulator would notice missing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

Resources = dict[str, dict[str, Any]]


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become the long ones: `!Ref X` is `{"Ref": "X"}`."""


def _long_form(loader: TemplateLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


TemplateLoader.add_multi_constructor("!", _long_form)


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    return yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)


@pytest.fixture(scope="session")
def resources(template: dict[str, Any]) -> Resources:
    return template["Resources"]


@pytest.fixture(scope="session")
def functions(template: dict[str, Any], resources: Resources) -> dict[str, dict[str, Any]]:
    """The properties of each function by its logical id, what Globals adds included."""
    shared = template["Globals"]["Function"]
    return {
        name: {**shared, **resource["Properties"]}
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


@pytest.fixture(scope="session")
def samconfig() -> dict[str, Any]:
    return tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]
