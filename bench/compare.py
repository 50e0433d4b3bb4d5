"""Side by side with Restate: the same client drives both on this machine, in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from infra.emulator import ROOT, free_port
from infra.stack import LOCAL_CREDENTIALS

PEER = ROOT.parent / "shared" / "bench"
"""The client, and the peer's services. Not part of this repository."""

LOCAL = ROOT / ".local" / "bench"

PEER_URL = "http://127.0.0.1:8080"


def compare(endpoint: str, only: str = "") -> list[dict[str, Any]]:
    """Milliseconds of the workloads on both, with ours on the DynamoDB at `endpoint`."""
    with (
        serving(endpoint) as (ours, _),
        restate_server() as here,
        tempfile.NamedTemporaryFile(suffix=".json") as figures,
    ):
        command = [sys.executable, str(PEER / "compare.py"), "--ours", ours, "--json", figures.name]
        if here:
            command += ["--peer", PEER_URL]
        if only:
            command += ["--only", only]
        subprocess.run(command, check=True)
        rows: list[dict[str, Any]] = json.load(figures)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


@contextmanager
def serving(endpoint: str | None, *what: str) -> Iterator[tuple[str, int]]:
    """`adapter dev` on the DynamoDB at `endpoint`, or in memory; its URL and process id.

    `what` are modules and options; the workloads' services by default.
    """
    LOCAL.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {name.upper(): value for name, value in LOCAL_CREDENTIALS.items()}
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    else:
        environment.pop("AWS_ENDPOINT_URL", None)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "adapter",
        "dev",
        *(what or ("bench.services",)),
        "--port",
        str(port),
        "--no-reload",
    ]
    with (LOCAL / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _until_it_answers(url, process)
        yield url, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"`adapter dev` did not come up:\n{(LOCAL / 'dev.log').read_text()[-2000:]}")


@contextmanager
def restate_server() -> Iterator[bool]:
    """Restate at `PEER_URL` with the same services; False if it cannot be had here."""
    directory = LOCAL / "restate"
    print("==> starting Restate (it is downloaded the first time)", flush=True)
    try:
        started = subprocess.run(
            [PEER / "restate" / "start.sh", directory], stdout=subprocess.DEVNULL, timeout=600, check=False
        )
        if started.returncode:
            print("==> Restate did not start: ours alone", flush=True)
        yield not started.returncode
    finally:
        subprocess.run([PEER / "restate" / "stop.sh", directory], check=False)
