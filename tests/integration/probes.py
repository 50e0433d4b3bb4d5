"""A stack of functions made to be tested, of which a second version is deployed while invocations wait."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from infra.deploy import deploy, local_parameters
from infra.signing import admin_of
from infra.stack import Stack
from tests.faults.template import Template, keep_functions, rewritten
from tests.integration import sdk
from tests.integration.waiting import accepted, until

APP = Path(__file__).parent / "probe" / "app.py"

FUNCTIONS = {"Greeter": "first", "SignUp": "second"}
"""The examples whose places in the template they take. The first one has all paths at ``/restate``."""


@dataclass(frozen=True)
class Probes:
    """The stack, and the invocations that were begun, or sent, before its second version was deployed."""

    stack: Stack
    deployments: tuple[str, str]
    """The two versions of the first function."""
    waiting: str
    changing: str
    gone: str
    moving: str
    delayed: str
    delayed_to_gone: str
    delayed_to_moving: str
    deadlocked: tuple[str, str]
    """One that has nothing to do with versions, but takes up to a minute to be found out; and its key."""
    delay: int
    """Seconds by which the delayed ones were delayed."""
    sdk: str = ""
    """One of the SDK's function, if there is one."""
    sdk_deployments: tuple[str, str] | None = None


def pack(packages: Path, version: int, *, with_sdk: bool = False) -> Path:
    """The Lambda packages of a version, with the TypeScript SDK's function or without.

    The second version has handlers of the Python SDK as well: in a function of their own, and beside definitions.
    """
    directory = packages.with_name(f"probes-{version}")

    def rewrite(template: Template) -> None:
        keep_functions(template, *FUNCTIONS)
        if with_sdk:
            sdk.add_sdk(template, directory, packages, version)
        if version == 2:
            sdk.add_python(template, directory, packages)

    with rewritten(packages, rewrite, directory.name):
        for example, function in FUNCTIONS.items():
            package, own = packages / f"{example}Function", directory / f"{example}Function"
            if own.is_symlink():
                own.unlink()
            shutil.rmtree(own, ignore_errors=True)
            shutil.copytree(package, own, copy_function=os.link)  # the libraries are the same
            shutil.rmtree(own / "__pycache__", ignore_errors=True)
            (own / "app.py").unlink()
            place = f'FUNCTION, VERSION = "{function}", {version}\n'
            (own / "app.py").write_text(APP.read_text().replace('FUNCTION, VERSION = "first", 1\n', place))
        if version == 2:
            sdk.add_beside(directory / "SignUpFunction")
    return directory


def deploy_probes(stack: Stack, packages: Path) -> Probes:
    """Deploy the first version, begin what is to meet the second, and deploy that."""
    started, with_sdk = time.monotonic(), sdk.available()
    deploy(stack, pack(packages, 1, with_sdk=with_sdk), local_parameters())
    with httpx.Client(base_url=stack.url, timeout=60) as http, admin_of(stack) as admin:

        def deployments() -> list[str]:
            services = ("Changing", "SdkClerk") if with_sdk else ("Changing",)
            return [str(admin.get(f"/services/{service}").json()["deployment"]) for service in services]

        key, first = uuid4().hex[:10], deployments()
        delay = 30 + round(3 * (time.monotonic() - started))  # by then the second version is there
        begun = {
            "waiting": accepted(http, "/restate/send/Changing/wait"),
            "changing": accepted(http, "/restate/send/Changing/buy"),
            "gone": accepted(http, "/restate/send/Changing/gone"),
            "moving": accepted(http, "/restate/send/Moving/place"),
        }
        if with_sdk:
            begun["sdk"] = accepted(http, "/restate/send/SdkClerk/wait")
        sent = {
            "delayed": accepted(http, f"/restate/send/Changing/version?delay={delay}s"),
            "delayed_to_gone": accepted(http, f"/restate/send/Changing/gone?delay={delay}s"),
            "delayed_to_moving": accepted(http, f"/restate/send/Moving/place?delay={delay}s"),
        }
        deadlocked = accepted(http, f"/restate/send/Left/{key}/lock", key), key
        for id in begun.values():
            until("it has begun", lambda id=id: admin.get(f"/invocations/{id}").json().get("status") == "suspended")  # type: ignore[misc]
        deploy(stack, pack(packages, 2, with_sdk=with_sdk), local_parameters())
        python, *others = zip(first, deployments(), strict=True)
        return Probes(
            stack, python, **begun, **sent, deadlocked=deadlocked, delay=delay, sdk_deployments=next(iter(others), None)
        )
