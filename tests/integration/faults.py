"""A DynamoDB between the functions and the emulator's, at whose requests their processes can be killed.

A crash can only be told from others by what was stored before it. So the points at which a process is killed are those
between two of its requests: right before one has its effect, or right after.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from infra.emulator import Emulator

Phase = Literal["before", "after"]


@dataclass
class Blow:
    """A process to be killed at its function's n-th request from now on."""

    functions: tuple[str, ...]
    n: int
    phase: Phase
    count: int = 0
    struck: threading.Event = field(default_factory=threading.Event)
    killed: str = ""
    """The name of the killed process's function."""


class FaultyDynamoDB:
    """Hands every request on to the emulator, and kills processes when told to.

    Args:
        emulator: Where requests go, and whose processes they come from.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.blow: Blow | None = None
        self.requests: dict[str, int] = {}
        """How many there were so far, by the name of the function."""
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.process = _owner(self.client_address[1], emulator)
                self.upstream = http.client.HTTPConnection("127.0.0.1", emulator.port)

            def finish(self) -> None:
                self.upstream.close()
                super().finish()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                kill = proxy._count(self.process)
                if kill == "before":
                    self._die()
                    return
                self.upstream.request("POST", self.path, body, dict(self.headers))
                response = self.upstream.getresponse()
                answer = response.read()
                if kill == "after":
                    self._die()
                    return
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def _die(self) -> None:
                assert proxy.blow is not None
                emulator.kill_worker(self.process[0])
                proxy.blow.killed = self.process[1]
                proxy.blow.struck.set()
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def strike(self, n: int, phase: Phase, *functions: str) -> Blow:
        """Kill the process that makes the n-th request of these functions from now on, before or after its effect."""
        self.blow = Blow(functions, n, phase)
        return self.blow

    def _count(self, process: tuple[int, str]) -> Phase | None:
        pid, function = process
        with self._lock:
            self.requests[function] = self.requests.get(function, 0) + 1
            blow = self.blow
            if blow is None or blow.struck.is_set() or function not in blow.functions or not pid:
                return None
            blow.count += 1
            return blow.phase if blow.count == blow.n else None

    def __enter__(self) -> FaultyDynamoDB:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _owner(port: int, emulator: Emulator) -> tuple[int, str]:
    """The worker that owns the local end of a connection, and the name of its function."""
    inode = next(
        (
            fields[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if int((fields := line.split())[1].partition(":")[2], 16) == port
        ),
        None,
    )
    for pid in emulator.workers():
        process = Path("/proc") / str(pid)
        try:
            if any(descriptor.readlink().name == f"socket:[{inode}]" for descriptor in _links(process / "fd")):
                variables = dict(
                    entry.split("=", 1) for entry in (process / "environ").read_text().split("\0") if "=" in entry
                )
                return pid, variables.get("AWS_LAMBDA_FUNCTION_NAME", "")
        except OSError:
            continue
    return 0, ""


def _links(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if path.is_symlink())


@contextmanager
def rewritten(packages: Path, rewrite: Callable[[str], str]) -> Iterator[Path]:
    """The same packages with another template."""
    directory = packages.with_name("rewritten")
    directory.mkdir(exist_ok=True)
    for package in packages.iterdir():
        link = directory / package.name
        link.unlink(missing_ok=True)
        if package.is_dir():
            link.symlink_to(package)
    (directory / "template.yaml").write_text(rewrite((packages / "template.yaml").read_text()))
    yield directory


def with_dynamodb_at(url: str) -> Callable[[str], str]:
    """Rewrites a template so that its functions find DynamoDB at another address."""
    assert urlsplit(url).port

    def rewrite(template: str) -> str:
        variable = "        ADAPTER_STACK:"
        assert template.count(variable) == 1
        return template.replace(variable, f"        AWS_ENDPOINT_URL_DYNAMODB: {url}\n{variable}")

    return rewrite
