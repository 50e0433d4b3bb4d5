"""The development server answers no other sites' pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from adapter import Context, Service, handler
from adapter.cli import main
from adapter.local.guard import Guard
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry


async def ask(
    headers: dict[str, str], method: str = "POST", path: str = "/admin/invocations", **options: Any
) -> httpx.Response:
    guard = Guard(PlainTextResponse("served"), **options)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://localhost:8080") as http:
        return await http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:8080"},
        {"host": "[::1]:8080"},
        {"host": "192.168.1.7"},
        {"host": "LOCALHOST."},
        {"host": "app.localhost:8080"},
        {"origin": "http://localhost:8080"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "cross-site"},
        {"host": "192.168.1.7:8080", "origin": "http://192.168.1.7:8080"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
    ],
    ids=str,
)
async def test_own_and_local_pages_are_served(headers: dict[str, str]) -> None:
    assert (await ask(headers)).text == "served"


@pytest.mark.parametrize(
    ("headers", "option"),
    [
        ({"host": "evil.example"}, "--allow-host"),
        ({"host": "evil.example:8080", "origin": "http://evil.example:8080"}, "--allow-host"),
        ({"host": "localhost.evil.example"}, "--allow-host"),
        ({"host": "127.0.0.1.evil.example"}, "--allow-host"),
        ({"host": "[::1"}, "--allow-host"),
        ({"host": ""}, "--allow-host"),
        ({"origin": "https://evil.example"}, "--cors"),
        ({"origin": "https://localhost.evil.example"}, "--cors"),
        ({"origin": "http://192.168.1.9"}, "--cors"),
        ({"origin": "null"}, "--cors"),
        ({"origin": "file://"}, "--cors"),
        ({"sec-fetch-site": "cross-site"}, "type the address"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_foreign_hosts_and_origins_are_refused(headers: dict[str, str], option: str, method: str) -> None:
    answer = await ask(headers, method)
    assert (answer.status_code, answer.json()["code"]) == (403, 403)
    assert option in answer.json()["message"]


async def test_a_host_that_is_allowed_is_served() -> None:
    assert (await ask({"host": "Tunnel.example"}, hosts=["tunnel.example"])).text == "served"
    assert (await ask({"host": "a.tunnel.example"}, hosts=["tunnel.example"])).status_code == 403


async def test_pages_of_an_origin_that_is_allowed_may_call_handlers_and_not_the_admin() -> None:
    app = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    for origins in (["https://app.example"], ["*"]):
        assert (await ask(app, path="/Shop/order", origins=origins)).text == "served"
        assert (await ask(app, path="/admin/invocations", origins=origins)).status_code == 403
    evil = {"origin": "https://evil.example"}
    assert (await ask(evil, path="/Shop/order", origins=["https://app.example"])).status_code == 403
    assert (await ask({"sec-fetch-site": "cross-site"}, path="/Shop/order", origins=["*"])).status_code == 403


class Shop(Service):
    @handler
    async def order(self, ctx: Context) -> str:
        return "ordered"


async def test_such_pages_may_read_the_answers() -> None:
    app = {"origin": "https://app.example"}
    async with running(Registry(Shop), MemoryStore(), cors=["https://app.example"]) as served:
        transport = httpx.ASGITransport(Guard(served, origins=["https://app.example"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as http:
            answer = await http.post("/Shop/order", headers=app)
            asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
            preflight = await http.options("/Shop/order", headers={**app, **asked})
    assert answer.json() == "ordered"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-restate-id" in answer.headers["access-control-expose-headers"]
    assert preflight.status_code == 200
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://app.example/x", "ftp://a", "null"])
def test_an_origin_is_checked(origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["dev", "shop", "--cors", origin])
    assert "is not an origin" in capsys.readouterr().err
