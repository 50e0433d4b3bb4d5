"""The stack: the template as it is, but for its examples, in whose place stand a bank and a shop."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.emulator import ROOT
from tests.faults.template import Template, rewritten, with_aws_at

BUILD = ROOT / ".local" / "test" / "build"
"""The integration tests' packages, which are of the same sources."""

FUNCTIONS = {"Bank": ("Account", "Transfers", "StandingOrder"), "Shop": ("Stock", "Orders")}
"""What is deployed in place of the examples, with the services that are in it."""

TIMEOUT = 10
"""Seconds that a function may take: what runs in a process that crashes is taken up again two seconds after."""

EXAMPLE = "SignUp"
"""The example whose part of the template is copied."""

USED = {
    "_retry.json",
    "dynamodb",
    "endpoints.json",
    "lambda",
    "partitions.json",
    "scheduler",
    "sdk-default-configuration.json",
}
"""Of what botocore knows of AWS."""

ENTRY = """\
from adapter import lambda_handler
from tests.chaos.functions.{module} import SERVICES

entry = lambda_handler(*SERVICES)
"""


@contextmanager
def packaged(aws: str, ledger: str) -> Iterator[Path]:
    """The packages of a stack that reaches AWS and the ledger at these addresses."""
    with rewritten(BUILD, _chaotic(aws, ledger), "chaos") as packages:
        for function in FUNCTIONS:
            _package(packages / f"{function}Function", function.lower())
        yield packages


def _package(package: Path, module: str) -> None:
    """An example's package, with another entry point."""
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(BUILD / f"{EXAMPLE}Function", package, copy_function=os.link, ignore=_unused)
    shutil.copytree(Path(__file__).parent / "functions", package / "tests" / "chaos" / "functions")
    (package / "chaos.py").write_text(ENTRY.format(module=module))


def _unused(folder: str, names: list[str]) -> set[str]:
    """What botocore knows of other services: half of the files that each new worker unpacks."""
    return set(names) - USED if Path(folder).parts[-2:] == ("botocore", "data") else set()


def _chaotic(aws: str, ledger: str) -> Callable[[Template], None]:
    def rewrite(template: Template) -> None:
        with_aws_at(aws)(template)
        shared = template["Globals"]["Function"]
        shared["Timeout"] = TIMEOUT
        shared["Environment"]["Variables"]["CHAOS_LEDGER"] = ledger
        resources = template["Resources"]
        example = json.dumps({name: part for name, part in resources.items() if name.startswith(EXAMPLE)})
        replaced = ("Checkout", "Inventory", "Payment", "Shipping", "Warehouse", EXAMPLE)
        for parts in (resources, template["Outputs"]):
            for name in [name for name in parts if name.startswith(replaced)]:
                del parts[name]
        invoked = resources["InvokePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]["Resource"]
        invocable = json.dumps(invoked.pop())
        del invoked[1:]
        for function, services in FUNCTIONS.items():
            copy = json.loads(_renamed(example, function))
            copy[f"{function}Function"]["Properties"]["Handler"] = "chaos.entry"
            route = json.dumps(copy.pop(f"{function}Route"))
            for service in services:
                copy[f"{service}Route"] = json.loads(route.replace(f"/{function}/", f"/{service}/"))
            resources |= copy
            invoked.append(json.loads(_renamed(invocable, function)))

    return rewrite


def _renamed(text: str, function: str) -> str:
    return text.replace(EXAMPLE, function).replace(EXAMPLE.lower(), function.lower())
