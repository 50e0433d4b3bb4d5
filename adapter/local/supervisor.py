"""The supervisor, as the process that serves under it sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Loaded:
    """What a process tells its supervisor when it has imported its modules, and whenever that has changed.

    Attributes:
        files: The developer's source files among what is imported.
        broken: Whether the modules cannot be served; ``files`` then are those that may have to do with it.
        endpoints: Where endpoints are that were registered meanwhile, and that the next process has to serve.
    """

    files: frozenset[str]
    broken: bool = False
    endpoints: tuple[str, ...] = ()


class Supervisor:
    """The supervisor, as the process that serves sees it."""

    def __init__(self, pipe: Connection, *, first: bool) -> None:
        self._pipe = pipe
        self.first = first
        """Whether no process has served under it before."""
        self._loaded = Loaded(frozenset())

    def tell(self, loaded: Loaded) -> None:
        """Tell it what is imported."""
        self._loaded = replace(loaded, endpoints=self._loaded.endpoints)
        with suppress(OSError):  # it is gone, and `on_stop` acts on that
            self._pipe.send(self._loaded)

    def keep(self, url: str) -> None:
        """Tell it of an endpoint that was registered."""
        self._loaded = replace(self._loaded, endpoints=(*self._loaded.endpoints, url))
        self.tell(self._loaded)

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call something, in a thread, when the supervisor wants this process to end, or is gone."""

        def wait() -> None:
            with suppress(EOFError, OSError):
                self._pipe.recv()
            stop()

        threading.Thread(target=wait, name="supervisor", daemon=True).start()
