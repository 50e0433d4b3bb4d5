"""A proxy on loopback that shows a deployed stack in the console.

The proxy signs the requests that it forwards with the credentials of the person who started it. It must therefore
serve only that person's browser. Other users of the machine, and pages of other sites that the browser shows, must not
reach the stack through it.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

import httpx
from botocore.exceptions import BotoCoreError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.console.pages import is_console
from adapter.errors import TerminalError
from adapter.http.messages import read_body, refuse, respond

FORWARDED: Final = frozenset({"accept", "content-type", "idempotency-key", "if-match", "if-none-match", "prefer"})
"""Request headers that are forwarded. Headers that begin with ``x-`` are forwarded too, except those of `PROXIES`."""

PROXIES: Final = ("x-amz-", "x-amzn-", "x-forwarded-", "x-real-ip")

RETURNED: Final = frozenset({"content-type", "etag", "allow", "location", "retry-after", "preference-applied"})
"""Response headers that are returned. Headers that begin with ``x-`` are returned too."""

SANDBOX: Final = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""A stack may answer with any content. A browser that shows an answer as a page runs no script in it."""


class Proxy:
    """An ASGI app: the console's pages, and a stack behind them.

    The proxy accepts a request if all of this is true:

    - Its ``Host`` is the proxy's own. This stops
      `DNS rebinding <https://en.wikipedia.org/wiki/DNS_rebinding>`_.
    - A page of the proxy sent it, or the person typed its address.
    - It has the cookie. The proxy gives the cookie to the browser that opens the URL with the token.

    Args:
        client: Sends signed requests to the stack. Its base URL is the stack's.
        pages: The console's pages.
        port: The port that the proxy listens on.
        token: The secret in the first URL.
    """

    def __init__(self, client: httpx.AsyncClient, pages: ASGIApp, *, port: int, token: str) -> None:
        self._client = client
        self._pages = pages
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._token = token
        self._cookie = f"adapter-console-{port}"  # cookies of 127.0.0.1 are shared by all its ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer: ASGIApp
        if (refusal := self._refusal(request)) is not None:
            answer = refusal
        elif "token" in request.query_params and request.scope["path"] == "/console":
            answer = self._enter(request)
        elif not self._is_known(request):
            answer = refuse(401, "open the URL that `adapter console` printed: it has a token")
        elif is_console(request.scope["path"]):
            answer = self._pages
        else:
            answer = await respond(request, self._forward)
        await answer(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "").lower()
        if host not in self._hosts:
            return refuse(403, f"the console answers requests for {' and '.join(sorted(self._hosts))} only")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") or (origin is not None and origin.lower() != f"http://{host}"):
            return refuse(403, "the console answers its own pages only: open its URL in a new tab")
        return None

    def _enter(self, request: Request) -> Response:
        if not self._matches(request.query_params["token"]):
            return PlainTextResponse("This token is not valid: `adapter console` prints the current URL.", 401)
        response = RedirectResponse("/console", 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return response

    def _is_known(self, request: Request) -> bool:
        return self._matches(request.cookies.get(self._cookie, ""))

    def _matches(self, token: str) -> bool:
        return compare_digest(token.encode(), self._token.encode())

    async def _forward(self, request: Request) -> Response:
        base = self._client.base_url
        path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        target = base.raw_path.rstrip(b"/") + path + (b"?" + query if query else b"")
        headers = {name: value for name, value in request.headers.items() if _is_forwarded(name)}
        body = await read_body(request)
        try:
            answer = await self._client.request(
                request.method, base.copy_with(raw_path=target), headers=headers, content=body
            )
        except httpx.TimeoutException:
            raise TerminalError("the stack did not answer in time: try again", code=504) from None
        except httpx.HTTPError as error:
            raise TerminalError(
                f"the stack at {base.host} is not reachable: {type(error).__name__}", code=502
            ) from None
        except BotoCoreError as error:
            raise TerminalError(
                f"the request cannot be signed: {error}. Log in to AWS, then try again", code=502
            ) from None
        returned = {name: value for name, value in answer.headers.items() if name in RETURNED or name.startswith("x-")}
        return Response(answer.content, answer.status_code, returned | SANDBOX)


def _is_forwarded(name: str) -> bool:
    return name in FORWARDED or (name.startswith("x-") and not name.startswith(PROXIES))
