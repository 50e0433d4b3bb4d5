"""Calls from the web pages of other origins, through the development server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from adapter.cli import main
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.ingress.conftest import Greeter

APP = "https://app.example"

PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,idempotency-key,authorization,x-own",
}


@asynccontextmanager
async def server(cors: Sequence[str]) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(Registry(Greeter), MemoryStore(), cors=cors) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        yield http


@pytest.mark.parametrize("origins", [[APP], ["*"], ["http://localhost:3000", APP]])
async def test_pages_of_an_allowed_origin_may_call(origins: list[str]) -> None:
    async with server(origins) as http:
        preflight = await http.options("/Greeter/greet", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] in (APP, "*")
        assert {"GET", "POST"} <= {*preflight.headers["access-control-allow-methods"].split(", ")}
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in PREFLIGHT["access-control-request-headers"].split(","))
        assert "access-control-allow-credentials" not in preflight.headers
        called = await http.post("/Greeter/greet", json="Mary", headers={"origin": APP})
        refused = await http.post("/Greeter/greet", json=7, headers={"origin": APP})
    assert (called.json(), refused.status_code) == ("Hello Mary", 400)
    for response in (called, refused):
        assert response.headers["access-control-allow-origin"] in (APP, "*")
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"x-restate-id", "x-restate-error-source", "preference-applied", "retry-after"} == set(exposed)


@pytest.mark.parametrize("origins", [[], ["https://other.example"]], ids=["none", "other"])
async def test_pages_of_other_origins_may_not(origins: list[str]) -> None:
    async with server(origins) as http:
        preflight = await http.options("/Greeter/greet", headers=PREFLIGHT)
        assert preflight.status_code in (400, 405)
        called = await http.post("/Greeter/greet", json="Mary", headers={"origin": APP})
    for response in (preflight, called):
        assert "access-control-allow-origin" not in response.headers


async def test_no_page_may_use_the_admin() -> None:
    async with server(["*"]) as http:
        preflight = await http.options("/admin/services", headers={**PREFLIGHT, "access-control-request-method": "GET"})
        listed = await http.get("/admin/services", headers={"origin": APP})
    assert preflight.status_code == 405
    for response in (preflight, listed):
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://app.example/a", "ftp://a", ""])
def test_what_is_no_origin_is_refused_at_the_start(origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dev", "shop", "--cors", origin])
    assert "is not an origin: give scheme, host and port only, or *" in capsys.readouterr().err
