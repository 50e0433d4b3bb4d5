"""Endpoints and runtimes that end and start again while invocations are under way: the invocations go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import httpx
import pytest

from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from infra.emulator import free_port
from tests.restate import golang, node
from tests.restate.hosting import Hosted, eventually, hosted
from tests.restate.sandbox import LambdaSandbox, sandboxed_python
from tests.restate.serving import Served, served_python
from tests.unit.dev import Dev

Serve = Callable[..., AbstractContextManager[Served]]

SERVES: dict[str, tuple[Serve, str]] = {
    "typescript": (node.served, "restarting.ts"),
    "python": (served_python, "tests.restate.restarting:app"),
}

SANDBOXED: dict[str, tuple[Callable[..., AbstractContextManager[LambdaSandbox]], str]] = {
    "typescript": (node.sandboxed, "restarting.ts"),
    "python": (sandboxed_python, "tests.restate.restarting:app"),
}

ENDS = [("typescript", "terminate"), ("python", "kill")]
"""The endpoint's language, and how its process is ended. Hypercorn does not end while a step hangs."""

if golang.GO:
    SERVES["go"] = (golang.served, "restarting")
    SANDBOXED["go"] = (golang.sandboxed, "restarting")
    ENDS.append(("go", "kill"))


def steps(directory: Path) -> list[str]:
    log = directory / "steps"
    return log.read_text().splitlines() if log.exists() else []


async def begun(host: Hosted, directory: Path, *kinds: str) -> dict[str, str]:
    """Begin an invocation of each kind, and return their ids once they are where they are to be met."""
    ids = {how: await host.send("Working/work", how) for how in kinds}
    expected = {"sleeps one", "waits one", "works two"} & {f"{how} {n}" for how in kinds for n in ("one", "two")}

    async def are_under_way() -> bool:
        if not expected <= set(steps(directory)):
            return False
        return "signal" in [each["kind"] for each in (await host.admin(ids["waits"])).get("waits", [])]

    await eventually(are_under_way)
    return ids


async def end(host: Hosted, ids: dict[str, str]) -> None:
    """Let invocations end, and check what they return."""
    (await host.http.post(f"/admin/invocations/{ids['waits']}/signals/go", json="went")).raise_for_status()
    for how, id in ids.items():
        assert await host.attach(id) == ["one", *(["went"] if how == "waits" else []), "two", "three"]


def ran_once_but_for_what_was_under_way(directory: Path) -> None:
    ran = Counter(each for each in steps(directory) if not each.startswith("sleeps"))
    assert ran == {
        **{f"{kind} {name}": 1 for kind in ("waits", "works") for name in ("one", "two", "three")},
        "works two": 2,
    }


@pytest.mark.parametrize(("language", "how"), ENDS)
async def test_an_endpoint_ends_and_starts_again(
    language: str, how: Literal["kill", "terminate"], tmp_path: Path
) -> None:
    serve, program = SERVES[language]
    with serve(program, port=free_port(), LIFE="first", STEPS=str(tmp_path / "steps")) as first:
        dev = Dev(tmp_path, "--no-reload", "--endpoint", first.url)
        try:
            async with httpx.AsyncClient(base_url=dev.url, timeout=240) as http:
                host, began = Hosted(http), time.monotonic()
                ids = await begun(host, tmp_path, "sleeps", "waits", "works")
                first.end(how)
                with serve(program, port=first.port, LIFE="second", STEPS=str(tmp_path / "steps")):
                    dev.until("==> .*Added")  # the Go SDK lists services by name, the others as they were given
                    dev.drain()
                    assert await host.call("Added/echo", "Mary") == "Mary"
                    await end(host, ids)
                    assert time.monotonic() - began >= 2, "the sleep took as long as it was to"
        finally:
            dev.stop()
    ran_once_but_for_what_was_under_way(tmp_path)


@pytest.mark.parametrize(("language", "how"), ENDS)
async def test_an_endpoint_that_is_sent_requests_ends_and_starts_again(
    language: str, how: Literal["kill", "terminate"], tmp_path: Path
) -> None:
    serve, program = SERVES[language]
    with serve(program, port=free_port(), LIFE="first", STEPS=str(tmp_path / "steps")) as first:
        async with HttpEndpoint(first.url, duplex=False) as endpoint, hosted(endpoint) as host:
            ids = await begun(host, tmp_path, "sleeps", "waits", "works")
            first.end(how)
            with serve(program, port=first.port, LIFE="second", STEPS=str(tmp_path / "steps")):
                await end(host, ids)
    ran_once_but_for_what_was_under_way(tmp_path)


@pytest.mark.parametrize("language", SANDBOXED)
async def test_a_function_ends_and_starts_again(language: str, tmp_path: Path) -> None:
    sandboxed, program = SANDBOXED[language]
    sandboxes: list[LambdaSandbox] = []
    environment = {"STEPS": str(tmp_path / "steps")}

    async def invoke(event: bytes) -> bytes:
        return await sandboxes[-1](event)

    with sandboxed(program, LIFE="first", **environment) as first:
        sandboxes.append(first)
        async with hosted(LambdaEndpoint("sandbox", invoke)) as host:
            ids = await begun(host, tmp_path, "sleeps", "waits", "works")
            first.process.kill()
            with sandboxed(program, LIFE="second", **environment) as second:
                sandboxes.append(second)
                await end(host, ids)
    ran_once_but_for_what_was_under_way(tmp_path)


@pytest.mark.parametrize("language", SERVES)
@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_a_runtime_ends_and_starts_again(
    language: str, how: Literal["kill", "terminate"], tmp_path: Path
) -> None:
    serve, program = SERVES[language]
    with serve(program, STEPS=str(tmp_path / "steps")) as endpoint:

        def begin() -> Dev:
            return Dev(tmp_path, "--no-reload", "--persist", "state.db", "--endpoint", endpoint.url)

        first = begin()
        try:
            async with httpx.AsyncClient(base_url=first.url, timeout=240) as http:
                first.drain()
                host, began = Hosted(http), time.monotonic()
                assert await host.call("Counter/Mary/add") == 1
                ids = await begun(host, tmp_path, "sleeps", "waits")
                getattr(first.process, how)()
        finally:
            first.stop()
        second = begin()
        try:
            async with httpx.AsyncClient(base_url=second.url, timeout=240) as http:
                second.drain()
                host = Hosted(http)
                assert await host.call("Counter/Mary/add") == 2
                await end(host, ids)
                assert time.monotonic() - began >= 2, "the sleep took as long as it was to"
        finally:
            second.stop()
