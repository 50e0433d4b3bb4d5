"""Apps of Restate's Python SDK beside Python definitions, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import restate

from adapter import Context, DefinitionError, Service, handler, lambda_handler
from tests.restate.hosting import Hosted
from tests.unit.dev import Dev

greeter = restate.Service("Greeter")


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"Hello {name}"


class Caller(Service):
    @handler
    async def call(self, ctx: Context, name: str) -> str:
        return await ctx.generic_call(service="Greeter", method="greet", parameter=name)


def made(how: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    if how == "an endpoint":
        endpoint: Any = restate.endpoint.Endpoint()  # type: ignore[attr-defined]
        return endpoint.bind(greeter)
    if how == "an app on Lambda":
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "app")
    return restate.app(services=[greeter])


@pytest.mark.parametrize("how", ["an app", "an app on Lambda", "an endpoint"])
def test_a_function_hosts_what_the_sdk_makes(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = made(how, monkeypatch)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    entry = lambda_handler(Caller, app)
    assert list(entry.registry.services) == ["Caller", "Greeter"]


def test_two_services_of_one_name_are_refused() -> None:
    app = restate.app(services=[greeter])
    with pytest.raises(DefinitionError, match="two definitions are called Greeter"):
        lambda_handler(app, app)


MODULE = """
import restate
from restate import app
from adapter import Context, Service, handler

greeter = restate.Service("Greeter")

@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"Hello {name}"

class Caller(Service):
    @handler
    async def call(self, ctx: Context, name: str) -> str:
        return await ctx.generic_call(service="Greeter", method="greet", parameter=name)

served = app(services=[greeter])
"""


async def test_adapter_dev_serves_an_app_beside_definitions(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    dev = Dev(tmp_path, "--no-reload", "shop")
    try:
        async with httpx.AsyncClient(base_url=dev.url, timeout=120) as http:
            assert await Hosted(http).call("Caller/call", "Mary") == "Hello Mary"
    finally:
        dev.stop()
