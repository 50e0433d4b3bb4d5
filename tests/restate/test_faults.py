"""Endpoints that die, stall, answer garbage or too much, and runtimes that are killed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapter.errors import DefinitionError
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError
from adapter.restate.endpoints import Endpoint, UnreachableError
from adapter.restate.wire import Frame, read_frames, write_frame
from tests.restate import fakes
from tests.restate.fakes import done
from tests.restate.hosting import CallError, hosted, until

MANIFEST = fakes.MANIFEST | {"protocolMode": "REQUEST_RESPONSE"}


OFFERS = json.dumps(MANIFEST).encode()

Answer = bytes | tuple[int, bytes] | EndpointError
"""The body of an answer, its status and its body, or why there is none."""


class Scripted(Endpoint):
    """An endpoint that answers each exchange as the next line of a script has it; the last line stays."""

    def __init__(self, *script: Answer, offers: Answer = OFFERS) -> None:
        super().__init__("http://fake")
        self._script = list(script)
        self._offers = offers
        self.exchanges: list[list[Frame]] = []

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/discover":
            return _answered(self._offers)
        self.exchanges.append(read_frames(body))
        return _answered(self._script.pop(0) if len(self._script) > 1 else self._script[0])


def _answered(answer: Answer) -> tuple[int, bytes]:
    if isinstance(answer, EndpointError):
        raise answer
    return answer if isinstance(answer, tuple) else (200, answer)


REFUSED = EndpointError("http://fake does not answer (refused)")
SUSPENSION = write_frame(Frame(m.SUSPENSION, m.Suspension(awaiting_on=m.Future([9])).encode()))


@pytest.mark.parametrize(
    "first",
    [
        REFUSED,
        (500, b"internal error"),
        (404, b""),
        b"",
        b"<html>a proxy's page</html>",
        done()[:-3],
    ],
    ids=["refused", "500", "404", "empty", "garbage", "cut"],
)
async def test_an_exchange_that_fails_is_tried_again(first: Answer) -> None:
    endpoint = Scripted(first, done())
    async with hosted(endpoint) as host:
        assert await host.call("Fake/run") == "done"
    assert len(endpoint.exchanges) == 2


async def test_an_endpoint_that_waits_for_nothing_fails_its_invocation() -> None:
    async with hosted(Scripted(SUSPENSION)) as host:
        with pytest.raises(CallError, match="waits for nothing that could come"):
            await host.call("Fake/run")


async def test_an_answer_that_cannot_be_stored_ends_the_invocation() -> None:
    async with hosted(Scripted(done(bytes(5 * 1024 * 1024)))) as host:
        with pytest.raises(CallError, match=r"MB|bytes") as raised:
            await host.call("Fake/run")
    assert raised.value.status == 413


async def test_attempts_end_as_the_manifest_has_it() -> None:
    endpoint = Scripted(REFUSED)
    async with hosted(endpoint) as host:
        with pytest.raises(CallError, match="does not answer"):
            await host.call("Fake/run")
    assert len(endpoint.exchanges) == 5


async def test_the_endpoint_is_told_how_often_it_failed() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom").encode()))
    endpoint = Scripted(error, error, done())
    async with hosted(endpoint) as host:
        assert await host.call("Fake/run") == "done"
    starts = [m.Start.decode(frames[0].payload) for frames in endpoint.exchanges]
    assert [start.retry_count or 0 for start in starts] == [0, 1, 2]


async def test_the_endpoint_is_told_for_how_long_it_has_failed() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom", next_retry_delay=50).encode()))
    endpoint = Scripted(error, STEP + RAN + error, error, error, done())
    async with hosted(endpoint) as host:
        assert await host.call("Fake/run") == "done"
    starts = [m.Start.decode(frames[0].payload) for frames in endpoint.exchanges]
    first, second, third, fourth, fifth = [start.duration or 0 for start in starts]
    assert first == 0 <= second
    # Since the step has its result. How long the commit of a failure takes is not counted.
    assert third + 25 < fourth
    assert fourth + 25 < fifth


async def test_what_was_done_before_an_error_is_kept() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom", next_retry_delay=10).encode()))
    endpoint = Scripted(STEP + RAN + error, done())
    async with hosted(endpoint) as host:
        assert await host.call("Fake/run") == "done"
    start, *journal = endpoint.exchanges[1]
    assert [frame.type for frame in journal] == [0x0400, 0x0411, 0x8011]
    assert m.Start.decode(start.payload).known_entries == 3


STEP, RAN = fakes.run(1), fakes.ran(1)


@pytest.mark.parametrize("progress", [b"", STEP + RAN], ids=["at once", "after a step"])
async def test_an_error_that_asks_to_pause_pauses(progress: bytes) -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "out of stock", behavior=m.PAUSE).encode()))
    endpoint = Scripted(progress + error, done())
    async with hosted(endpoint) as host:
        id = await host.send("Fake/run")
        await until(host, id, "paused")
        assert "out of stock" in (await host.admin(id))["error"]
        assert len(endpoint.exchanges) == 1
        await host.admin(id, "resume")
        assert await host.attach(id) == "done"
    assert len(endpoint.exchanges[1]) == (4 if progress else 2)


async def test_an_error_that_asks_to_pause_pauses_although_its_commit_meets_a_conflict() -> None:
    """The commit makes a record for a call, which another request with the same idempotency key has made before."""
    error = write_frame(Frame(m.ERROR, m.Error(500, "out of stock", behavior=m.PAUSE).encode()))
    call = m.Call("Fake", "run", b"", idempotency_key="known", id_completion_id=1, completion_id=2)
    tomorrow = round((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)
    sleeps = fakes.frame(m.Sleep(tomorrow, completion_id=1)) + fakes.suspension(1)
    endpoint = Scripted(sleeps, fakes.frame(call) + error, done())
    async with hosted(endpoint) as host:
        await until(host, await host.send("Fake/run", idempotency_key="known"), "suspended")
        id = await host.send("Fake/run")
        await until(host, id, "paused")
    assert len(endpoint.exchanges) == 2


async def test_an_error_after_a_step_is_shown_until_the_next_try() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(500, "boom", next_retry_delay=3_600_000).encode()))
    async with hosted(Scripted(STEP + RAN + error)) as host:
        id = await host.send("Fake/run")
        await until(host, id, "backing-off")
        shown = await host.admin(id)
        assert "boom" in shown["error"]
        assert datetime.fromisoformat(shown["due"]) - datetime.now(UTC) > timedelta(minutes=50)
        await host.admin(id, "kill")


async def test_an_error_that_asks_for_failure_is_not_tried_again() -> None:
    error = write_frame(Frame(m.ERROR, m.Error(422, "never", behavior=m.FAIL).encode()))
    endpoint = Scripted(error)
    async with hosted(endpoint) as host:
        with pytest.raises(CallError, match="never") as raised:
            await host.call("Fake/run")
    assert raised.value.status == 422
    assert len(endpoint.exchanges) == 1


SCOPED = {
    "a call": m.Call("Fake", "run", b"", scope="tenant", id_completion_id=1, completion_id=2),
    "a call with a limit key": m.Call("Fake", "run", b"", limit_key="tenant", id_completion_id=1, completion_id=2),
    "a message": m.OneWayCall("Fake", "run", b"", scope="tenant", id_completion_id=1),
    "a message with a limit key": m.OneWayCall("Fake", "run", b"", limit_key="tenant", id_completion_id=1),
    "an attachment": m.Attach(workflow=m.WorkflowTarget("Flow", "key", "tenant"), completion_id=1),
    "a read": m.GetOutput(idempotent=m.IdempotentRequestTarget("S", None, "run", "key", "tenant"), completion_id=1),
}


async def is_refused(command: Any, code: int, message: str) -> None:
    """Check that a command ends its invocation at once."""
    endpoint = Scripted(write_frame(Frame(m.TYPE_OF[type(command)], command.encode())) + done())
    async with hosted(endpoint) as host:
        with pytest.raises(CallError, match=message) as raised:
            await host.call("Fake/run")
    assert raised.value.status == code
    assert len(endpoint.exchanges) == 1


@pytest.mark.parametrize("what", SCOPED)
async def test_scopes_and_limit_keys_are_refused(what: str) -> None:
    await is_refused(SCOPED[what], 501, "scopes and limit keys are not supported")


@pytest.mark.parametrize(
    "command",
    [m.Call("Fake", "run", id_completion_id=1, completion_id=2), m.OneWayCall("Fake", "run", id_completion_id=1)],
)
async def test_an_idempotency_key_that_is_too_long_is_refused(command: m.Call | m.OneWayCall) -> None:
    command.idempotency_key = "ü" * 257
    await is_refused(command, 400, "514 bytes in UTF-8; the most is 512")


WRITE, READ = m.SetState(b"name", m.Value(b"1")), m.GetState(b"name", 1)


@pytest.mark.parametrize(
    ("kind", "handles", "command", "said"),
    [
        ("SERVICE", None, WRITE, "only objects and workflows have state"),
        ("SERVICE", None, READ, "only objects and workflows have state"),
        ("VIRTUAL_OBJECT", "SHARED", WRITE, "only others write state"),
    ],
)
async def test_state_that_a_handler_has_not_is_refused(kind: str, handles: str | None, command: Any, said: str) -> None:
    [service] = MANIFEST["services"]
    services = [{**service, "ty": kind, "handlers": [{"name": "run", "ty": handles}]}]
    answer = write_frame(Frame(m.TYPE_OF[type(command)], command.encode())) + done()
    endpoint = Scripted(answer, offers=json.dumps(MANIFEST | {"services": services}).encode())
    async with hosted(endpoint) as host:
        with pytest.raises(CallError, match=said):
            await host.call("Fake/run" if kind == "SERVICE" else "Fake/key/run")


def offers(**other: Any) -> bytes:
    return json.dumps(MANIFEST | other).encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (REFUSED, "start the endpoint"),
        ((401, b""), "identity key"),
        (b"<html>", "cannot be read"),
        (offers(minProtocolVersion=9, maxProtocolVersion=9), "versions 9 to 9"),
        (offers(services=MANIFEST["services"] * 2), "two services called Fake"),
        (OFFERS.replace(b'"run"', b'"r/un"'), "cannot be the name of a handler"),
    ],
)
async def test_an_endpoint_that_cannot_be_served_says_why(answer: Answer, said: str) -> None:
    with pytest.raises((UnreachableError, DefinitionError), match=said):
        await Scripted(offers=answer).discover()
