"""The size of a Lambda function's package: this library with all that it needs, pruned as `adapter.project` does it."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from adapter.project.packages import precompile, prune
from infra.emulator import ROOT

TARGET: Final = 12.0
"""MB, zipped, with bytecode."""

LIBRARY: Final = "serverless-adapter"


def package_size(*, bytecode: bool = True) -> list[dict[str, Any]]:
    """Return the zipped size in MB of all, and of each distribution that has more than a hundredth of it."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        shutil.copytree(ROOT / "adapter", package / "adapter", ignore=shutil.ignore_patterns("__pycache__"))
        parts = {LIBRARY: {"adapter"}}
        for each in required(LIBRARY):
            parts[each.name] = _copy(each, package)
        prune(package)
        if bytecode:
            precompile(package)
        sizes = {name: _zipped(package, tops) for name, tops in parts.items()}
    total = sum(sizes.values())
    rows: list[dict[str, Any]] = [{"package": "in all", "MB zipped": round(total, 2), "target MB": TARGET}]
    for name, size in sorted(sizes.items(), key=lambda entry: -entry[1]):
        if size > total / 100:
            rows.append({"package": name, "MB zipped": round(size, 2), "target MB": ""})
    return rows


def required(name: str) -> list[Distribution]:
    """Return all distributions that one needs, without those of its extras."""
    found: dict[str, Distribution] = {}

    def add(name: str) -> None:
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            key = needed.name.lower().replace("_", "-")
            if key not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
                found[key] = distribution(key)
                add(key)

    add(name)
    return list(found.values())


def _copy(distribution: Distribution, package: Path) -> set[str]:
    """Copy a distribution's files into a package, and return their folders and files at its top."""
    tops: set[str] = set()
    for file in distribution.files or ():
        if file.suffix == ".pyc" or file.parts[0] == "..":
            continue
        target = package / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)
        tops.add(file.parts[0])
    return tops


def _zipped(package: Path, tops: Iterable[str]) -> float:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for top in sorted(tops):
            path = package / top
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    archive.write(file, str(file.relative_to(package)))
    return len(buffer.getvalue()) / 1e6
