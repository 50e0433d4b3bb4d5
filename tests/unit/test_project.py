"""A new project: it is whole, its tests pass, its types hold, and its template is small."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from adapter.cli import main
from adapter.project.new import SHARED, ProjectError, create
from tests.template.conftest import TemplateLoader, yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("new") / "my-shop"
    create("my-shop", directory)
    return directory


def run(project: Path, *command: str) -> None:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_is_whole(project: Path) -> None:
    files = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert {file for file in files if "__pycache__" not in file and "_cache" not in file} == {
        ".gitignore",
        "README.md",
        "adapter.yaml",
        "pyproject.toml",
        "samconfig.toml",
        "src/my_shop/__init__.py",
        "src/my_shop/app.py",
        "src/requirements.txt",
        "template.yaml",
        "tests/test_app.py",
    }
    texts = {file: (project / file).read_text() for file in files if not file.endswith(".pyc")}
    assert not [file for file, text in texts.items() if re.search(r"@\w+@", text)]
    assert (project / "adapter.yaml").read_text() == SHARED.read_text()
    assert tomllib.loads((project / "samconfig.toml").read_text())["default"]["global"]["parameters"] == {
        "stack_name": "my-shop"
    }


def test_its_tests_pass(project: Path) -> None:
    run(project, "pytest", "-q", "-p", "no:cacheprovider")


def test_its_types_hold_and_it_is_formatted(project: Path) -> None:
    run(project, "mypy", "--strict", "--cache-dir", "/dev/null", "src", "tests")
    settings = ("--isolated", "--config", 'src = ["src"]', "--config", "line-length = 120", "--no-cache")
    run(project, "ruff", "check", *settings, "--select", "E,F,I,UP,B")
    run(project, "ruff", "format", *settings, "--check")


def test_its_template_is_small(project: Path) -> None:
    text = (project / "template.yaml").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    template, shared = yaml.load(text, TemplateLoader), yaml.load(SHARED.read_text(), TemplateLoader)
    given = template["Resources"]["Adapter"]["Properties"]["Parameters"]
    needed = {name for name, parameter in shared["Parameters"].items() if "Default" not in parameter}
    assert needed <= set(given) <= set(shared["Parameters"])
    assert template["Globals"]["Function"]["Runtime"] == f"python3.{sys.version_info.minor}"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text("mine")
    with pytest.raises(ProjectError, match=r"template\.yaml exists: nothing was written"):
        create("shop", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["template.yaml"]


@pytest.mark.parametrize("name", ["", "Shop", "my_shop", "7up", "../shop", "a" * 41])
def test_a_name_that_no_stack_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProjectError, match="cannot be the name of a stack"):
        create(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["json", "adapter", "tests"])
def test_a_name_that_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProjectError, match="is the name of another Python package"):
        create(name, tmp_path)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for command, code, said in [
        (["init", "shop"], 0, "shop/src/shop/app.py"),
        (["init", "shop"], 1, "exists: nothing was written"),
        (["init", "store", "--here"], 0, "src/store/app.py"),
        (["template", "-o", "shop/adapter.yaml"], 0, ""),
        (["template", "-o", "nowhere/adapter.yaml"], 1, "nowhere/adapter.yaml"),
        (["pack"], 1, "run `sam build` first"),
    ]:
        with pytest.raises(SystemExit) as exit:
            main(command)
        assert exit.value.code == code
        out, err = capsys.readouterr()
        assert said in out + err
