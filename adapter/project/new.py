"""Creates a project: an application with a service, a virtual object and a workflow, its tests and its templates."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

TEMPLATES: Final = Path(__file__).with_name("new")
SHARED: Final = Path(__file__).with_name("stack.yaml")
"""The template of the shared stack."""

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
SUPPORTED: Final = range(11, 15)
"""The versions 3.x of Python that Lambda offers and this library supports."""


class ProjectError(Exception):
    """A project cannot be created."""


def create(name: str, directory: Path) -> list[Path]:
    """Create a project in a directory, and return its files.

    Args:
        name: What the project and its stack are called; the Python package has underscores for hyphens.
        directory: Where; it may exist, if it has none of the files.

    Raises:
        ProjectError: If the name is none that a stack can have, or if a file exists.
    """
    if not NAME.fullmatch(name):
        raise ProjectError(
            f"{name!r} cannot be the name of a stack: use up to 40 lower-case letters, digits and hyphens, with a "
            "letter first"
        )
    package = name.replace("-", "_")
    if package in sys.stdlib_module_names | {"adapter", "src", "tests"}:
        raise ProjectError(f"{name!r} is the name of another Python package: choose another one")
    files = {_place(template, package): _filled(template.read_text(), name, package) for template in _templates()}
    files[Path("adapter.yaml")] = SHARED.read_text()
    for file in sorted(files):
        if (directory / file).exists():
            raise ProjectError(f"{directory / file} exists: nothing was written")
    for file, text in files.items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sorted(files)


def _templates() -> list[Path]:
    return sorted(TEMPLATES.rglob("*.tmpl"))


def _place(template: Path, package: str) -> Path:
    parts = template.relative_to(TEMPLATES).with_suffix("").parts
    names = {"package": package, "gitignore": ".gitignore"}
    return Path(*(names.get(part, part) for part in parts))


def _filled(text: str, name: str, package: str) -> str:
    minor = min(max(sys.version_info.minor, SUPPORTED[0]), SUPPORTED[-1])
    major, second = version("serverless-adapter").split(".")[:2]
    values = {
        "name": name,
        "package": package,
        "python": f"3.{minor}",
        "architecture": "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64",
        "version": f"{major}.{second}",
        "next": f"{major}.{int(second) + 1}",
    }
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)
