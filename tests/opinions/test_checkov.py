"""checkov finds nothing in the templates but what is accepted here, each with its reason."""

from __future__ import annotations

import json
import subprocess
from typing import Final

import pytest

from adapter.project.new import create
from infra.emulator import ROOT

CHECKOV: Final = ROOT / ".tools" / "checkov" / "bin" / "checkov"

Findings = dict[str, set[str]]
"""The logical ids of resources, by the check that they fail."""

SHARED: Final[dict[str, tuple[set[str], str]]] = {
    "CKV_AWS_27": (
        {"DeadLetters", "Delays"},
        "The queues are encrypted with SQS's own keys (SqsManagedSseEnabled); checkov looks for a KMS key.",
    ),
    "CKV_AWS_115": (
        {"Courier", "Registrar"},
        "Reserved concurrency is taken from the account. The mapping limits the courier; a deployment calls the "
        "registrar once.",
    ),
    "CKV_AWS_116": (
        {"Courier", "Registrar"},
        "The courier is invoked by a queue and by a schedule, which have the dead-letter queue. CloudFormation waits "
        "for the registrar.",
    ),
    "CKV_AWS_117": ({"Courier", "Registrar"}, "Both call AWS's public endpoints only, and open no port."),
    "CKV_AWS_119": (
        {"Invocations", "Objects"},
        "DynamoDB encrypts with a key of its own. A KMS key costs for each request; adapter.encryption is for secrets.",
    ),
    "CKV_AWS_158": (
        {"AccessLogs", "FunctionLogs"},
        "CloudWatch Logs encrypts with a key of its own. The logs hold no inputs, results or paths.",
    ),
    "CKV_AWS_173": ({"Courier", "Registrar"}, "Lambda encrypts the environment. It holds names and ARNs, no secrets."),
}
"""What is accepted in the shared stack."""

FUNCTIONS: Final[dict[str, str]] = {
    "CKV_AWS_115": "A parameter sets it where an application shares its account with others.",
    "CKV_AWS_116": "The registrar sets the dead-letter queue, as the destination of events that fail.",
    "CKV_AWS_117": "The application's author decides: see VPC in docs/deploying.md.",
    "CKV_AWS_173": "Lambda encrypts the environment. The library puts names and ARNs into it, no secrets.",
}
"""What is accepted in an application's functions."""


EVERYTHING: Final = {
    "Type": "AWS::IAM::ManagedPolicy",
    "Properties": {
        "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
        }
    },
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """What checkov finds in each template."""
    project = tmp_path_factory.mktemp("project")
    create("shop", project)
    (project / "mistake.json").write_text(
        json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Everything": EVERYTHING}})
    )
    templates = {
        "shared": ROOT / "adapter" / "project" / "stack.yaml",
        "examples": ROOT / "template.yaml",
        "application": project / "template.yaml",
        "mistake": project / "mistake.json",
    }
    command = [
        *(CHECKOV, "--framework", "cloudformation", "--output", "json", "--skip-download", "--soft-fail"),
        *(argument for path in templates.values() for argument in ("--file", path)),
    ]
    scan = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(scan.stdout)
    assert report["summary"]["parsing_errors"] == 0, scan.stderr
    found: dict[str, Findings] = {name: {} for name in templates}
    for each in report["results"]["failed_checks"]:
        (name,) = (name for name, path in templates.items() if path.samefile(each["file_abs_path"]))
        found[name].setdefault(each["check_id"], set()).add(each["resource"].rpartition(".")[2])
    return found


def test_the_shared_stack(findings: dict[str, Findings]) -> None:
    assert findings["shared"] == {check: resources for check, (resources, _) in SHARED.items()}


def test_an_applications_template(findings: dict[str, Findings]) -> None:
    assert findings["application"] == {check: {"AppFunction"} for check in FUNCTIONS}


def test_the_examples_template(findings: dict[str, Findings]) -> None:
    functions = {"CheckoutFunction", "GreeterFunction", "SignUpFunction", "WarehouseFunction"}
    accepted = FUNCTIONS.keys() - {"CKV_AWS_115"}  # a parameter of this template
    assert findings["examples"] == dict.fromkeys(accepted, functions)


def test_a_mistake_is_found(findings: dict[str, Findings]) -> None:
    assert {"CKV_AWS_107", "CKV_AWS_110", "CKV_AWS_111"} <= findings["mistake"].keys()
