"""Checks of a project's template.yaml: what a function that hosts services needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from adapter.cli.checks import drivers
from adapter.cli.checks.finding import Finding, note, ok, unknown, wrong

FUNCTION: Final = "AWS::Serverless::Function"
DEPLOYMENT: Final = "Custom::AdapterDeployment"
VARIABLE: Final = "ADAPTER_STACK"


def check(file: Path) -> Iterator[Finding]:
    """Yield what is missing in a template. A folder without one has no findings."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return
    try:
        document = _load(text)
    except ValueError as error:
        yield wrong("template", f"{file} cannot be read: {error}", "correct it; `sam validate --lint` says more")
        return
    except ModuleNotFoundError:
        yield unknown("template", "pyyaml is not installed", "pip install 'serverless-adapter[cli]'")
        return
    found = [*_functions(document)]
    yield from found
    if not found:
        yield ok("template", f"{file} has what its functions need")
    if not (file.parent / "adapter.yaml").exists() and "adapter.yaml" in text:
        yield note("template", f"{file} names adapter.yaml, which is not there", "write it with `adapter template`")


def _functions(document: Mapping[str, Any]) -> Iterator[Finding]:
    resources = _section(document, "Resources")
    common = _section(_section(document, "Globals"), "Function")
    functions = {
        name: {**common, **own, "Environment": {"Variables": _variables(common) | _variables(own)}}
        for name, each in resources.items()
        if each.get("Type") == FUNCTION
        for own in [_section(each, "Properties")]
    }
    deployments = [each for each in resources.values() if each.get("Type") == DEPLOYMENT]
    if not deployments:
        yield wrong(
            "template",
            f"no resource has the type {DEPLOYMENT}",
            "add it, and name the functions in it: see docs/deploying.md",
        )
    listed: dict[str, Mapping[str, Any]] = {
        str(function.get("Alias")).partition(".")[0]: function
        for each in deployments
        for function in _section(each, "Properties").get("Functions") or ()
    }
    driven = drivers.driven(functions)
    for name, function in functions.items():
        if VARIABLE in _variables(function) and name not in driven:  # a function that hosts services
            for says, advice in _mistakes(name, function, name in listed or not deployments):
                yield wrong("template", says, advice)
    yield from drivers.in_template(functions, listed)


def _mistakes(name: str, function: Mapping[str, Any], listed: bool) -> Iterator[tuple[str, str]]:
    if not listed:
        yield (
            f"{name} is in no {DEPLOYMENT}: it gets no routes, no retry settings and no RecursiveLoop: Allow",
            f"add {{Alias: !Ref {name}.Alias, Version: !Ref {name}.Version}} to its Functions",
        )
    if function.get("AutoPublishAlias") != "live":
        yield f"{name} is not published as live", "set AutoPublishAlias: live, on it or under Globals"
    if not str(function.get("FunctionName", "")).startswith("${AWS::StackName}_"):
        yield (
            f"{name} has no FunctionName that begins with the stack's",
            f"set FunctionName: !Sub ${{AWS::StackName}}_{name.lower()}, because the roles allow such names only",
        )
    if function.get("AutoPublishAliasAllProperties") is not True:
        yield (
            f"{name} publishes no version when only its settings change",
            "set AutoPublishAliasAllProperties: true on it",
        )


def _variables(function: Mapping[str, Any]) -> dict[str, Any]:
    return _section(_section(function, "Environment"), "Variables")


def _section(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a part of the template. It may be missing, or empty."""
    value: Any = holder.get(name)
    return value or {}


def _load(text: str) -> Mapping[str, Any]:
    """Return a template with CloudFormation's short forms (`!Ref x`) as their plain values.

    Raises:
        ValueError: If it is not YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads tags that begin with an exclamation mark."""

    def plain(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    Loader.add_multi_constructor("!", plain)  # pyright: ignore[reportUnknownMemberType]
    try:
        document: Any = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(document, dict):
        raise ValueError("it is no mapping")
    return document  # pyright: ignore[reportUnknownVariableType]
