"""Makes Lambda packages smaller, and faster to start, after `sam build`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

USED: Final = frozenset({"dynamodb", "lambda", "scheduler", "sqs"})
"""The services that this library uses, by the names of boto3's clients."""


UNUSED: Final = ("adapter/cli", "adapter/console")
"""Parts of this library that no function imports."""


def packages(build: Path) -> list[Path]:
    """Return the folders of the functions in what `sam build` made.

    Raises:
        FileNotFoundError: If there is no build.
    """
    if not (build / "template.yaml").exists():
        raise FileNotFoundError(f"{build} holds no build: run `sam build` first")
    return sorted(path.parent.parent for path in build.glob("*/adapter/__init__.py"))


def prune(package: Path, keep: Collection[str] = ()) -> None:
    """Delete what botocore knows of unused AWS services, and the parts of this library that no function imports.

    botocore's part is 30 MB, or half of a package's compressed size.

    Args:
        package: A function's folder.
        keep: Further services to keep, by the names of boto3's clients, such as ``s3``.

    Raises:
        ValueError: If botocore knows no service of a name.
    """
    services = {path.parent.parent for path in (package / "botocore" / "data").glob("*/*/service-2.json*")}
    unknown = set(keep) - {path.name for path in services}
    if services and unknown:
        raise ValueError(f"botocore knows no service {', '.join(sorted(unknown))}: take the names of boto3's clients")
    for service in services:
        if service.name not in USED | set(keep):
            shutil.rmtree(service)
    for part in UNUSED:
        shutil.rmtree(package / part, ignore_errors=True)


def precompile(package: Path) -> None:
    """Put bytecode beside the code. Lambda cannot write it, and would compile what it imports at every cold start.

    Bytecode is of one version of Python: the one that runs this has to be the functions'.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # Some packages bring files that are no code for this Python. They stay as they are.
    subprocess.run([*command, "-s", str(package), "-p", "/var/task", str(package)], check=False, capture_output=True)
