"""The templates and `samconfig.toml` as data, for what no emulator would notice missing."""

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
    """The template of the examples."""
    return yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)


@pytest.fixture(scope="session")
def shared() -> dict[str, Any]:
    """The template of the shared stack."""
    return yaml.load((ROOT / "adapter" / "project" / "stack.yaml").read_text(), TemplateLoader)


@pytest.fixture(scope="session")
def resources(shared: dict[str, Any]) -> Resources:
    """The resources of the shared stack."""
    return shared["Resources"]


@pytest.fixture(scope="session")
def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The properties of each example function by its logical id, what Globals adds included."""
    common = template["Globals"]["Function"]
    return {
        name: {**common, **resource["Properties"]}
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


@pytest.fixture(scope="session")
def samconfig() -> dict[str, Any]:
    return tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]
