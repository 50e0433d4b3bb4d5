"""Keeps other sites' pages from calling the development server.

A browser sends requests to 127.0.0.1 for any page that it shows. Such a page may also have its own name resolve to
127.0.0.1 (`DNS rebinding <https://en.wikipedia.org/wiki/DNS_rebinding>`_), and may then read the answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.http.messages import refuse
from adapter.http.services import is_admin


class Guard:
    """Refuses requests for foreign hosts and from foreign origins.

    Hosts are accepted if they are ``localhost``, an IP address or given here. Origins are accepted if they are the
    server's own, on this machine, or, except for the admin, given here.

    Args:
        app: What requests that are accepted go to.
        hosts: More names by which the server may be called.
        origins: More origins whose pages may call handlers, such as ``https://app.example``; ``*`` stands for all.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem: str | None = None
        if scope["type"] == "http":
            problem = self._problem(Headers(scope=scope), frozenset() if is_admin(scope["path"]) else self._origins)
        await (self._app if problem is None else refuse(403, problem))(scope, receive, send)

    def _problem(self, headers: Headers, origins: frozenset[str]) -> str | None:
        for host in headers.getlist("host"):
            name = _hostname(f"//{host}")
            if not (_is_local(name) or _is_address(name) or name in self._hosts):
                return (
                    "adapter dev answers requests for localhost and for IP addresses. To call it by another name, "
                    "start it with --allow-host NAME"
                )
        origin = headers.get("origin", "").lower()
        if origin and not origins.isdisjoint((origin, "*")):
            return None
        same = urlsplit(origin).netloc == headers.get("host", "").lower() if _is_url(origin) else False
        if origin and not (same or (_is_url(origin) and _is_loopback(_hostname(origin)))):
            return (
                "adapter dev answers no pages of other sites. To let a site's pages call handlers, start it with "
                "--cors ORIGIN, for example --cors https://app.example"
            )
        if headers.get("sec-fetch-site") == "cross-site" and not origin:
            return "adapter dev answers no links from other sites: type the address into the browser"
        return None


def _is_url(origin: str) -> bool:
    return origin.startswith(("http://", "https://"))


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_local(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_loopback(name: str) -> bool:
    return _is_local(name) or (_is_address(name) and ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
