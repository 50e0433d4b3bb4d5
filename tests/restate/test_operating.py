"""What operators see of invocations of SDKs, and what they do about them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.console import Console

from adapter.cli import showing
from adapter.registry import BoundService
from adapter.restate.apps import AppEndpoint
from adapter.restate.endpoints import Endpoint
from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from adapter.restate.manifest import RemoteHandler
from tests.restate import node
from tests.restate.hosting import CallError, Hosted, eventually, hosted, new_key, until
from tests.restate.operating import app
from tests.restate.sandbox import LambdaSandbox

HOSTINGS = [
    "python in this process, streams",
    "typescript over http, requests",
    "typescript over http, streams",
    "typescript on lambda, requests",
]


def report_deadlocks(endpoint: Endpoint) -> None:
    """Have deadlocks of an endpoint's handlers reported, and not broken."""
    offered = endpoint.services

    def reporting(manifest: bytes) -> Mapping[str, BoundService]:
        services = offered(manifest)
        for service in services.values():
            for name, handler in service.handlers.items():
                remote = cast(RemoteHandler, handler)
                reports = replace(remote, options=replace(remote.options, deadlocks="report"))
                cast("dict[str, Any]", service.handlers)[name] = reports
        return services

    endpoint.services = reporting  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with node.served("operating.ts") as served:
        yield served.url


@pytest.fixture(scope="module")
def sandbox() -> Iterator[LambdaSandbox]:
    with node.sandboxed("operating.ts") as sandbox:
        yield sandbox


@pytest.fixture(params=HOSTINGS)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Hosted]:
    how, mode = request.param.split(", ")
    async with AsyncExitStack() as stack:
        endpoint: Endpoint
        if how == "python in this process":
            endpoint = AppEndpoint(app)
        elif how == "typescript over http":
            url = request.getfixturevalue("served")
            endpoint = await stack.enter_async_context(HttpEndpoint(url, duplex=mode == "streams"))
        else:
            endpoint = LambdaEndpoint("sandbox", request.getfixturevalue("sandbox"))
        report_deadlocks(endpoint)
        yield await stack.enter_async_context(hosted(endpoint))


async def ran(host: Hosted, key: str) -> dict[str, int]:
    """Return how often each step of an order ran."""
    return dict(await host.call("Probe/ran", key))


async def journal(host: Hosted, id: str) -> list[dict[str, Any]]:
    return list((await host.http.get(f"/admin/invocations/{id}/journal")).json()["entries"])


def found(entries: list[dict[str, Any]], command: str, name: str | None = None) -> dict[str, Any]:
    return next(each for each in entries if each.get("command") == command and name in (None, each.get("name")))


async def asked(host: Hosted, id: str) -> str:
    """Wait until an order asks for its approval, and return the id of its awakeable."""
    awakeables: list[str] = []

    async def waits() -> bool:
        shown = await host.admin(id)
        assert "error" not in shown, shown["error"]
        awakeables[:] = [each["id"] for each in shown["waits"] if each["kind"] == "awakeable"]
        return shown["status"] == "suspended" and bool(awakeables)

    await eventually(waits)
    return awakeables[0]


async def approve(host: Hosted, awakeable: str) -> None:
    response = await host.http.post(f"/admin/awakeables/{awakeable}/resolve", json="yes")
    assert response.is_success, response.text


async def test_the_journal_has_steps_reads_and_calls_and_no_exchanges(host: Hosted) -> None:
    id = await host.send(f"Orders/{new_key()}/place", 10_000)
    awakeable = await asked(host, id)
    await approve(host, awakeable)
    await host.attach(id)
    entries = await journal(host, id)
    commands = [(each["command"], each.get("name")) for each in entries if "command" in each]
    assert [each for each in commands if each[0] != "state-keys"] == [
        ("get", "orders"),
        ("run", "quote"),
        ("run", "pack"),
        ("set", "orders"),
        ("call", "Stock/reserve"),
        ("run", "charge"),
        ("run", "ask"),
        ("awakeable", None),
        ("sleep", None),
    ]
    places = [(each["n"], each.get("part")) for each in entries if "command" in each]
    assert len(set(places)) == len(places)
    assert found(entries, "run", "pack")["value"]["json"] == 7
    assert found(entries, "run", "pack")["duration_ms"] >= 0
    assert found(entries, "call")["child"].startswith("inv_")
    assert found(entries, "awakeable")["awakeable"] == awakeable
    large = found(entries, "run", "quote")["value"]
    assert large["truncated"]
    assert (await host.http.get(large["href"])).json() == "x" * 10_000


async def test_the_command_line_shows_steps(host: Hosted) -> None:
    id = await host.send(f"Orders/{new_key()}/place", 1)
    await asked(host, id)
    shown = await host.admin(id) | {"journal": await journal(host, id)}
    text = io.StringIO()
    Console(file=text, width=400).print(showing.invocation(shown, "", whole=False))
    for words in ("quote", "charge", "Stock/reserve", "adapter awakeable resolve sign_1"):
        assert words in text.getvalue()
    assert "exchange" not in text.getvalue()


async def test_a_step_that_waits_for_its_next_try_is_named(host: Hosted) -> None:
    id = await host.send("Stock/recount")
    await until(host, id, "backing-off")
    waits = (await host.admin(id))["waits"]
    assert {(each["kind"], each.get("name")) for each in waits} == {("step", "count"), ("attempt", None)}
    assert "value" not in found(await journal(host, id), "run", "count")
    why = (await host.http.get(f"/admin/invocations/{id}/why")).json()
    assert "backing off in step 'count', attempt 1 of 70: " in why["summary"]
    await host.admin(id, "kill")


async def test_why_leads_to_the_awakeable_that_is_awaited(host: Hosted) -> None:
    inner = new_key()
    id = await host.send(f"Orders/{new_key()}/nested", inner)
    chain: list[dict[str, Any]] = []

    async def leads() -> bool:
        chain[:] = (await host.http.get(f"/admin/invocations/{id}/why")).json()["chain"]
        return len(chain) == 2 and "awakeable" in chain[1]

    await eventually(leads)
    assert chain[1]["target"] == f"Orders/{inner}/place"
    assert chain[1]["actions"][0]["path"] == f"/admin/awakeables/{chain[1]['awakeable']}/resolve"
    tree = (await host.http.get(f"/admin/invocations/{id}/tree")).json()
    assert [each["target"] for each in tree["children"][0]["children"]] == ["Stock/reserve"]
    await approve(host, chain[1]["awakeable"])
    assert (await host.attach(id))[1] == "yes"


async def test_a_deadlock_is_listed_and_ends_when_one_of_it_is_killed(host: Hosted) -> None:
    one, two = new_key(), new_key()
    first, second = await host.send(f"Locks/{one}/lock", two), await host.send(f"Locks/{two}/lock", one)
    for id in (first, second):
        await until(host, id, "suspended")
        assert [(each["kind"], each["name"]) for each in (await host.admin(id))["waits"]] == [("signal", "go")]
    for id in (first, second):
        (await host.http.post(f"/admin/invocations/{id}/signals/go", json="now")).raise_for_status()
    rings: list[dict[str, Any]] = []

    async def listed() -> bool:
        rings[:] = (await host.http.get("/admin/deadlocks")).json()["deadlocks"]
        return bool(rings)

    await eventually(listed)
    assert f"Locks/{one}" in rings[0]["text"]
    assert f"Locks/{two}" in rings[0]["text"]
    why = (await host.http.get(f"/admin/invocations/{first}/why")).json()
    assert why["cycle"]
    await host.admin(first, "kill")
    await host.attach(second)
    assert (await host.http.get("/admin/deadlocks")).json()["deadlocks"] == []


@pytest.mark.parametrize("action", ["cancel", "kill"])
async def test_an_order_is_ended(host: Hosted, action: str) -> None:
    key = new_key()
    id = await host.send(f"Orders/{key}/place", 1)
    await asked(host, id)
    await host.admin(id, action)
    with pytest.raises(CallError, match=rf"(?i){action}"):
        await host.attach(id)
    after = await host.send(f"Orders/{key}/place", 1)  # the key is free
    await approve(host, await asked(host, after))
    assert (await host.attach(after))[1] == "yes"


async def test_an_order_is_paused_within_a_step_and_resumed(host: Hosted) -> None:
    key = new_key()
    await host.call("Probe/hold", key)
    id = await host.send(f"Orders/{key}/place", 1)

    async def charges() -> bool:
        return (await ran(host, key)).get("charge") == 1

    await eventually(charges)
    await host.admin(id, "pause")
    await host.call("Probe/release", key)
    assert (await host.admin(id))["status"] == "paused"
    await host.admin(id, "resume")
    await approve(host, await asked(host, id))
    assert (await host.attach(id))[1] == "yes"
    # What the fenced attempt got is not taken.
    assert await ran(host, key) == {"quote": 1, "pack": 1, "charge": 2, "ask": 1}


async def restarted(host: Hosted, id: str, first: int) -> Any:
    response = await host.http.post(f"/admin/invocations/{id}/restart-as-new", params={"from": first})
    return response.json()


async def test_an_order_is_restarted_from_a_step(host: Hosted) -> None:
    key = new_key()
    id = await host.send(f"Orders/{key}/place", 1)
    await approve(host, await asked(host, id))
    reserved, _ = await host.attach(id)
    entries = await journal(host, id)
    new = (await restarted(host, id, found(entries, "run", "charge")["n"]))["invocationId"]
    awakeable = await asked(host, new)
    await approve(host, awakeable)
    assert await host.attach(new) == [reserved, "yes"]  # the number was drawn before
    assert await ran(host, key) == {"quote": 1, "pack": 1, "charge": 2, "ask": 2}
    assert awakeable != found(entries, "awakeable")["awakeable"]
    assert found(await journal(host, new), "run", "quote")["value"]["json"] == "x"


async def test_an_order_is_restarted_after_its_awakeable(host: Hosted) -> None:
    key = new_key()
    id = await host.send(f"Orders/{key}/place", 1)
    await approve(host, await asked(host, id))
    output = await host.attach(id)
    new = (await restarted(host, id, found(await journal(host, id), "sleep")["n"]))["invocationId"]
    assert await host.attach(new) == output
    assert (await ran(host, key))["ask"] == 1


async def test_an_order_is_not_restarted_between_an_awakeable_and_its_result(host: Hosted) -> None:
    id = await host.send(f"Orders/{new_key()}/place", 1)
    await approve(host, await asked(host, id))
    await host.attach(id)
    entries = await journal(host, id)
    refusal = await restarted(host, id, found(entries, "awakeable")["n"])
    assert "use the entry that gives its id away" in refusal["message"]
    new = (await restarted(host, id, found(entries, "run", "ask")["n"]))["invocationId"]
    await approve(host, await asked(host, new))
    assert (await host.attach(new))[1] == "yes"
