"""Functions of SDKs and their drivers in a stack of tests, as docs/guides/sdks.md has them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import restate
import yaml

from infra.emulator import ROOT
from infra.node import MODULES, install_sdk
from tests.faults.template import Template
from tests.template.conftest import TemplateLoader

PROBE = Path(__file__).parent / "probe"
APP = (PROBE / "sdk.mjs").read_text()


def available() -> bool:
    """Return True if the SDK can be installed. In CI it has to be."""
    try:
        install_sdk()
    except RuntimeError:
        if os.environ.get("CI"):
            raise
        return False
    return True


def add_sdk(template: Template, directory: Path, packages: Path, version: int) -> None:
    """Add a version of the TypeScript SDK's function, and its driver, whose package is the same in each version."""
    code = _add(template, directory, packages, "Sdk")
    modules = Path("node_modules") / "@restatedev"  # not what other programs of the tests import
    shutil.copytree(MODULES / modules, code / modules, copy_function=os.link)
    (code / "app.mjs").write_text(app(version))


def add_python(template: Template, directory: Path, packages: Path) -> None:
    """Add a function of the Python SDK, and its driver. Both can compress."""
    code = _add(template, directory, packages, "Py", Runtime={"Ref": "PythonRuntime"})
    _link(Path(restate.__file__).parent, code / "restate")
    (code / "app.py").write_text((PROBE / "python_sdk.py").read_text())
    driver = directory / "PyDriver"
    if driver.is_symlink():
        driver.unlink()
    shutil.rmtree(driver, ignore_errors=True)
    _link(packages / "GreeterFunction", driver)
    if sys.version_info < (3, 14):
        zstd = find_spec("backports.zstd")
        assert zstd is not None
        assert zstd.origin is not None
        for package in (code, driver):
            _link(Path(zstd.origin).parent, package / "backports" / "zstd")


def add_beside(package: Path) -> None:
    """Add handlers of the Python SDK to the package of a function of Python definitions."""
    _link(Path(restate.__file__).parent, package / "restate")
    (package / "beside.py").write_text((PROBE / "beside.py").read_text())


def _link(source: Path, target: Path) -> None:
    """Copy a folder by links."""
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))


def _add(template: Template, directory: Path, packages: Path, name: str, **properties: object) -> Path:
    """Add a function and its driver. Return the empty folder of the function's code."""
    functions, listed = (yaml.load(re.sub("(?i)greeter", name, block), TemplateLoader) for block in _blocks())
    function, driver = functions[f"{name}Function"]["Properties"], functions[f"{name}Driver"]["Properties"]
    function |= properties
    function["CodeUri"], driver["CodeUri"] = f"{name}Function", f"{name}Driver"
    template["Resources"] |= functions
    template["Resources"]["Deployment"]["Properties"]["Functions"] += listed
    code, package = directory / f"{name}Function", directory / f"{name}Driver"
    shutil.rmtree(code, ignore_errors=True)
    code.mkdir(parents=True)
    if not package.exists():
        package.symlink_to(packages / "GreeterFunction")
    return code


def app(version: int) -> str:
    """Return the code of a version."""
    assert "const VERSION = 1;" in APP
    return APP.replace("const VERSION = 1;", f"const VERSION = {version};")


def _blocks() -> list[str]:
    page = (ROOT / "docs" / "guides" / "sdks.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
