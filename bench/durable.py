"""Side by side with AWS's durable functions: the same work on one emulator, in turn, with counted operations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx

from adapter import SyncClient
from bench.compare import LOCAL, PEER
from infra.deploy import build, deploy, local_parameters
from infra.emulator import ROOT, free_port
from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.faults.template import Template, copy_function, keep_functions, rewritten

NAME: Final = "durable"
"""The name of the table."""

BUILD: Final = ROOT / ".local" / "test" / "build"
"""The integration tests' packages, which are of the same sources."""

TOOLS: Final = PEER / "durable"
"""What deploys and drives both sides, and an emulator that counts. Not part of this repository."""

FUNCTIONS: Final = {"Bench": "bench", "BenchFar": "benchfar"}
"""What is deployed of ours, and the folder of its handlers. The first one is invoked."""

EXAMPLE: Final = "SignUp"
"""The example whose part of the template is copied."""

WAITS: Final = (2, 5)
"""Seconds that handlers sleep while a client waits."""

MEMORY: Final = 512
"""MB of each function, as the peer's."""

START_SECONDS: Final = 120

Row = dict[str, Any]


def durable_compare() -> list[Row]:
    """Return the table. AWS's SDK is downloaded, and our functions are built, which takes a while."""
    folder = LOCAL / NAME
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {name.upper(): value for name, value in LOCAL_CREDENTIALS.items()}
    figures = folder / "figures.json"
    with _emulator(folder / "emulator") as url:
        environment["AWS_ENDPOINT_URL"] = url

        def run(program: str, *arguments: object) -> None:
            command = [sys.executable, str(TOOLS / program), *map(str, arguments)]
            subprocess.run(command, env=environment, check=True)

        run("deploy.py", folder / "peer")
        function = f"{_deploy(url)}:live"
        run("compare_durable.py", "--endpoint", url, "--function", function, "--json", figures)
        measured = json.loads(figures.read_text())
        measured += _waits_of_our_client(measured, url, function)
    return table_of(measured)


def _deploy(url: str) -> str:
    """Deploy our functions in place of the examples. Return the name of the one that is invoked."""
    BUILD.parent.mkdir(parents=True, exist_ok=True)
    build(BUILD, local_parameters())
    stack = Stack("bench", url)
    with rewritten(BUILD, _ours, NAME) as packages:
        for function, handlers in FUNCTIONS.items():
            package = packages / f"{function}Function"
            shutil.rmtree(package, ignore_errors=True)
            # Python would run the example's compiled module, without a look at the source.
            shutil.copytree(BUILD / f"{EXAMPLE}Function", package, ignore=shutil.ignore_patterns("app.*.pyc"))
            shutil.copy(TOOLS / "ours" / handlers / "app.py", package)
        deploy(stack, packages, local_parameters())
    return stack.outputs[f"{next(iter(FUNCTIONS))}FunctionName"]


def _ours(template: Template) -> None:
    for function in FUNCTIONS:
        copy_function(template, EXAMPLE, function)["Properties"]["MemorySize"] = MEMORY
    keep_functions(template, *FUNCTIONS)


def _waits_of_our_client(measured: Sequence[Row], url: str, function: str) -> list[Row]:
    """Return rows for what sleeps while `SyncClient` waits, beside those of the durable functions that do."""
    sys.path.insert(0, str(TOOLS))
    sides = import_module("compare_durable").Sides(url, function, None)
    sys.path.remove(str(TOOLS))
    rows: list[Row] = []
    with (
        httpx.Client(transport=_Invocations(sides.http, function)) as http,
        SyncClient("http://bench", http=http) as client,
    ):

        def call(workload: Any) -> None:
            name, seconds = workload.ours
            client.result(client.generic_call(service="Bench", method=name, parameter=seconds))

        for seconds in WAITS:
            theirs = next(r for r in measured if r["workload"] == f"wait of {seconds} s" and r["side"] == "durable")
            work = f"wait of {seconds} s, our client"
            workload = SimpleNamespace(ours=("wait", seconds), durable=("wait", seconds), sent=False)
            began = time.perf_counter()
            call(workload)
            taken = (time.perf_counter() - began) * 1000
            ours = {"p50 ms": taken, **sides.counted(call, workload)}
            rounded = {name: round(value, 1) for name, value in ours.items()}
            rows += {**theirs, "workload": work}, {"workload": work, "side": "ours", **rounded}
    return rows


class _Invocations(httpx.BaseTransport):
    """Carries requests to a function as an HTTP API does: each is an invocation."""

    def __init__(self, aws: httpx.Client, function: str) -> None:
        self._aws = aws
        name, _, self._qualifier = function.partition(":")
        self._path = f"/2015-03-31/functions/{name}/invocations"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        event = {
            "version": "2.0",
            "routeKey": "ANY /Bench/{proxy+}",
            "rawPath": path,
            "rawQueryString": request.url.query.decode(),
            "headers": dict(request.headers),
            "requestContext": {
                "timeEpoch": time.time_ns() // 1_000_000,
                "http": {"method": request.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            },
            "body": request.read().decode(),
            "isBase64Encoded": False,
        }
        answer = self._aws.post(self._path, params={"Qualifier": self._qualifier}, json=event).raise_for_status().json()
        return httpx.Response(answer["statusCode"], headers=answer["headers"], text=answer["body"])


def table_of(measured: Sequence[Row]) -> list[Row]:
    """Return the table's rows, from two of the measured ones for each: a durable function's, and ours."""
    sides = {(each["workload"], each["side"]): each for each in measured}
    rows: list[Row] = []
    for work in dict.fromkeys(each["workload"] for each in measured):
        theirs, ours = sides[work, "durable"], sides[work, "ours"]
        row: Row = {
            "work": work,
            "operations": theirs["operations"],
            "requests to DynamoDB": ours["dynamodb"],
        }
        for column, name in (("p50 ms", "ms"), ("$ state", "$ state"), ("$", "$")):
            row |= {f"{name}, durable function": theirs[column], f"{name}, ours": ours[column]}
        rows.append(row)
    return rows


@contextmanager
def _emulator(folder: Path) -> Iterator[str]:
    """The URL of an emulator that meters what is asked of it, for as long as the context lasts.

    Raises:
        SystemExit: If it does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    python = ROOT / ".tools" / "emulator" / "bin" / "python"
    command = [python, TOOLS / "emulator.py", "--port", str(port), "--dir", folder]
    log = folder / "emulator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"{url}/_meter"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the emulator of {TOOLS} did not come up: see {log}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
