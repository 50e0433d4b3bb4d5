"""The process that serves, as the supervisor sees it, which starts another one when source changes.

Importing this is cheap: the supervisor serves nothing itself.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from adapter.local.options import Options
from adapter.local.supervisor import Loaded, Supervisor


class Server:
    """A process that serves, as its supervisor sees it."""

    def __init__(self, options: Options, listener: socket.socket, *, first: bool) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        terminal = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None  # pyright: ignore[reportUnnecessaryComparison]
        # The listener is passed by multiprocessing, which can do so on Windows as well.
        self._process = context.Process(target=_serve, args=(options, listener, theirs, first, terminal), name="server")
        self._process.start()
        theirs.close()

    def loaded(self) -> Loaded | None:
        """Wait until it has imported its modules; ``None`` if it ended before."""
        try:
            return self._pipe.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self._process.join()
            return None

    def news(self) -> Loaded | None:
        """Return what it has told last since it was asked, if anything."""
        last: Loaded | None = None
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                last = self._pipe.recv()
        return last

    @property
    def exit_code(self) -> int | None:
        """Its exit code; ``None`` while it runs."""
        return self._process.exitcode

    def stop(self) -> None:
        """Have it end, and wait until it has. It has ten seconds to do so by itself."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(options: Options, listener: socket.socket, pipe: Connection, first: bool, terminal: int | None) -> None:
    if terminal is not None:
        sys.stdin = os.fdopen(terminal)  # for breakpoint(); multiprocessing has replaced it
    try:
        from adapter.local.server import serve

        code = serve(options, listener, Supervisor(pipe, first=first))
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
