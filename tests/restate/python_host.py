"""Serves an app of Restate's Python SDK with Hypercorn: its module and name, and the port, are the arguments."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


def main(app: str, port: str) -> None:
    """Serve until the process is ended."""
    module, _, name = app.partition(":")
    served = getattr(importlib.import_module(module), name)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("listening on", listener.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    asyncio.run(serve(served, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
