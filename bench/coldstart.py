"""A cold start under the CPU quota that Lambda gives to 512 MB: from the start of the process to its first answer.

The process imports the Lambda entry, connects to DynamoDB and Lambda over TLS (a server on loopback plays both), and
answers a request whose handler has a step. The quota is a control group's, for which this has to run as root; without
one, the time is computed from the CPU that was used.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

QUOTA = 0.29
"""The share of a core: 512 of the 1,769 MB that have a whole one."""

TARGET = 1.5
"""Seconds to the first answer."""

GROUP = Path("/sys/fs/cgroup/cpu/adapter-bench")
"""A control group of version 1."""

PROGRAM = """
import asyncio, json, os, resource, sys, time
began = float(os.environ["BEGAN"])
from adapter import Context, Service, handler, lambda_handler

class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return await ctx.run("greet", lambda: f"Hello {name}")

entry = lambda_handler(Greeter)
ready = time.time()

class Invocation:
    aws_request_id = "r"
    def get_remaining_time_in_millis(self):
        return 30_000

event = {
    "version": "2.0", "rawPath": "/Greeter/greet", "rawQueryString": "",
    "headers": {"content-type": "application/json"},
    "requestContext": {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1"},
                       "timeEpoch": time.time_ns() // 1_000_000},
    "body": '"Mary"', "isBase64Encoded": False,
}
answer = entry(event, Invocation())
answered = time.time()
assert answer["body"] == '"Hello Mary"', answer
used = resource.getrusage(resource.RUSAGE_SELF)
times = {"init": ready - began, "answered": answered - began, "cpu": used.ru_utime + used.ru_stime}
print(json.dumps({**times, "memory": used.ru_maxrss / 1024}))
"""

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "app_greeter",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "PYTHONWARNINGS": "ignore",
    "ADAPTER_STACK": json.dumps({
        "name": "app",
        "invocations": "invocations",
        "objects": "objects",
        "schedules": "app-timers",
        "schedule_role": "arn:aws:iam::1:role/schedules",
        "dead_letters": "arn:aws:sqs:us-east-1:1:dead",
        "delays": "https://sqs.us-east-1.amazonaws.com/1/delays",
        "longest_delay": 60,
    }),
}  # fmt: skip


def cold_start(repeat: int = 5) -> list[dict[str, Any]]:
    """The median of several cold starts."""
    limited = os.geteuid() == 0 and GROUP.parent.is_dir()
    with tempfile.TemporaryDirectory() as folder, _aws(Path(folder)) as environment:
        environment["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"  # as a package has it compiled
        _start(environment, limited=False)
        runs = [_start(environment, limited=limited) for _ in range(repeat)]
    row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    answered = row["answered"] if limited else row["cpu"] / QUOTA
    return [
        {
            "cores": QUOTA,
            "measured by": "a control group" if limited else "CPU used / cores",
            "target s": TARGET,
            "first answer s": round(answered, 2),
            "INIT s": round(row["init"] if limited else row["cpu"] / QUOTA * row["init"] / row["answered"], 2),
            "CPU ms": round(row["cpu"] * 1000),
            "memory MB": round(row["memory"]),
        }
    ]


def _start(environment: dict[str, str], *, limited: bool) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM]
    if limited:
        GROUP.mkdir(exist_ok=True)
        (GROUP / "cpu.cfs_period_us").write_text("20000")
        (GROUP / "cpu.cfs_quota_us").write_text(str(round(QUOTA * 20_000)))
        command = ["sh", "-c", f'echo $$ > {GROUP}/tasks; exec "$@"', "sh", *command]
    began = {"BEGAN": repr(time.time())}
    ran = subprocess.run(command, env={**environment, **began}, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return times


@contextmanager
def _aws(folder: Path) -> Iterator[dict[str, str]]:
    """DynamoDB and Lambda as far as a first request needs them, and the environment that leads there."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "roots.pem"))
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    try:
        url = f"https://localhost:{port}"
        yield {**kept, **ENVIRONMENT, "AWS_ENDPOINT_URL": url, "AWS_CA_BUNDLE": str(folder / "roots.pem")}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = b'{"Items": [], "ConsumedCapacity": {"CapacityUnits": 1.0}}'
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
