"""Serves an app of Restate's Python SDK: its module and name, the port and the server are the arguments."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import uvicorn


def main(app: str, port: str, server: str) -> None:
    """Serve until the process is ended: by Hypercorn over HTTP/2, or by Uvicorn over HTTP/1.1."""
    module, _, name = app.partition(":")
    served = getattr(importlib.import_module(module), name)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("listening on", listener.getsockname()[1], flush=True)
    asyncio.run(by_uvicorn(served, listener) if server == "uvicorn" else by_hypercorn(served, listener))


async def by_hypercorn(app: Any, listener: socket.socket) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    await hypercorn.asyncio.serve(app, config)


async def by_uvicorn(app: Any, listener: socket.socket) -> None:
    config = uvicorn.Config(app, lifespan="off", log_level="error")
    await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
