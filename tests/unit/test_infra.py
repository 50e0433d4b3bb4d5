"""Where a deployment goes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infra.deploy import local_parameters
from infra.stack import Stack


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The configuration of an AWS account, with nothing of it in the environment."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


def test_a_deployment_goes_to_the_region_of_the_credentials(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile.write_text("[default]\nregion = eu-central-1\n[profile other]\nregion = eu-west-1\n")
    assert Stack.from_environment() == Stack("adapter", None, "eu-central-1")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert Stack.from_environment().region == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert Stack.from_environment().region == "eu-north-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert Stack.from_environment().region == "sa-east-1"


def test_no_region_is_guessed_on_aws(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="AWS_DEFAULT_REGION"):
        Stack.from_environment()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert Stack.from_environment().region == "us-east-1"


def test_a_local_deployment_is_open_can_be_deleted_and_runs_on_this_machine() -> None:
    parameters = local_parameters()
    assert parameters.pop("Architecture") in ("x86_64", "arm64")
    assert parameters == {
        "Authorization": "NONE",
        "DeletionProtection": "false",
        "PythonRuntime": f"python{sys.version_info[0]}.{sys.version_info[1]}",
    }
