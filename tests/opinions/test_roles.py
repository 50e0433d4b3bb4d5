"""parliament and cloudsplaining find nothing in the roles but what is accepted here, each with its reason."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

import pytest

from infra.emulator import ROOT
from tests.opinions.policies import policies

PYTHON = ROOT / ".tools" / "opinions" / "bin" / "python"

SCAN = """
import json, sys
import parliament
from cloudsplaining.scan.policy_document import PolicyDocument

text = sys.stdin.read()
policy = PolicyDocument(json.loads(text))
print(json.dumps([
    *(each.issue for each in parliament.analyze_policy_string(text).findings),
    *(f"PRIVILEGE_ESCALATION {each['type']}" for each in policy.allows_privilege_escalation),
    *(f"DATA_EXFILTRATION {each}" for each in policy.allows_data_exfiltration_actions),
    *(f"RESOURCE_EXPOSURE {each}" for each in policy.permissions_management_without_constraints),
    *(f"UNRESTRICTED {each}" for each in policy.all_allowed_unrestricted_actions),
    *(f"CREDENTIALS_EXPOSURE {each}" for each in policy.credentials_exposure),
]))
"""

ACCEPTED: Final[dict[str, dict[str, str]]] = {}
"""For each policy the findings that are accepted, with the reason."""


def findings(document: dict[str, Any]) -> set[str]:
    """What the tools find in a policy."""
    scan = subprocess.run([PYTHON, "-c", SCAN], input=json.dumps(document), capture_output=True, text=True, check=True)
    return set(json.loads(scan.stdout))


@pytest.mark.parametrize("name", policies())
def test_nothing_is_found_but_what_is_accepted(name: str) -> None:
    assert findings(policies()[name]) == set(ACCEPTED.get(name, {}))


def test_the_tools_would_find_something() -> None:
    statement = {
        "Effect": "Allow",
        "Action": ["iam:PassRole", "lambda:*", "s3:GetObject", "sqs:Nothing"],
        "Resource": "*",
    }
    found = findings({"Version": "2012-10-17", "Statement": [statement]})
    assert {"UNKNOWN_ACTION", "DATA_EXFILTRATION s3:GetObject"} <= found
    assert any(each.startswith("PRIVILEGE_ESCALATION") for each in found)
