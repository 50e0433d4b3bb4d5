"""The workflow and the role that docs/deploying.md shows are ones that GitHub and CloudFormation accept."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from infra.emulator import ROOT

PAGE = (ROOT / "docs" / "deploying.md").read_text()


def shown(begins: str) -> str:
    """The block of the page that begins so."""
    [block] = re.findall(rf"^```yaml\n({begins}.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the workflow of the page."""
    workflow = shown("name: deploy\n")
    file = tmp_path / ".github" / "workflows" / "deploy.yml"
    file.parent.mkdir(parents=True)
    file.write_text(workflow)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "opinions/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/deploy.yml",
        "checkov/bin/checkov --directory . --framework github_actions --skip-download --compact --quiet",
    ],
    ids=["schema", "checkov"],
)
def test_the_workflow_of_the_manual(repository: Path, command: str) -> None:
    program, *arguments = command.split()
    ran = subprocess.run(
        [ROOT / ".tools" / program, *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_role_of_the_manual(tmp_path: Path) -> None:
    file = tmp_path / "role.yaml"
    file.write_text(shown("AWSTemplateFormatVersion"))
    lint = [ROOT / ".tools" / "sam" / "bin" / "cfn-lint", "--regions", "us-east-1", "--template", file]
    ran = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
