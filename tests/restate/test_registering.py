"""Endpoints that are registered by Restate's admin API while `adapter dev` runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter import Context, Service, handler
from adapter.hosting import hosting
from adapter.local.endpoints import Endpoints
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from infra.emulator import free_port
from tests.restate.fakes import MANIFEST
from tests.restate.hosting import Hosted
from tests.restate.http2_server import serving
from tests.restate.serving import Served, served_python
from tests.unit.dev import Dev


class Shop(Service):
    @handler
    async def sell(self, ctx: Context, item: str) -> str:
        return str(await ctx.generic_call(service="Stock", method="reserve", parameter=item))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with served_python("tests.drills.orders:app") as served:
        yield served


@pytest.fixture
async def host() -> AsyncIterator[Hosted]:
    own = hosting(Shop)
    endpoints = Endpoints((), own, print)
    async with running(own, MemoryStore(), endpoints=lambda: endpoints) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http:
            yield Hosted(http)
    await endpoints.close()


async def register(host: Hosted, **body: Any) -> httpx.Response:
    return await host.http.post("/admin/restate/v4/deployments", json=body)


async def names(host: Hosted) -> list[str]:
    return [each["name"] for each in (await host.http.get("/admin/services")).json()["services"]]


async def test_endpoints_are_asked_at_once() -> None:
    [service] = MANIFEST["services"]
    other = MANIFEST | {"services": [{**service, "name": "Other"}]}
    async with serving() as (one, first), serving(offers=other) as (two, second):
        first.discovers = second.discovered
        endpoints = Endpoints((one, two), hosting(), print)
        registry = await endpoints.discover()
        await endpoints.close()
    assert registry is not None
    assert list(registry.services) == ["Fake", "Other"]


async def test_an_endpoint_that_takes_a_connection_and_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapter.restate.endpoints.DISCOVERY", 0.1)
    said: list[str] = []
    async with serving() as (url, server):
        server.discovers.clear()
        endpoints = Endpoints((url,), hosting(), said.append)
        await endpoints.discover()
        await endpoints.close()
    assert said == [f"==> {url}/discover does not answer (silent for 0.1 s): start the endpoint, or correct its name"]


async def test_an_endpoint_is_registered_after_a_dry_run(host: Hosted, served: Served) -> None:
    offered = await register(host, uri=f"{served.url}/", dry_run=True)
    assert offered.status_code == 201
    assert [each["name"] for each in offered.json()["services"]] == ["Stock", "Orders"]
    assert [each["name"] for each in offered.json()["services"][0]["handlers"]] == ["reserve"]
    assert await names(host) == ["Shop"]
    for _ in range(2):  # again, it is the same endpoint
        registered = await register(host, uri=served.url, force=True, use_http_11=False, additional_headers=None)
        assert registered.json() == offered.json()
        assert await names(host) == ["Shop", "Stock", "Orders"]
    assert await host.call("Shop/sell", "pear") == "reserved pear"
    [deployment] = (await host.http.get("/admin/restate/deployments")).json()["deployments"]
    assert deployment["id"] == offered.json()["id"]
    assert len(deployment["services"]) == 3


async def test_an_endpoint_that_speaks_http1_only_is_registered(host: Hosted) -> None:
    with served_python("tests.drills.orders:app", server="uvicorn") as served:
        assert (await register(host, uri=served.url, use_http_11=True)).status_code == 201
        assert await host.call("Shop/sell", "pear") == "reserved pear"


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"uri": "localhost:9080"}, 400, "is not a URL such as http://localhost:9080"),
        ({"uri": "{nobody}"}, 400, "does not answer"),
        ({"arn": "arn:aws:lambda:eu-central-1:1:function:greeter:1"}, 501, "sam deploy registers versions"),
        ({"uri": "{served}", "additional_headers": {"a": "b"}}, 501, "additional_headers is not supported"),
        ({"url": "{served}"}, 400, "invalid body: url"),
    ],
)
async def test_what_cannot_be_registered(
    host: Hosted, served: Served, body: dict[str, Any], code: int, says: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    filled = {
        name: value.format(served=served.url, nobody=nobody) if isinstance(value, str) else value
        for name, value in body.items()
    }
    refused = await register(host, **filled)
    assert (refused.status_code, says in refused.json()["message"]) == (code, True), refused.text
    assert await names(host) == ["Shop"]


async def test_a_service_is_offered_once(host: Hosted, served: Served) -> None:
    assert (await register(host, uri=served.url)).status_code == 201
    with served_python("tests.drills.orders:app") as other:
        refused = await register(host, uri=other.url)
    assert refused.status_code == 409
    assert f"Stock is offered by {served.url} and by {other.url}" in refused.json()["message"]
    assert await host.call("Shop/sell", "pear") == "reserved pear"


async def test_a_password_is_kept_and_not_shown(served: Served) -> None:
    said: list[str] = []
    kept: list[str] = []
    endpoints = Endpoints((), hosting(), said.append, keep=kept.append)
    url = served.url.replace("http://", "http://me:secret@")
    for _ in range(2):  # again, it is the same endpoint
        await endpoints.add(f"{url}/")
        assert await endpoints.discover() is None
    await endpoints.close()
    assert kept == [f"{url}/"]
    assert said == ["==> Stock, Orders"]


async def test_requests_to_endpoints_are_no_news(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    endpoints = Endpoints([served.url], hosting(), print)
    await endpoints.discover()
    assert caplog.messages == []
    await endpoints.close()


MODULE = """
from adapter import Context, Service, handler


class Shop(Service):
    @handler
    async def sell(self, ctx: Context, item: str) -> str:
        return "{word}: " + await ctx.generic_call(service="Stock", method="reserve", parameter=item)
"""


def test_a_registration_survives_a_change_of_source(tmp_path: Path, served: Served) -> None:
    module = tmp_path / "shop.py"
    module.write_text(MODULE.format(word="first"))
    dev = Dev(tmp_path, "shop")
    try:
        with httpx.Client(base_url=dev.url, timeout=120) as http:
            registered = http.post("/admin/restate/deployments", json={"uri": served.url})
            assert registered.status_code == 201, registered.text
            assert http.post("/Shop/sell", json="pear").json() == "first: reserved pear"
            module.write_text(MODULE.format(word="second"))
            dev.until("Shop, Stock, Orders on http")
            assert http.post("/Shop/sell", json="pear").json() == "second: reserved pear"
    finally:
        dev.stop()


def test_state_in_a_file_outlives_a_registration(tmp_path: Path, served: Served) -> None:
    (tmp_path / "shop.py").write_text(MODULE.format(word="first"))
    dev = Dev(tmp_path, "shop", "--no-reload", "--persist", "state.db")
    try:
        refused = httpx.post(f"{dev.url}/admin/restate/deployments", json={"uri": served.url}, timeout=120)
        assert (refused.status_code, "adapter dev --endpoint" in refused.json()["message"]) == (501, True)
    finally:
        dev.stop()
