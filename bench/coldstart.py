"""A cold start under the CPU quota that Lambda gives to 512 MB: from the start of the process to its first answer.

The process imports the Lambda entry, connects to DynamoDB and Lambda over TLS (a server on loopback plays both), and
answers a request whose handler has a step. The quota is a control group's, for which this has to run as root; without
one, the time is computed from the CPU that was used.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.loopback import aws

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


def cold_start(repeat: int = 5) -> list[dict[str, Any]]:
    """The median of several cold starts."""
    limited = os.geteuid() == 0 and GROUP.parent.is_dir()
    with tempfile.TemporaryDirectory() as folder, aws(Path(folder)) as environment:
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
