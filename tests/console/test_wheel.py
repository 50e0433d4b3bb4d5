"""The wheel has the console's pages, and not what they are built from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_the_pages_and_not_their_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(
        ROOT / "adapter", tree / "adapter", ignore=shutil.ignore_patterns("node_modules", "__pycache__", "built")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree / name)
    built = tree / "adapter" / "console" / "built"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").touch()
    (built / "assets" / "index-1.js").touch()
    names = _wheel(tree, tmp_path / "dist")
    console = {name for name in names if name.startswith("adapter/console/")}
    assert {"adapter/console/built/index.html", "adapter/console/built/assets/index-1.js"} <= console
    assert not any("/web/" in name for name in console)


def _wheel(tree: Path, to: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check", "-w", str(to)]
    subprocess.run([*command, str(tree)], check=True)
    (wheel,) = to.glob("*.whl")
    return ZipFile(wheel).namelist()
