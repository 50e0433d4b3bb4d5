"""``adapter dev``: the development server, started anew when source changes.

This process holds the listening socket all the time, so a request that comes in between waits and does not fail.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from watchfiles import watch

from adapter.local.frames import short
from adapter.local.options import Options
from adapter.local.supervised import Server
from adapter.local.supervisor import Loaded

TICK: Final = 500
"""Milliseconds between checks of the server, while no file changes."""

Stamps = Mapping[str, int]
"""Source files, with the time of their last change in nanoseconds."""


def run(options: Options, host: str, port: int, *, reload: bool, console: bool = False) -> int:
    """Serve until interrupted, and return the exit code. With ``console``, open the console in the browser."""
    try:
        listener = _listen(host, port)
    except OSError as error:
        is_host = error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror)
        instead = "another --host" if is_host else "--port 0"
        print(f"adapter dev: cannot listen on {host}:{port}: {error.strerror}. Try {instead}", file=sys.stderr)
        return 1
    with listener:
        if console:  # the socket listens already: the browser waits for the server
            webbrowser.open(f"http://localhost:{listener.getsockname()[1]}/console")
        if not reload:
            from adapter.local.server import serve

            return serve(options, listener)
        try:
            return _supervise(options, listener)
        except KeyboardInterrupt:
            return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio looks for it: else it leaves Nagle's delay on, 40 ms in each answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this lets two processes listen on one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _supervise(options: Options, listener: socket.socket) -> int:
    """Keep a server running on the source as it is. If the first one cannot begin to serve, return its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    known = Loaded(frozenset())
    first = True
    while True:
        # Taken before the import: a file that is saved or added during it, or after it, then differs.
        before = _stamps(replace(known, broken=True))
        server = Server(options, listener, first=first)
        try:
            loaded = server.loaded()
            if loaded is None and first:
                return server.exit_code or 0
            if loaded is None or loaded.broken:
                loaded = Loaded(known.files | loaded.files if loaded else known.files, broken=True)
            known, changed = _until_change(server, loaded, before)
            kept = (server.news() or known).endpoints
            options = replace(options, endpoints=(*options.endpoints, *kept))
        finally:
            server.stop()
        first = False
        print(f"==> {short(changed)} changed", flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _until_change(server: Server, loaded: Loaded, before: Stamps) -> tuple[Loaded, str]:
    """Wait until a source file changes. Return what the server had imported by then, and the file."""
    ended = False
    while True:
        expected = _expected(before, loaded)
        news: Loaded | None = None
        for _ in watch(
            *_folders(loaded),
            watch_filter=None,
            recursive=False,
            rust_timeout=TICK,
            yield_on_timeout=True,
        ):
            now = _stamps(loaded)
            changed = [path for path in sorted({*expected, *now}) if expected.get(path) != now.get(path)]
            if changed:
                return loaded, changed[0]
            if server.exit_code is not None and not ended:
                ended = True
                print(f"==> the server ended ({server.exit_code}); waiting for a change of source", flush=True)
            if not (ended or loaded.broken) and (news := server.news()) is not None and news != loaded:
                break
        before = expected
        loaded = news or loaded


def _expected(before: Stamps, loaded: Loaded) -> Stamps:
    """Return the stamps of the files that matter, as they were before the server began to import."""
    now = _stamps(loaded)
    if not loaded.broken:
        return {path: before.get(path) or now[path] for path in loaded.files if path in before or path in now}
    scanned = {os.path.dirname(path) for path in before} | {os.getcwd()}
    return {**before, **{path: stamp for path, stamp in now.items() if os.path.dirname(path) not in scanned}}


def _folders(loaded: Loaded) -> set[str]:
    folders = {os.path.dirname(path) for path in loaded.files} | {os.getcwd()}
    return {folder for folder in folders if os.path.isdir(folder)}


def _stamps(loaded: Loaded) -> dict[str, int]:
    """Return when each file that matters was last changed.

    While the modules are broken, that is every Python file beside theirs: a file that is missing may have to be added.
    """
    paths = set(loaded.files)
    if loaded.broken:
        for folder in _folders(loaded):
            paths |= {entry.path for entry in os.scandir(folder) if entry.name.endswith(".py")}
    stamps: dict[str, int] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            stamps[path] = os.stat(path).st_mtime_ns
    return stamps
