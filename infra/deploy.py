"""Builds and deploys `template.yaml`: to AWS, or to the local one that AWS_ENDPOINT_URL names.

    python -m infra.deploy
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.emulator import ROOT
from infra.stack import LOCAL_CREDENTIALS, Stack

SAM = ROOT / ".tools" / "sam" / "bin" / "sam"
BUILD = ROOT / ".aws-sam" / "build"


def build(directory: Path = BUILD, parameters: dict[str, str] | None = None) -> None:
    """Makes a Lambda package of each function, in `directory`."""
    _sam(["build", "--build-dir", str(directory), *_overrides(parameters or {})], os.environ)


def deploy(stack: Stack, directory: Path = BUILD, parameters: dict[str, str] | None = None) -> None:
    """Creates or updates the stack with what `build` made."""
    environment = {**os.environ, "AWS_DEFAULT_REGION": stack.region}
    if stack.endpoint:
        environment |= {
            **{name.upper(): value for name, value in LOCAL_CREDENTIALS.items()},
            "AWS_ENDPOINT_URL": stack.endpoint,
            "SAM_CLI_POLL_DELAY": "0.5",  # seconds between looks at the stack: meant for AWS, it is 5
        }
    template = directory / "template.yaml"
    # sam looks for its settings beside the template, which is not where they are.
    command = ["deploy", "--template-file", str(template), "--config-file", str(ROOT / "samconfig.toml")]
    _sam([*command, "--stack-name", stack.name, *_overrides(parameters or {})], environment)
    if stack.endpoint:
        apply_what_emulators_ignore(stack)


def local_parameters() -> dict[str, str]:
    """Template parameters of a local deployment: an emulator runs the functions on this machine."""
    return {"Architecture": "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"}


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
        functions.put_function_recursion_config(FunctionName=function, RecursiveLoop="Allow")
        # The emulator knows the alias's and the versions', but obeys only that of the function as a whole.
        alias = functions.get_function_event_invoke_config(FunctionName=function, Qualifier="live")
        functions.put_function_event_invoke_config(
            FunctionName=function,
            MaximumRetryAttempts=alias["MaximumRetryAttempts"],
            MaximumEventAgeInSeconds=alias["MaximumEventAgeInSeconds"],
            DestinationConfig=alias["DestinationConfig"],
        )


def _overrides(parameters: dict[str, str]) -> list[str]:
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())] if parameters else []


def _sam(arguments: list[str], environment: Any) -> None:
    if not SAM.exists():
        raise SystemExit(f"{SAM.relative_to(ROOT)} is not there: run `make setup` first")
    # Requirement files name the project as `.`, which is where sam runs.
    finished = subprocess.run([SAM, *arguments], cwd=ROOT, env={**environment, "SAM_CLI_TELEMETRY": "0"}, check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def main() -> None:
    stack = Stack.from_environment()
    parameters = local_parameters() if stack.endpoint else {}
    print(f"==> build and deploy the stack {stack.name!r} to {stack.endpoint or 'AWS'}", flush=True)
    started = time.monotonic()
    build(parameters=parameters)
    built = time.monotonic()
    deploy(stack, parameters=parameters)
    deployed = time.monotonic()
    print(f"==> {stack.url} (build {built - started:.0f} s, deployment {deployed - built:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
