"""`adapter dev` with several endpoints and a Python module: their services call each other by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.restate import golang, node
from tests.restate.hosting import Hosted, eventually, new_key, tables
from tests.restate.serving import Served, served_python
from tests.unit.dev import Dev

MODULE = """
from adapter import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject, handler


async def call_next(ctx: Context, route: list[dict[str, str]]) -> list[str]:
    return await ctx.generic_call(**route[0], method="call", parameter=route[1:]) if route else []


def send_next(ctx: Context, route: list[dict[str, str]]) -> None:
    if route:
        ctx.generic_send(**route[0], method="send", parameter=route[1:])


class OwnRelay(Service):
    @handler
    async def call(self, ctx: Context, route: list[dict[str, str]]) -> list[str]:
        return ["OwnRelay", *await call_next(ctx, route)]

    @handler
    async def send(self, ctx: Context, route: list[dict[str, str]]) -> None:
        send_next(ctx, route)


async def visited(ctx: ObjectContext) -> str:
    visits = (await ctx.get("visits", int) or 0) + 1
    ctx.set("visits", visits)
    return f"OwnPlace/{ctx.key} {visits}"


class OwnPlace(VirtualObject):
    @handler
    async def call(self, ctx: ObjectContext, route: list[dict[str, str]]) -> list[str]:
        return [await visited(ctx), *await call_next(ctx, route)]

    @handler
    async def send(self, ctx: ObjectContext, route: list[dict[str, str]]) -> None:
        await visited(ctx)
        send_next(ctx, route)

    @handler
    async def visits(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("visits", int) or 0
"""

PLACES = ("OwnPlace", "FirstPlace", "SecondPlace")


@pytest.fixture(scope="module")
def second() -> Iterator[Served]:
    with served_python("tests.restate.relay:app", server="uvicorn") as served:
        yield served


FIRST: dict[str, Callable[[], AbstractContextManager[Served]]] = {
    "typescript": lambda: node.served("relay.ts"),
    "python": lambda: served_python("tests.restate.relay:app", NAME="First"),
    "go": lambda: golang.served("relay"),
}
"""Serves the first of the endpoints in a language."""


@pytest.fixture(
    scope="module",
    params=[
        "typescript",
        "python",
        pytest.param("typescript on dynamodb", marks=pytest.mark.dynamodb),
        *(["go", pytest.param("go on dynamodb", marks=pytest.mark.dynamodb)] if golang.GO else []),
    ],
)
def dev(request: pytest.FixtureRequest, second: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of `adapter dev`, which serves a module and two endpoints."""
    directory = tmp_path_factory.mktemp("dev")
    (directory / "own.py").write_text(MODULE)
    language, _, store = request.param.partition(" on ")
    with ExitStack() as stack:
        first = stack.enter_context(FIRST[language]())
        environment = {"AWS_ENDPOINT_URL": request.getfixturevalue("emulated"), **tables()} if store else {}
        endpoints = ["--endpoint", first.url, "--endpoint", second.url]
        dev = Dev(directory, "--no-reload", *endpoints, "own", environment=environment)
        stack.callback(dev.stop)
        url = dev.url
        assert ("DynamoDB at" in dev.said[-1]) == bool(store), dev.said
        dev.drain()
        yield url


@pytest.fixture
async def host(dev: str) -> AsyncIterator[Hosted]:
    async with httpx.AsyncClient(base_url=dev, timeout=240) as http:
        yield Hosted(http)


def relays(*names: str) -> list[dict[str, str]]:
    return [{"service": f"{name}Relay"} for name in names]


def places(key: str, *names: str) -> list[dict[str, str]]:
    return [{"service": f"{name}Place", "key": key} for name in names]


async def test_services_of_all_languages_call_each_other(host: Hosted) -> None:
    key = new_key()
    route = [
        *relays("Second", "Own"),
        *places(key, "First", "Second", "Own"),
        *relays("First", "Own", "First", "Second"),
    ]
    led = [
        "FirstRelay",
        "SecondRelay",
        "OwnRelay",
        f"FirstPlace/{key} 1",
        f"SecondPlace/{key} 1",
        f"OwnPlace/{key} 1",
        "FirstRelay",
        "OwnRelay",
        "FirstRelay",
        "SecondRelay",
    ]
    assert await host.call("FirstRelay/call", route) == led
    assert [await host.call(f"{place}/{key}/visits") for place in PLACES] == [1, 1, 1]


async def test_services_of_all_languages_send_each_other_messages(host: Hosted) -> None:
    key = new_key()
    back = [
        *places(key, "Own", "Second"),
        *relays("First", "Own"),
        *places(key, "First"),
        *relays("Second"),
        *places(key, "Own"),
    ]
    await host.call("FirstRelay/send", [*relays("Second", "Own", "First"), *back])

    async def arrived() -> bool:
        return [await host.call(f"{place}/{key}/visits") for place in PLACES] == [2, 1, 1]

    await eventually(arrived)


async def test_why_leads_through_all_languages_to_a_name_that_nothing_has(host: Hosted) -> None:
    id = await host.send("FirstRelay/call", relays("Second", "Own", "Third"))
    why: dict[str, Any] = {}

    async def found() -> bool:
        why.update((await host.http.get(f"/admin/invocations/{id}/why")).json())
        return "ThirdRelay" in why["summary"]

    await eventually(found)
    assert [each["target"].split("/")[0] for each in why["chain"]][:3] == ["FirstRelay", "SecondRelay", "OwnRelay"]
    await host.admin(id, "kill")


@pytest.mark.parametrize("where", ["another endpoint", "a module"])
def test_two_services_of_one_name_are_refused(second: Served, where: str, tmp_path: Path) -> None:
    arguments: list[Any] = ["--no-reload", "--endpoint", second.url]
    with ExitStack() as stack:
        if where == "a module":
            (tmp_path / "own.py").write_text(MODULE.replace("OwnPlace", "SecondPlace"))
            arguments.append("own")
            said = f"adapter dev: SecondPlace is offered by a Python module and by {second.url}: rename one"
        else:
            twin = stack.enter_context(served_python("tests.restate.relay:app"))
            arguments += ["--endpoint", twin.url]
            said = f"adapter dev: SecondRelay is offered by {second.url} and by {twin.url}"
        dev = Dev(tmp_path, *arguments)
        try:
            dev.until(said)
            assert dev.process.wait(240) == 1
        finally:
            dev.stop()


def test_what_endpoints_need_is_named_if_it_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "h2.py").write_text("raise ModuleNotFoundError(name='h2')")
    dev = Dev(tmp_path, "--no-reload", "--endpoint", "http://localhost:9080")
    try:
        dev.until(r"adapter dev: h2 is not installed: pip install 'serverless-adapter\[restate\]'")
        assert dev.process.wait(240) == 1
    finally:
        dev.stop()
