"""Commands of SDKs that the store could not hold: their invocations fail with a reason, and disturb nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter.engine.types import LONGEST
from adapter.errors import MAX_METADATA, MAX_RETRY_AFTER
from adapter.restate import messages as m
from adapter.restate.answers import failed, now
from adapter.restate.wire import Frame, write_frame
from tests.restate.fakes import MANIFEST, FakeApp, Script, Told, awaiting, done, frame
from tests.restate.hosting import CallError, hosted, until

OBJECT = {"services": [{**MANIFEST["services"][0], "ty": "VIRTUAL_OBJECT"}]}
LONG = "é" * 257
"""514 bytes."""


def saying(*said: bytes) -> Script:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(*said)

    return script


REFUSED = {
    "a state entry to write": (m.SetState(LONG.encode(), m.Value(b"1")), "the name of a state entry has 514 bytes"),
    "a state entry to read": (m.GetState(LONG.encode(), 1), "the name of a state entry has 514 bytes"),
    "a state entry that is no text": (m.ClearState(b"\xff"), "the name of a state entry is not UTF-8"),
    "a promise": (m.GetPromise(LONG, 1), "the name of a promise has 514 bytes"),
    "a sleep's name": (m.Sleep(0, 1, LONG), "the name of a sleep has 514 bytes"),
    "a sleep": (m.Sleep(2**64 - 1, 1), "a sleep is longer than 100 years"),
    "a delay": (m.OneWayCall("Fake", "run", key="k", invoke_time=2**60), "a message's delay is longer than 100 years"),
    "a key": (m.Call("Fake", "run", key=LONG, completion_id=1), "the key for Fake/run has 514 bytes"),
    "an idempotency key": (
        m.OneWayCall("Fake", "run", key="k", idempotency_key=LONG),
        "the idempotency key for Fake/run has 514 bytes in UTF-8; the most is 512",
    ),
    "headers": (
        m.OneWayCall("Fake", "run", key="k", headers=[m.Header("a", "b" * 8192)]),
        "the headers for Fake/run have 8193 bytes",
    ),
    "an invocation": (m.Attach(LONG, completion_id=1), "the id of an invocation has 514 bytes"),
    "an awakeable": (m.CompleteAwakeable(LONG, m.Value(b"1")), "the id of an awakeable has 514 bytes"),
    "a signal": (m.SendSignal("inv_a", name=LONG, value=m.Value(b"1")), "the name of a signal has 514 bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_too_long_is_refused(what: str) -> None:
    command, reason = REFUSED[what]
    async with hosted(FakeApp(saying(frame(command), done()), **OBJECT)) as host:
        with pytest.raises(CallError, match=reason) as raised:
            await host.call("Fake/k/run")
        assert raised.value.status == 400
        assert len((await host.http.get("/admin/invocations")).json()["invocations"]) == 1


async def test_the_longest_sleep_is_shown() -> None:
    sleep = frame(m.Sleep(now() + LONGEST - 1000, 1, "x" * 512))
    async with hosted(FakeApp(saying(sleep, awaiting(1)), **OBJECT)) as host:
        id = await host.send("Fake/k/run")
        await until(host, id, "suspended")
        [wait] = (await host.admin(id))["waits"]
        assert wait["name"] == "x" * 512


async def test_a_failure_is_kept_without_metadata_that_is_too_large() -> None:
    failure = m.WireFailure(409, "no such seat", [m.FailureMetadata("row", "x" * MAX_METADATA)])
    ended = frame(m.OutputCommand(failure=failure)) + write_frame(Frame(m.END, b""))
    async with hosted(FakeApp(saying(ended), **OBJECT)) as host:
        with pytest.raises(CallError, match=r"no such seat \(its metadata is left out: metadata has up to") as raised:
            await host.call("Fake/k/run")
        assert (raised.value.status, raised.value.metadata) == (409, {})


@pytest.mark.parametrize(
    ("delay", "waits"), [(None, None), (5, timedelta(milliseconds=5)), (2**64 - 1, MAX_RETRY_AFTER)]
)
def test_the_delay_of_a_retry_is_bounded(delay: int | None, waits: timedelta | None) -> None:
    assert failed(m.Error(500, "try again", next_retry_delay=delay)).retry_after == waits


async def test_a_read_whose_name_is_no_text_is_shown() -> None:
    """The SDK has answered it itself."""
    read = frame(m.EagerState(b"caf\xe9", value=m.Value(b"1")))
    async with hosted(FakeApp(saying(read, done()), **OBJECT)) as host:
        id = await host.send("Fake/k/run")
        assert await host.attach(id) == "done"
        entries = (await host.http.get(f"/admin/invocations/{id}/journal")).json()["entries"]
        assert "caf\ufffd" in [each.get("name") for each in entries]
