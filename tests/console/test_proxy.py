"""The signing proxy serves one person's browser, and signs nothing for anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from botocore.exceptions import NoCredentialsError
from starlette.responses import PlainTextResponse

from adapter.console.pages import Pages
from adapter.console.proxy import Proxy

PORT = 9321
OWN = f"127.0.0.1:{PORT}"
TOKEN = "a-token"
COOKIE = f"adapter-console-{PORT}={TOKEN}"


class Stack(httpx.AsyncBaseTransport):
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer = httpx.Response(
            200, json={"invocations": []}, headers={"x-restate-id": "inv_1", "set-cookie": "a=b"}
        )
        self.error: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self.answer


class Signer(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["authorization"] = "signed"
        yield request


@pytest.fixture
def stack() -> Stack:
    return Stack()


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=stack, base_url="https://api.example/prod", auth=Signer()) as upstream:
        app = Proxy(upstream, PlainTextResponse("pages"), port=PORT, token=TOKEN)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{OWN}") as client:
            yield client


async def test_the_url_with_the_token_gives_the_browser_a_cookie(http: httpx.AsyncClient) -> None:
    entered = await http.get(f"/console?token={TOKEN}")
    assert (entered.status_code, entered.headers["location"]) == (303, "/console")
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith(COOKIE)
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert (await http.get("/console")).text == "pages"  # httpx keeps the cookie


@pytest.mark.parametrize(
    "path", ["/console", "/console/assets/index.js", "/console/config.json", "/admin/services", "/Counter/total"]
)
@pytest.mark.parametrize("cookie", ["", f"adapter-console-{PORT}=wrong", f"adapter-console-1={TOKEN}", "é"])
async def test_without_the_cookie_nothing_is_served(
    http: httpx.AsyncClient, stack: Stack, path: str, cookie: str
) -> None:
    answer = await http.get(path, headers={"cookie": cookie.encode()})
    assert answer.status_code == 401
    assert "adapter console" in answer.text
    assert not stack.requests


async def test_a_wrong_token(http: httpx.AsyncClient) -> None:
    answer = await http.get("/console?token=guess")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:80",
        f"0.0.0.0:{PORT}",
        f"[::1]:{PORT}",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/admin/services", f"/console?token={TOKEN}", "/console"])
async def test_other_hosts_are_refused(http: httpx.AsyncClient, stack: Stack, host: str, path: str) -> None:
    """A page whose name resolves to this machine (DNS rebinding) would read the answers."""
    answer = await http.get(path, headers={"host": host, "cookie": COOKIE})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert not stack.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": f"https://{OWN}"},
        {"origin": f"http://localhost:{PORT}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"origin": f"http://{OWN}", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_pages_of_other_sites_are_refused(
    http: httpx.AsyncClient, stack: Stack, headers: dict[str, str], method: str
) -> None:
    answer = await http.request(method, "/admin/invocations/inv_1/kill", headers=headers | {"cookie": COOKIE})
    assert answer.status_code == 403
    assert not stack.requests


@pytest.mark.parametrize("host", [OWN, f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
async def test_its_own_pages_are_served(http: httpx.AsyncClient, stack: Stack, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin", "cookie": COOKIE}
    assert (await http.post("/admin/invocations/inv_1/kill", headers=headers)).status_code == 200
    assert len(stack.requests) == 1


async def test_a_request_is_forwarded_signed_and_without_what_is_the_browsers(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    answer = await http.put(
        "/admin/services/Counter/state?key=a%2Fb&name=total",
        content=b"42",
        headers={
            "cookie": COOKIE,
            "origin": f"http://{OWN}",
            "if-match": '"7"',
            "content-type": "application/json",
            "x-tenant": "t1",
            "x-amz-security-token": "mine",
            "x-forwarded-for": "1.2.3.4",
            "referer": f"http://{OWN}/console?token={TOKEN}",
            "authorization": "Bearer browser",
        },
    )
    (request,) = stack.requests
    assert str(request.url) == "https://api.example/prod/admin/services/Counter/state?key=a%2Fb&name=total"
    assert (request.method, request.content) == ("PUT", b"42")
    seen = request.headers
    assert (seen["if-match"], seen["x-tenant"], seen["authorization"]) == ('"7"', "t1", "signed")
    assert seen["host"] == "api.example"
    assert not {"cookie", "origin", "referer", "x-amz-security-token", "x-forwarded-for"} & set(seen)
    assert answer.json() == {"invocations": []}
    assert answer.headers["x-restate-id"] == "inv_1"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["//evil.example/admin", "/@evil.example/", "/\\evil.example", "/..//evil.example"])
async def test_a_path_cannot_choose_the_host(http: httpx.AsyncClient, stack: Stack, path: str) -> None:
    await http.get(f"http://{OWN}{path}", headers={"cookie": COOKIE})
    (request,) = stack.requests
    assert request.url.host == "api.example"


async def test_an_answer_that_is_a_page_runs_no_script(http: httpx.AsyncClient, stack: Stack) -> None:
    page = {"content-type": "text/html", "content-security-policy": "script-src *"}
    stack.answer = httpx.Response(200, text="<script>steal()</script>", headers=page)
    answer = await http.get("/admin/invocations/inv_1/output", headers={"cookie": COOKIE})
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (httpx.ConnectError("refused"), 502, "api.example is not reachable"),
        (httpx.ReadTimeout("late"), 504, "did not answer in time"),
        (NoCredentialsError(), 502, "Log in to AWS"),
    ],
)
async def test_a_stack_that_cannot_be_asked(
    http: httpx.AsyncClient, stack: Stack, error: Exception, status: int, says: str
) -> None:
    stack.error = error
    answer = await http.get("/admin/services", headers={"cookie": COOKIE})
    assert answer.status_code == status
    assert says in answer.json()["message"]


async def test_the_token_is_in_nothing_that_the_pages_get(stack: Stack) -> None:
    async with httpx.AsyncClient(transport=stack, base_url="https://api.example") as upstream:
        app = Proxy(
            upstream, Pages(lambda _: "--stack shop", url="https://api.example", stack="shop"), port=PORT, token=TOKEN
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{OWN}") as client:
            config = await client.get("/console/config.json", headers={"cookie": COOKIE})
    assert config.json() == {"options": "--stack shop", "stack": "shop", "url": "https://api.example"}
