"""The deployed stack that the integration tests talk to.

They start an emulator of their own on a free port, build, deploy and end it, unless the environment says otherwise:

- AWS_ENDPOINT_URL: deploy to this local AWS instead, as a stack of their own.
- ADAPTER_TEST_STACK: use this stack as it is deployed there: the inner loop beside a `make run`, with
  `AWS_ENDPOINT_URL=http://127.0.0.1:4566 ADAPTER_TEST_STACK=adapter make integration`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from adapter.aws.deployed import find_stack
from adapter.testing.deployed import swept
from infra import emulator as emulators
from infra.deploy import build, deploy, local_parameters
from infra.emulator import ROOT, Emulator
from infra.endpoint import wait_until_ready
from infra.signing import admin_of
from infra.stack import Stack
from tests.faults.template import Template, rewritten
from tests.integration import sdk
from tests.integration.probes import Probes, deploy_probes

BUILD = ROOT / ".local" / "test" / "build"
"""Not `make run`'s, which may be building at the same time."""

PATIENCE = 1200
"""Seconds that a test may take. The first one that needs a stack builds and deploys it."""

Progress = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session")
def progress(request: pytest.FixtureRequest) -> Progress:
    """Says on the terminal what the slow fixtures are at."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    started = time.monotonic()

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[{time.monotonic() - started:3.0f} s] {text}", flush=True)

    return say


@pytest.fixture(scope="session")
def emulator(progress: Progress) -> Iterator[Emulator | None]:
    """The emulator whose processes these tests may touch; None where it is somebody else's."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    if url:
        progress(f"{wait_until_ready(url)} at {url}")
        running = emulators.find()
        yield running if running and running.url == url else None
        return
    with emulators.running(ROOT / ".local" / "test" / "emulator") as own:
        progress(f"emulator on {own.url}, log {own.log}")
        yield own


@pytest.fixture(scope="session")
def packages(progress: Progress) -> Path:
    """The Lambda packages, built once for all the stacks of a run."""
    BUILD.parent.mkdir(parents=True, exist_ok=True)
    progress("building the functions")
    build(BUILD, local_parameters())
    return BUILD


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, emulator: Emulator | None, progress: Progress) -> Stack:
    """The deployed stack: its `url`, `tables`, `functions`, `outputs`, and `client("dynamodb")` and the like."""
    endpoint = emulator.url if emulator else os.environ["AWS_ENDPOINT_URL"]
    deployed = os.environ.get("ADAPTER_TEST_STACK")
    if deployed:
        return Stack(deployed, endpoint)
    stack = Stack("adapter-test", endpoint)
    packages = request.getfixturevalue("packages")
    progress("deploying")
    deploy(stack, packages, local_parameters())
    progress(f"deployed: {stack.url}")
    if emulator is None:  # not every emulator fires schedules
        request.getfixturevalue("sweeps")
    return stack


@pytest.fixture(scope="session")
def sweeps() -> Iterator[None]:
    """Has the stack swept as its schedule would, where the emulator may not fire schedules."""
    with swept(find_stack("adapter-test")):
        yield


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    """Requests to the API: `http.post("/Greeter/greet", json="Mary")`."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def kill_worker(emulator: Emulator | None) -> Callable[[int], None]:
    """Kills the Lambda process with this id as a crash would; handlers say theirs with `os.getpid()`."""
    if emulator is None:
        pytest.skip("the Lambda processes are not ours to kill")
    return emulator.kill_worker


@pytest.fixture(scope="session")
def enforced_stack(packages: Path, progress: Progress) -> Iterator[Stack]:
    """The same stack on an emulator of its own that lets IAM decide, with an SDK's function if there can be one."""
    with emulators.running(ROOT / ".local" / "test" / "enforced", enforce_roles=True) as own:
        stack = Stack("adapter-enforced", own.url)
        progress(f"deploying with roles enforced, log {own.log}")
        with _with_the_emulators_names(packages) as rewritten:
            deploy(stack, rewritten, local_parameters())
        _allow_schedules_in_the_default_group(stack)
        yield stack


@contextmanager
def _with_the_emulators_names(packages: Path) -> Iterator[Path]:
    """The emulator asks IAM about `UpdateFunctionCode` when the recursion of a function is set, and about `ListAliases`
    when an alias is updated."""

    def rewrite(template: Template) -> None:
        if sdk.available():
            sdk.add_sdk(template, packages.with_name("enforced"), packages, 1)

    with rewritten(packages, rewrite, "enforced") as directory:
        shared = directory / "Adapter"
        if shared.is_symlink():  # else it is what an interrupted run has left
            shared.unlink()
        shared.mkdir(exist_ok=True)
        template = yaml.safe_load((packages / "Adapter" / "template.yaml").read_text())
        statements = template["Resources"]["RegistrarPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        statements[0]["Action"] += ["lambda:UpdateFunctionCode", "lambda:ListAliases"]
        (shared / "template.yaml").write_text(json.dumps(template))
        yield directory
        shutil.rmtree(shared)


def _allow_schedules_in_the_default_group(stack: Stack) -> None:
    """The emulator asks IAM about the group `default`, whichever group a schedule is in."""
    name = stack.outputs["GreeterFunctionName"]
    iam, function = stack.client("iam"), stack.client("lambda").get_function(FunctionName=name)
    role = function["Configuration"]["Role"].rpartition("/")[2]
    statement = {
        "Effect": "Allow",
        "Action": ["scheduler:CreateSchedule", "scheduler:DeleteSchedule"],
        "Resource": "arn:aws:scheduler:*:*:schedule/default/*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="default-schedule-group", PolicyDocument=document)


@pytest.fixture(scope="session")
def probes(request: pytest.FixtureRequest, emulator: Emulator | None, progress: Progress) -> Probes:
    """A stack of functions made for tests, in its second version."""
    packages = request.getfixturevalue("packages")
    progress("deploying two versions of the probes")
    return deploy_probes(
        Stack("adapter-probes", emulator.url if emulator else os.environ["AWS_ENDPOINT_URL"]), packages
    )


@pytest.fixture
def admin(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the admin of the stack that a module tests."""
    with admin_of(stack) as client:
        yield client


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid4().hex[:10]
