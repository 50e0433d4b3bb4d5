"""Clients on a deployed stack: Restate's published ones, and our own with signed requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from restate.client_types import HttpError

from adapter import Client, SigV4, SyncClient, TerminalError, UnexpectedResponseError
from handlers.greeter.app import Counter
from handlers.signup.app import SignUp
from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.clients import node
from tests.integration.probes import Probes
from tests.integration.waiting import restates_client


@pytest.fixture
def key() -> str:
    return uuid4().hex[:10]


@pytest.fixture(scope="session")
def modules() -> Path:
    return node.install()


@pytest.fixture
def auth(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> SigV4:
    if stack.endpoint:
        for name, value in LOCAL_CREDENTIALS.items():
            monkeypatch.setenv(name.upper(), value)
    return SigV4(region=stack.region)


@pytest.mark.parametrize("scenario", node.SCENARIOS)
def test_the_javascript_client(modules: Path, stack: Stack, scenario: str, key: str) -> None:
    node.run(modules, stack.url, scenario, key)


@pytest.mark.parametrize("scenario", node.PROBE_SCENARIOS)
def test_the_javascript_client_with_services_of_two_functions(
    modules: Path, probes: Probes, scenario: str, key: str
) -> None:
    node.run(modules, probes.stack.url, scenario, key)


async def test_the_python_client(stack: Stack, key: str) -> None:
    async with restates_client(stack.url) as client, Client(stack.url) as ours:
        assert await client.generic_call("Counter", "add", b"3", key=key) == b"3"
        sent = await client.generic_send("Counter", "add", b"4", key=key, idempotency_key="once")
        again = await client.generic_send("Counter", "add", b"4", key=key, idempotency_key="once")
        assert sent.invocation_id == again.invocation_id
        assert await ours.attach(sent.invocation_id, int) == 7
        await client.generic_send("Counter", "add", b"1", key=key, send_delay=timedelta(hours=1))
        await client.generic_send("SignUp", "run", f'"{key}@example.com"'.encode(), key=key)
        with pytest.raises(HttpError) as raised:
            await client.generic_call("SignUp", "confirm", b'"guessed"', key=key)
        assert (raised.value.status_code, '"source":"invocation"' in (raised.value.body or "")) == (403, True)


async def test_our_client_cancels_with_signed_requests(stack: Stack, auth: SigV4, key: str) -> None:
    async with Client(stack.url, auth=auth) as client:
        run = client.workflow_client(SignUp, key).run(f"{key}@example.com")
        while await client.workflow_client(SignUp, key).status() != "waiting":
            assert not run.done
        assert await run.cancel() is True
        with pytest.raises(TerminalError, match="cancelled"):
            await run
        assert await client.cancel(run.id) is False
    async with Client(stack.url) as unsigned:
        with pytest.raises(UnexpectedResponseError, match=r"auth=SigV4\(\)") as refused:
            await unsigned.cancel(run.id)
        assert refused.value.status == 403


def test_our_client_without_an_event_loop(stack: Stack, auth: SigV4, key: str) -> None:
    with SyncClient(stack.url, auth=auth) as client:
        counter = client.object_client(Counter, key)
        assert sorted(client.result(each) for each in [counter.add(1) for _ in range(3)]) == [1, 2, 3]
        sent = client.object_send_client(Counter, key).add(10, delay=timedelta(hours=1))
        assert client.result(sent.cancel()) is True
        with pytest.raises(TerminalError, match="cancelled"):
            client.result(sent)
        assert client.result(counter.total()) == 3
