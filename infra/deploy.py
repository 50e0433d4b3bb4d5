"""Builds and deploys `template.yaml`: to AWS, or to the local one that AWS_ENDPOINT_URL names.

    python -m infra.deploy

Packages that were built of the same sources are deployed again as they are.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from botocore.exceptions import ClientError

from adapter.project.packages import packages, precompile, prune
from infra.emulator import ROOT
from infra.stack import LOCAL_CREDENTIALS, Stack

SAM = ROOT / ".tools" / "sam" / "bin" / "sam"
BUILD = ROOT / ".aws-sam" / "build"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The runtime that is like this process. A local deployment uses it, as an emulator runs functions on this machine."""

KEPT: tuple[str, ...] = ()
"""AWS services that the examples use beside the library's own."""

SOURCES = ("adapter", "handlers", "infra/requirements-sam.txt", "pyproject.toml", "samconfig.toml", "template.yaml")
"""What the packages are made of."""


def build(directory: Path = BUILD, parameters: Mapping[str, str] | None = None) -> bool:
    """Makes a Lambda package of each function, in `directory`; False if those that are there are of the same sources.

    sam's own cache would not see that `adapter/` changed.
    """
    digest = _digest(parameters or {})
    record = directory.with_name(f"{directory.name}.sha256")
    if (directory / "template.yaml").exists() and record.exists() and record.read_text() == digest:
        return False
    record.unlink(missing_ok=True)
    # Requirement files name the project as `.`, which is where sam runs.
    _sam(["build", "--build-dir", str(directory), *_overrides(parameters or {})], os.environ)
    for package in packages(directory):
        prune(package, KEPT)
        if (parameters or {}).get("PythonRuntime") == PYTHON:
            precompile(package)
    record.write_text(digest)
    return True


def deploy(stack: Stack, directory: Path = BUILD, parameters: Mapping[str, str] | None = None) -> None:
    """Creates or updates the stack with what `build` made."""
    command: list[str] = [
        *("deploy", "--stack-name", stack.name, "--template-file", str(directory / "template.yaml")),
        # sam looks for its settings beside the template, where they are not.
        *("--config-file", str(ROOT / "samconfig.toml")),
        *_overrides(parameters or {}),
    ]
    environment = {**os.environ, "AWS_DEFAULT_REGION": stack.region}
    if stack.endpoint is None:
        _sam(command, environment)
        return
    environment |= {name.upper(): value for name, value in LOCAL_CREDENTIALS.items()}
    environment |= {"AWS_ENDPOINT_URL": stack.endpoint, "SAM_CLI_POLL_DELAY": "0.5"}
    # At an update of a nested stack the emulator forgets the attributes of what does not change: a tag has all change.
    command += ["--tags", f"deployed={time.time_ns()}"]
    # A table of every resource and event, of which a local deployment has many and no slow ones: it goes to a file.
    # What failed to create is deleted, or it would be in the way of the next try.
    _sam([*command, "--no-progressbar", "--on-failure", "DELETE"], environment, log=directory.with_name("deploy.log"))
    apply_what_emulators_ignore(stack)


def local_parameters() -> dict[str, str]:
    """Return the template parameters of a local deployment: an emulator runs the functions on this machine."""
    return {
        "Architecture": "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64",
        "Authorization": "NONE",
        "DeletionProtection": "false",
        "PythonRuntime": PYTHON,
    }


def apply_what_emulators_ignore(stack: Stack) -> None:
    """Sets by API what the template says and a local AWS leaves out, as far as the functions would notice.

    That the template does say it is what tests/template checks.
    """
    dynamodb, functions = stack.client("dynamodb"), stack.client("lambda")
    for table in stack.tables:
        try:
            dynamodb.update_time_to_live(
                TableName=table, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
            )
        except ClientError as error:
            if "already enabled" not in str(error):
                raise
    for function in stack.functions:
        # The emulator takes the alias's and the versions', and obeys only that of the function as a whole.
        try:
            alias = functions.get_function_event_invoke_config(FunctionName=function, Qualifier="live")
        except functions.exceptions.ResourceNotFoundException:
            continue  # an SDK's function, which is invoked by its driver only
        functions.put_function_event_invoke_config(
            FunctionName=function,
            MaximumRetryAttempts=alias["MaximumRetryAttempts"],
            MaximumEventAgeInSeconds=alias["MaximumEventAgeInSeconds"],
            DestinationConfig=alias["DestinationConfig"],
        )


def _digest(parameters: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for source in SOURCES:
        root = ROOT / source
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())] if parameters else []


def _sam(arguments: list[str], environment: Mapping[str, str], log: Path | None = None) -> None:
    """Runs sam, with its output shown or, unless it fails, only in `log`; ends the program with it if it fails."""
    if not SAM.exists():
        raise SystemExit(f"{SAM.relative_to(ROOT)} is not there: run `make setup` first")
    with log.open("wb") if log else nullcontext() as output:
        finished = subprocess.run(
            [SAM, *arguments],
            cwd=ROOT,
            env={**environment, "SAM_CLI_TELEMETRY": "0"},
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            check=False,
        )
    if finished.returncode:
        raise SystemExit(log.read_text(errors="replace") if log else finished.returncode)


def main() -> None:
    stack = Stack.from_environment()
    parameters = local_parameters() if stack.endpoint else {}
    started = time.monotonic()
    print("==> build: a package for each function (under a minute)", flush=True)
    if not build(parameters=parameters):
        print("==> build: nothing has changed since the last one", flush=True)
    built = time.monotonic()
    print(f"==> deploy: the stack {stack.name!r} to {stack.endpoint or 'AWS'}", flush=True)
    deploy(stack, parameters=parameters)
    deployed = time.monotonic()
    print(f"==> ready: {stack.url} (build {built - started:.0f} s, deployment {deployed - built:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
