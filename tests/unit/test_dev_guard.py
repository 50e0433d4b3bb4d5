"""The development server answers no other sites' pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from adapter.local.guard import Guard


async def ask(headers: dict[str, str], method: str = "POST", **options: Any) -> httpx.Response:
    guard = Guard(PlainTextResponse("served", headers={"x-restate-id": "inv_1"}), **options)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://localhost:8080") as http:
        return await http.request(method, "/admin/invocations", headers=headers)


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
        ({"origin": "https://evil.example"}, "--allow-origin"),
        ({"origin": "https://localhost.evil.example"}, "--allow-origin"),
        ({"origin": "http://192.168.1.9"}, "--allow-origin"),
        ({"origin": "null"}, "--allow-origin"),
        ({"origin": "file://"}, "--allow-origin"),
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


async def test_pages_of_an_origin_that_is_allowed_may_call_and_read() -> None:
    app = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    answer = await ask(app, origins=["https://app.example/"])
    assert answer.text == "served"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-expose-headers"] == "x-restate-id"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    preflight = await ask({**app, **asked}, "OPTIONS", origins=["https://app.example"])
    assert preflight.status_code == 200
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    assert (await ask({"origin": "https://evil.example"}, origins=["https://app.example"])).status_code == 403
