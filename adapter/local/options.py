"""What ``adapter dev`` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of the development server.

    Attributes:
        modules: What to serve, each as ``package.module`` or ``package.module:name``.
        hosts: More names by which the server may be called.
        cors: The origins whose pages may call handlers; ``*`` stands for all.
        replays: Whether log lines that a replay writes again are shown.
        endpoints: The URLs of endpoints of Restate's SDKs to serve as well.
        identity: The file with the private key that signs requests to those endpoints.
        persist: The file that holds the state; ``None`` for memory.
    """

    modules: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    replays: bool = False
    endpoints: tuple[str, ...] = ()
    identity: Path | None = None
    persist: Path | None = None


class UnservableError(Exception):
    """What was asked for cannot be served; the message says why.

    Attributes:
        files: The developer's source files that the reason may lie in.
    """

    files: frozenset[str] = frozenset()
