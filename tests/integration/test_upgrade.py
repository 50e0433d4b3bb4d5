"""A stack that was deployed with the first code of the present layout is updated in place, and loses nothing.

The tag ``layout-1`` marks that code. `LAYOUT` names its commit, for clones without tags. A change that cannot read what
that code has stored is a new layout: it needs a migration, a tag and an entry in docs/deploying.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.deploy import deploy, local_parameters
from infra.emulator import ROOT, Emulator
from infra.signing import admin_of
from infra.stack import Stack
from tests.integration.probes import pack
from tests.integration.waiting import accepted, answer, result, until

LAYOUT = "aee5eec57b75bf02e1f1d72c582d029af4f78ff6"

BUILD = """
import pathlib, sys
from infra.deploy import build, local_parameters
build(pathlib.Path(sys.argv[1]), local_parameters())
"""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory, progress: Any) -> Path:
    """The packages of the layout's first code."""
    folder = tmp_path_factory.mktemp("layout")
    archive = subprocess.run(["git", "archive", LAYOUT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the commit {LAYOUT} is not in this clone: {archive.stderr.decode()}")
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    (folder / ".tools").symlink_to(ROOT / ".tools")
    progress("building the functions with the layout's first code")
    subprocess.run([sys.executable, "-c", BUILD, str(folder / "build")], cwd=folder, check=True)
    return folder / "build"


def shown(admin: httpx.Client, id: str) -> dict[str, Any]:
    return dict(admin.get(f"/invocations/{id}").json())


def go(http: httpx.Client, id: str) -> None:
    assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202


def test_invocations_of_every_status_survive_an_update(
    former: Path, packages: Path, emulator: Emulator | None, progress: Any
) -> None:
    name, endpoint = "adapter-upgrade", emulator.url if emulator else os.environ["AWS_ENDPOINT_URL"]
    progress("deploying the layout's first code")
    before = Stack(name, endpoint)
    deploy(before, pack(former, 1), local_parameters())
    ids: dict[str, str] = {}
    with httpx.Client(base_url=before.url, timeout=60) as http, admin_of(before) as admin:
        ids["suspended"] = accepted(http, "/restate/send/Clerk/wait", "Mary")
        ids["paused"] = accepted(http, "/restate/send/Clerk/wait", "Joe")
        ids["scheduled"] = accepted(http, "/restate/send/Clerk/wait?delay=1h", "Ann")
        ids["backing-off"] = accepted(http, "/restate/send/Clerk/fail")
        holder = accepted(http, "/restate/send/Box/b/hold")
        until("the key is held", lambda: shown(admin, holder).get("status") == "suspended")
        ids["queued"] = accepted(http, "/restate/send/Box/b/count")
        until("it waits at the gate", lambda: shown(admin, ids["paused"]).get("status") == "suspended")
        assert admin.post(f"/invocations/{ids['paused']}/pause").is_success
        workflow = accepted(http, "/restate/send/Rite/w/run", "Ann")
        large = "x" * 600_000
        done = http.post("/restate/call/Copier/text", json=large, headers={"idempotency-key": "k"})
        assert done.json() == large
        assert answer(http, "/restate/call/Box/c/keep", 500_000) == 500_000
        for status, id in ids.items():
            until(f"one is {status}", lambda id=id, status=status: shown(admin, id).get("status") == status)  # type: ignore[misc]
        until("the workflow waits", lambda: answer(http, "/restate/call/Rite/w/status") == ["Ann", None])
    progress("updating to this code")
    after = Stack(name, endpoint)
    deploy(after, pack(packages, 1), local_parameters())
    assert after.tables == before.tables
    with httpx.Client(base_url=after.url, timeout=60) as http, admin_of(after) as admin:
        assert {status: shown(admin, id).get("status") for status, id in ids.items()} == {each: each for each in ids}
        go(http, ids["suspended"])
        assert result(http, f"/restate/attach/{ids['suspended']}").json() == "Mary"
        assert admin.post(f"/invocations/{ids['paused']}/resume").is_success
        go(http, ids["paused"])
        assert result(http, f"/restate/attach/{ids['paused']}").json() == "Joe"
        go(http, holder)
        assert result(http, f"/restate/attach/{ids['queued']}").json() == 1
        assert admin.post(f"/invocations/{ids['backing-off']}/kill").is_success
        assert admin.post(f"/invocations/{ids['scheduled']}/cancel").is_success
        assert answer(http, "/restate/call/Rite/w/say", "yes") is True
        assert result(http, f"/restate/attach/{workflow}").json() == "Ann: yes"
        again = http.post("/restate/call/Copier/text", json=large, headers={"idempotency-key": "k"})
        assert again.json() == large
        assert http.post("/restate/call/Box/c/kept").content == bytes(500_000)
        new = accepted(http, "/restate/send/Clerk/wait", "new")
        go(http, new)
        assert result(http, f"/restate/attach/{new}").json() == "new"
