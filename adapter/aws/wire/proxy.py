"""Connections through a proxy, where ``HTTPS_PROXY`` names one, as in a network without a way out of its own."""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

VARIABLES: Final = ("HTTPS_PROXY", "https_proxy")


class ProxyError(OSError):
    """The proxy does not connect."""


def find(host: str) -> SplitResult | None:
    """Return the URL of the proxy for an encrypted connection to a host; ``None`` if there is none.

    ``NO_PROXY`` names hosts, and ends of hosts' names, that are connected to directly.
    """
    if not any(os.environ.get(name) for name in VARIABLES):
        return None
    from urllib.request import getproxies, proxy_bypass  # takes a while to import, and few need it

    url = getproxies().get("https")
    if not url or proxy_bypass(host):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


async def connect(
    proxy: SplitResult, host: str, port: int, context: ssl.SSLContext, protocol: asyncio.Protocol
) -> None:
    """Connect a protocol to a host through a proxy, with TLS from end to end.

    Raises:
        OSError: If the proxy, or the host behind it, is not reached.
    """
    loop = asyncio.get_running_loop()
    raw, greeting = await loop.create_connection(_Greeting, proxy.hostname or "", proxy.port or 80)
    try:
        raw.write(_request(proxy, f"{host}:{port}"))
        status = await greeting.status
        if status.split(" ")[1:2] != ["200"]:
            raise ProxyError(f"the proxy {proxy.hostname} answers {status!r}")
        transport = await loop.start_tls(raw, protocol, context, server_hostname=host)
        if transport is None:
            raise ProxyError(f"the proxy {proxy.hostname} closed the connection")
    except BaseException:
        raw.abort()
        raise
    protocol.connection_made(transport)


class _Greeting(asyncio.Protocol):
    """Reads the proxy's answer.

    Attributes:
        status: Its first line.
    """

    def __init__(self) -> None:
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        if b"\r\n\r\n" in self._data and not self.status.done():
            self.status.set_result(self._data.split(b"\r\n", 1)[0].decode("latin-1"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(ProxyError("the proxy closed the connection before it answered"))


def _request(proxy: SplitResult, target: str) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
