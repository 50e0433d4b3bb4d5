"""The stack: the template as it is, but for its examples, in whose place stand a bank and a shop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.emulator import ROOT
from tests.faults.template import Template, copy_function, keep_functions, rewritten, with_aws_at

BUILD = ROOT / ".local" / "test" / "build"
"""The integration tests' packages, which are of the same sources."""

FUNCTIONS = ("Bank", "Shop")
"""What is deployed in place of the examples."""

TIMEOUT = 10
"""Seconds that a function may take: what runs in a process that crashes is taken up again two seconds after."""

EXAMPLE = "SignUp"
"""The example whose part of the template is copied."""

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
    shutil.copytree(BUILD / f"{EXAMPLE}Function", package, copy_function=os.link)
    shutil.copytree(Path(__file__).parent / "functions", package / "tests" / "chaos" / "functions")
    (package / "chaos.py").write_text(ENTRY.format(module=module))


def _chaotic(aws: str, ledger: str) -> Callable[[Template], None]:
    def rewrite(template: Template) -> None:
        with_aws_at(aws)(template)
        shared = template["Globals"]["Function"]
        shared["Timeout"] = TIMEOUT
        shared["Environment"]["Variables"]["CHAOS_LEDGER"] = ledger
        for function in FUNCTIONS:
            copy_function(template, EXAMPLE, function)["Properties"]["Handler"] = "chaos.entry"
        keep_functions(template, "Greeter", *FUNCTIONS)

    return rewrite
