"""An SDK's function and its driver in a stack of tests, as docs/guides/sdks.md has them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import yaml

from infra.emulator import ROOT
from infra.node import MODULES, install_sdk
from tests.faults.template import Template
from tests.template.conftest import TemplateLoader

APP = (Path(__file__).parent / "probe" / "sdk.mjs").read_text()


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
    """Add a version of the SDK's function, and its driver, whose package is the same in each version."""
    functions, listed = (yaml.load(re.sub("(?i)greeter", "Sdk", block), TemplateLoader) for block in _blocks())
    function, driver = functions["SdkFunction"]["Properties"], functions["SdkDriver"]["Properties"]
    function["CodeUri"], driver["CodeUri"] = "SdkFunction", "SdkDriver"
    template["Resources"] |= functions
    template["Resources"]["Deployment"]["Properties"]["Functions"] += listed
    code, package = directory / "SdkFunction", directory / "SdkDriver"
    shutil.rmtree(code, ignore_errors=True)
    modules = Path("node_modules") / "@restatedev"  # not what other programs of the tests import
    shutil.copytree(MODULES / modules, code / modules, copy_function=os.link)
    (code / "app.mjs").write_text(app(version))
    if not package.exists():
        package.symlink_to(packages / "GreeterFunction")


def app(version: int) -> str:
    """Return the code of a version."""
    assert "const VERSION = 1;" in APP
    return APP.replace("const VERSION = 1;", f"const VERSION = {version};")


def _blocks() -> list[str]:
    page = (ROOT / "docs" / "guides" / "sdks.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
