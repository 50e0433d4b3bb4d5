"""Lambda packages are pruned and compiled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adapter.project.packages import packages, precompile, prune


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What `sam build` makes of a function, in miniature."""
    (tmp_path / "template.yaml").touch()
    (tmp_path / "Adapter").mkdir()
    function = tmp_path / "ShopFunction"
    for service in ("dynamodb", "lambda", "scheduler", "sqs", "s3", "ec2"):
        data = function / "botocore" / "data" / service / "2020-01-01"
        data.mkdir(parents=True)
        (data / "service-2.json.gz").touch()
    (function / "botocore" / "data" / "endpoints.json").touch()
    (function / "adapter").mkdir()
    (function / "adapter" / "__init__.py").write_text("x = 1\n")
    return function


def data(package: Path) -> set[str]:
    return {path.name for path in (package / "botocore" / "data").iterdir()}


def test_packages_are_the_folders_with_this_library(package: Path) -> None:
    assert packages(package.parent) == [package]


def test_without_a_build(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `sam build` first"):
        packages(tmp_path)


def test_services_that_are_not_used_are_deleted(package: Path) -> None:
    prune(package)
    assert data(package) == {"dynamodb", "lambda", "scheduler", "sqs", "endpoints.json"}
    prune(package)  # what is pruned already stays as it is


def test_the_console_and_the_command_line_are_deleted(package: Path) -> None:
    (package / "adapter" / "cli").mkdir()
    built = package / "adapter" / "console" / "built"
    built.mkdir(parents=True)
    (built / "index.html").touch()
    prune(package)
    assert sorted(path.name for path in (package / "adapter").iterdir()) == ["__init__.py"]


def test_services_are_kept(package: Path) -> None:
    prune(package, ["s3"])
    assert data(package) == {"dynamodb", "lambda", "scheduler", "sqs", "s3", "endpoints.json"}


def test_a_service_that_does_not_exist(package: Path) -> None:
    with pytest.raises(ValueError, match="botocore knows no service buckets"):
        prune(package, ["buckets"])
    assert "ec2" in data(package)


def test_a_package_without_botocore(tmp_path: Path) -> None:
    prune(tmp_path, ["s3"])


def test_bytecode_is_for_where_lambda_puts_the_package(package: Path) -> None:
    precompile(package)
    (compiled,) = (package / "adapter" / "__pycache__").iterdir()
    assert compiled.name == f"__init__.{sys.implementation.cache_tag}.pyc"
    assert b"/var/task/adapter/__init__.py" in compiled.read_bytes()
