"""A TypeScript service behind a Restate server and behind `adapter dev --endpoint`, side by side.

The same client drives all systems on this machine, in turn: a Restate server, and ours in memory and on DynamoDB; with
streams in both directions where the system uses them, and with endpoints that get a whole request before they answer;
and beside them the same handlers in Python, which need no endpoint. Each system has endpoints of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from bench.compare import LOCAL, PEER, PEER_URL, free_port, restate_server, serving
from bench.sdks import WORK, Work
from infra.emulator import ROOT
from infra.node import MODULES, NODE, install_sdk

NAME: Final = "sdk-compare"
"""The table's."""

PEER_ADMIN: Final = "http://127.0.0.1:9070"

MODES: Final = {"streams": "", "whole requests": "answers"}
"""How an endpoint is asked, and the argument that its program gets."""

REQUESTS: Final = {"100 steps in sequence": 5}
"""How often a piece of work is done, where that is not `USUALLY`."""

USUALLY: Final = 20

WARM_UP: Final = 3


@dataclass
class Server:
    """A system's server. The CPU between two requests to it is the first one's."""

    url: str
    pid: int
    cpu: dict[str, float] = field(default_factory=dict[str, float])
    turn: tuple[str, float] | None = None

    def begin(self, name: str | None) -> None:
        """Note the CPU that has been used since the last turn, and begin another, or none."""
        used = cpu_ms(self.pid)
        if self.turn is not None:
            last, began = self.turn
            self.cpu[last] = self.cpu.get(last, 0.0) + used - began
        self.turn = (name, used) if name is not None else None


@dataclass
class System:
    """What runs the handlers.

    Attributes:
        name: Its name in the table.
        server: Its server; ``None`` if it cannot be had here.
        suffix: What the names of its services end with; ``None`` for the handlers in Python.
        endpoint: The process of the handlers, if it is another than the server.
    """

    name: str
    server: Server | None
    suffix: str | None = None
    endpoint: int | None = None

    def path(self, work: Work) -> str | None:
        """Return the path of a handler, with a fresh key; ``None`` if there is no such handler."""
        if self.suffix is None:
            return work.native and work.native.format(uuid4().hex)
        service, rest = work.sdk.split("/", 1)
        return f"{service}{self.suffix}/{rest}".format(uuid4().hex)

    async def ask(self, client: httpx.AsyncClient, work: Work) -> float:
        """Do a piece of work once, and return the milliseconds."""
        assert self.server is not None
        self.server.begin(self.name)
        began = time.perf_counter()
        response = await client.post(f"{self.server.url}/{self.path(work)}", json=work.input)
        response.raise_for_status()
        return (time.perf_counter() - began) * 1000


def sdk_compare(dynamodb: str, only: str = "") -> list[dict[str, Any]]:
    """Return the rows: each piece of work on each system, with ours on the DynamoDB at `dynamodb` and in memory."""
    works = [work for work in WORK if only in f"{NAME}: {work.name}"]
    if not works:
        return []
    try:
        install_sdk()
    except RuntimeError as error:
        print(f"==> no comparison of endpoints: {error}")
        return []
    with ExitStack() as stack:
        systems = [*_restate(stack), *_ours(stack, "in memory", None), *_ours(stack, "on DynamoDB", dynamodb)]
        # By their modes, so that a server has rested when its next turn comes.
        order = [*(mode.capitalize() for mode in MODES.values()), None]
        systems.sort(key=lambda system: order.index(system.suffix))
        return asyncio.run(_rows(works, systems))


async def _rows(works: Sequence[Work], systems: Sequence[System]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=120) as client:
        for work in works:
            rows += await _measured(work, [system for system in systems if system.path(work)], client)
    return rows


async def _measured(work: Work, systems: Sequence[System], client: httpx.AsyncClient) -> list[dict[str, Any]]:
    here = [system for system in systems if system.server is not None]
    for _ in range(WARM_UP):
        for system in here:
            await system.ask(client, work)
    for server in (system.server for system in here if system.server is not None):
        server.begin(None)
        server.cpu.clear()
    began = {system.name: cpu_ms(system.endpoint) for system in here if system.endpoint is not None}
    times: dict[str, list[float]] = {system.name: [] for system in here}
    for _ in range(REQUESTS.get(work.name, USUALLY)):
        for system in here:
            times[system.name].append(await system.ask(client, work))
    for server in (system.server for system in here if system.server is not None):
        server.begin(None)
    peer = _quantile(times.get(systems[0].name, []), 0.5)
    return [_row(work, system, times, peer, began) for system in systems]


def _row(
    work: Work, system: System, times: Mapping[str, list[float]], peer: float | None, began: Mapping[str, float]
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("work", "system", "p50 ms", "p99 ms", "to Restate", "endpoint's CPU ms", "server's CPU ms"), ""
    )
    row |= {"work": work.name, "system": system.name}
    taken = times.get(system.name)
    if not taken or system.server is None:
        return row | {"p50 ms": "not here"}
    median = _quantile(taken, 0.5)
    row |= {"p50 ms": median, "p99 ms": _quantile(taken, 0.99)}
    if peer and median:
        row["to Restate"] = round(median / peer, 2)
    if system.endpoint is not None:
        row["endpoint's CPU ms"] = round((cpu_ms(system.endpoint) - began[system.name]) / len(taken), 1)
    row["server's CPU ms"] = round(system.server.cpu[system.name] / len(taken), 1)
    print(row, flush=True)
    return row


def _quantile(times: Sequence[float], q: float) -> float | None:
    return round(sorted(times)[min(len(times) - 1, int(len(times) * q))], 1) if times else None


def _restate(stack: ExitStack) -> Iterator[System]:
    here = PEER.exists() and stack.enter_context(restate_server())
    server = Server(PEER_URL, int((LOCAL / "restate" / "server.pid").read_text())) if here else None
    for name, mode in MODES.items():
        endpoint = None
        if server is not None:
            url, endpoint = stack.enter_context(_endpoint(mode))
            httpx.post(f"{PEER_ADMIN}/deployments", json={"uri": url}, timeout=60).raise_for_status()
        yield System(f"Restate, {name}", server, mode.capitalize(), endpoint)


def _ours(stack: ExitStack, store: str, dynamodb: str | None) -> Iterator[System]:
    endpoints = [(name, mode, *stack.enter_context(_endpoint(mode))) for name, mode in MODES.items()]
    options = [part for _, _, url, _ in endpoints for part in ("--endpoint", url)]
    server = Server(*stack.enter_context(serving(dynamodb, "bench.services", "bench.cases", *options)))
    for name, mode, _, endpoint in endpoints:
        yield System(f"ours {store}, {name}", server, mode.capitalize(), endpoint)
    yield System(f"ours {store}, Python", server)


@contextmanager
def _endpoint(mode: str) -> Iterator[tuple[str, int]]:
    """Run the TypeScript services; their URL and process id."""
    program = MODULES / "bench.ts"  # from where it finds the SDK
    shutil.copyfile(ROOT / "bench" / "services.ts", program)
    port = free_port()
    process = subprocess.Popen([NODE, "--no-warnings", program.name, str(port), mode], cwd=MODULES)
    try:
        _until_it_listens(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()


def _until_it_listens(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(http1=False, http2=True) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get(f"{url}/health")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
    raise SystemExit("the TypeScript services did not come up")


def cpu_ms(pid: int) -> float:
    """Return the milliseconds of CPU that a process and those that it started have used."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    clock = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
    return time.clock_gettime(clock) * 1000 + sum(cpu_ms(int(child)) for child in children)
