"""``adapter dev``: the development server, started anew when source changes.

The listening socket stays open all the time, so a request that comes in between waits rather than fails.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

INTERVAL: Final = 0.3
"""Seconds between looks at the source."""

PRUNED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def run(modules: Sequence[str], host: str, port: int, *, reload: bool, cors: Sequence[str] = ()) -> int:
    """Serve until interrupted. Returns the exit code."""
    try:
        listener = _listen(host, port)
    except OSError as error:
        print(f"adapter dev: cannot listen on {host}:{port}: {error.strerror}. Try --port 0", file=sys.stderr)
        return 1
    with listener:
        if not reload:
            from adapter.local.server import serve

            return serve(list(modules), listener, cors)
        return _supervise(modules, listener, cors)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio looks for it: else it leaves Nagle's delay on, 40 ms in each answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _supervise(modules: Sequence[str], listener: socket.socket, cors: Sequence[str]) -> int:
    """Keep a server running on the source as it is. One that cannot even start the first time ends this."""
    from adapter.local.server import BROKEN

    signal.signal(signal.SIGTERM, _interrupt)
    source = _source()
    server = _start(modules, listener, cors)
    first = True
    try:
        while True:
            try:
                code = server.wait(INTERVAL)
            except subprocess.TimeoutExpired:
                pass
            else:
                if first and code == BROKEN:
                    return 1
                print("==> stopped; waiting for a change of source", flush=True)
                while _source() == source:
                    time.sleep(INTERVAL)
            if (now := _source()) != source:
                changed = sorted({*now.items()} ^ {*source.items()})[0][0]
                source, first = now, False
                _stop(server)
                print(f"==> {os.path.relpath(changed)} changed", flush=True)
                server = _start(modules, listener, cors)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(server)


def _start(modules: Sequence[str], listener: socket.socket, cors: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "adapter.local.server", str(listener.fileno()), " ".join(cors), *modules]
    return subprocess.Popen(command, pass_fds=[listener.fileno()])


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _source() -> dict[str, int]:
    """When each Python file below the working directory was last changed."""
    found: dict[str, int] = {}
    for directory, folders, files in os.walk(Path.cwd()):
        folders[:] = [
            name
            for name in folders
            if name not in PRUNED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        ]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                try:
                    found[path] = os.stat(path).st_mtime_ns
                except FileNotFoundError:
                    continue  # deleted while we looked
    return found
