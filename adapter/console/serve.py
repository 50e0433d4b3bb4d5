"""``adapter console``: the console for a deployed stack, on this machine."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from typing import Final
from urllib.parse import urlsplit

import httpx
import uvicorn

from adapter.console.pages import Pages
from adapter.console.proxy import Proxy

TIMEOUT: Final = httpx.Timeout(60, connect=10)
"""Seconds. API Gateway answers within 30."""


def serve(
    url: str,
    auth: httpx.Auth | None,
    *,
    options: str = "",
    stack: str | None = None,
    port: int = 0,
    browser: bool = True,
) -> int:
    """Serve the console until interrupted, and return the exit code.

    Args:
        url: The stack's base URL.
        auth: Signs the requests to the stack.
        options: The options by which a command reaches the stack, such as ``--stack shop``. The pages show commands.
        stack: The stack's name. The default is the URL's host.
        port: The port on loopback; 0 takes a free one.
        browser: Whether to open the console in the default browser.

    Raises:
        OSError: If the port is taken.
    """
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        client = httpx.AsyncClient(base_url=url, auth=auth, timeout=TIMEOUT)
        pages = Pages(lambda _: options, url=url.rstrip("/"), stack=stack or urlsplit(url).hostname)
        app = Proxy(client, pages, port=port, token=token)
        config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", server_header=False)
        address = f"http://127.0.0.1:{port}/console?token={token}"
        print(f"==> {stack or url} on {address}\n    Ctrl+C stops it.", flush=True)
        if browser:
            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listener])
    return 0
