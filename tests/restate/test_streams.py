"""What is said on a stream in both directions, and when an exchange on it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adapter.restate import apps, conversation
from adapter.restate import messages as m
from adapter.restate.wire import Frame, write_frame
from tests.restate.fakes import MANIFEST, FakeApp, Script, Told, awaiting, done, frame, ran, run, suspension
from tests.restate.hosting import CallError, eventually, hosted, until


@contextmanager
def scripted(*scripts: Script, **options: Any) -> Iterator[FakeApp]:
    """An app that plays scripts. What they assert holds."""
    endpoint = FakeApp(*scripts, **options)
    yield endpoint
    if endpoint.scripts.failed is not None:
        raise endpoint.scripts.failed


async def called(endpoint: FakeApp) -> Any:
    async with hosted(endpoint) as host:
        return await host.call("Fake/run")


def exchanges(endpoint: FakeApp) -> int:
    """Return how often an endpoint that was invoked once was told something."""
    [told] = endpoint.told
    return len(told)


def acknowledged(*completions: int) -> list[Frame]:
    return [Frame(m.RUN_ACK, m.RunAck(n).encode()) for n in completions]


# --- steps -----------------------------------------------------------------------------------------------------------


async def test_results_of_steps_are_acknowledged_on_the_stream() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), ran(1))
        assert [await told.next()] == acknowledged(1)
        await peer.say(run(2), ran(2))
        assert [await told.next()] == acknowledged(2)
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.scripts.invocations == 1


@pytest.mark.parametrize("version", [5, 6])
async def test_before_version_7_the_results_themselves_are_told(version: int) -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), ran(1, b"result"))
        result = await told.next()
        assert result is not None
        assert result.type == m.result_type(m.Run)
        assert m.Notification.decode(result.payload) == m.Notification(1, value=m.Value(b"result"))
        await peer.say(done())

    with scripted(script, version=version) as endpoint:
        assert await called(endpoint) == "done"


async def test_steps_that_are_awaited_together_are_stored_together() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), run(2), awaiting(1, 2, combinator=m.ALL_COMPLETED))
        await peer.say(ran(2))
        await peer.say(ran(1))
        assert [await told.next(), await told.next()] == acknowledged(2, 1)
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"
        assert exchanges(endpoint) == 2


async def test_the_first_of_two_steps_is_acknowledged_while_the_other_runs() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), run(2), awaiting(1, 2), ran(1))
        assert [await told.next()] == acknowledged(1)
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"


async def test_a_long_step_keeps_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "BUSY", 0.01)

    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), awaiting(1))
        await asyncio.sleep(0.1)  # the step
        await peer.say(ran(1))
        assert [await told.next()] == acknowledged(1)
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"


async def test_a_long_step_of_an_app_that_tells_nothing_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "BUSY", 0.01)

    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1))
        assert await told.next() is None, "the input is not ended"
        await asyncio.sleep(0.1)  # the step
        await peer.say(ran(1), suspension(1))

    async def second(peer: Any, told: Told) -> None:
        start, journal = await told.start()
        assert not start.retry_count
        assert len(journal) == 3
        await peer.say(done())

    with scripted(first, second, version=5) as endpoint:
        assert await called(endpoint) == "done"


# --- waiting ---------------------------------------------------------------------------------------------------------

SLEEP = frame(m.Sleep(1, 1))


async def test_what_is_awaited_is_told_on_the_stream() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(SLEEP, awaiting(1))
        slept = await told.next()
        assert slept is not None
        assert m.Notification.decode(slept.payload) == m.Notification(1, void=m.Void())
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.scripts.invocations == 1


async def test_a_wait_that_was_told_before_its_result_came_is_not_waited_for() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), ran(1), awaiting(1))
        assert [await told.next()] == acknowledged(1)
        await peer.say(awaiting(1))
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"
        assert exchanges(endpoint) == 2


async def test_waits_of_two_branches_are_told_at_once() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(SLEEP, awaiting(1), awaiting(signals=[17]))
        assert await told.next() is not None
        await peer.say(run(2), ran(2))
        assert [await told.next()] == acknowledged(2)
        await peer.say(done())

    with scripted(script) as endpoint:
        assert await called(endpoint) == "done"
        assert exchanges(endpoint) == 3


async def test_a_wait_that_may_be_older_than_what_was_told_is_asked_for_again() -> None:
    # The endpoint awaits two things in two branches. The second wait is told late, when the first has its result.
    async def branches(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(SLEEP, awaiting(1))
        assert await told.next() is not None
        await peer.say(awaiting(signals=[17]))
        assert await told.next() is None, "the input is not ended"
        await peer.say(run(2), ran(2), suspension(2))

    async def rest(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(done())

    with scripted(branches, rest) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.scripts.invocations == 2


@pytest.mark.parametrize("tells", [True, False])
async def test_an_endpoint_that_is_silent_is_asked_to_suspend(tells: bool) -> None:
    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(SLEEP)
        assert await told.next() is None, "the input is not ended"
        await peer.say(awaiting(1), suspension(1))

    async def second(peer: Any, told: Told) -> None:
        assert len((await told.start())[1]) == 3
        await peer.say(done())

    with scripted(first, second, tells=tells) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.scripts.invocations == 2
        assert endpoint.silent


async def test_signals_of_one_name_are_told_on_one_stream() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(awaiting(named_signals=["go"]))
        for n in (1, 2):
            signal = await told.next()
            assert signal is not None
            assert m.Notification.decode(signal.payload).value == m.Value(b"%d" % n)
            await peer.say(write_frame(Frame(m.CUSTOM, b"")), awaiting(named_signals=["go"]) if n == 1 else done())

    with scripted(script) as endpoint:
        async with hosted(endpoint) as host:
            id = await host.send("Fake/run")
            for n in (1, 2):
                await host.http.post(f"/restate/invocation/{id}/signals/go", json=n)
            assert await host.attach(id) == "done"


async def test_a_signal_that_comes_again_is_waited_for_when_the_endpoint_has_suspended() -> None:
    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(awaiting(named_signals=["go"]))
        assert await told.next() is not None
        await peer.say(awaiting(named_signals=["go"]))
        assert await told.next() is None, "the input is not ended"
        await peer.say(suspension(named_signals=["go"]))

    async def second(peer: Any, told: Told) -> None:
        assert len((await told.start())[1]) == 3
        await peer.say(done())

    with scripted(first, second) as endpoint:
        async with hosted(endpoint) as host:
            id = await host.send("Fake/run")
            for n in (1, 2):
                await host.http.post(f"/restate/invocation/{id}/signals/go", json=n)
            assert await host.attach(id) == "done"


# --- faults ----------------------------------------------------------------------------------------------------------


async def finish(peer: Any, told: Told) -> None:
    await told.start()
    await peer.say(done())


async def dies(peer: Any, told: Told) -> None:
    raise ConnectionError("it died")


async def dies_after_a_step_began(peer: Any, told: Told) -> None:
    await told.start()
    await peer.say(run(1))


async def says_nothing(peer: Any, told: Told) -> None:
    await told.start()
    await asyncio.Event().wait()


def says(*said: bytes, status: int = 200) -> Script:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(*said, status=status)

    return script


FAULTS = {
    "dies": dies,
    "dies after a step began": dies_after_a_step_began,
    "is silent": says_nothing,
    "500": says(b"internal error", status=500),
    "404": says(status=404),
    "is empty": says(),
    "garbage": says(b"<html>a proxy's page</html>"),
    "an unknown frame": says(write_frame(Frame(0x00FF, b""))),
    "is cut": says(done()[:-3]),
    "goes on after its end": says(done(), run(1)),
    "too much": says(done(bytes(200_000))),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_stream_that_fails_is_tried_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_ANSWER", 100_000)
    if fault == "is silent":
        monkeypatch.setattr(apps.AppStream, "silence", 0.3)
    with scripted(FAULTS[fault], finish) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.scripts.invocations >= 2


@pytest.mark.parametrize(
    ("fault", "said"), [("500", "answers 500 'internal error'"), ("404", "no such handler"), ("dies", "it died")]
)
async def test_a_stream_that_fails_says_why(fault: str, said: str) -> None:
    with scripted(FAULTS[fault]) as endpoint, pytest.raises(CallError, match=said):
        await called(endpoint)


async def test_an_endpoint_that_ends_between_exchanges_is_told_everything_again() -> None:
    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), ran(1))

    async def second(peer: Any, told: Told) -> None:
        start, journal = await told.start()
        assert not start.retry_count
        assert [each.type for each in journal] == [0x0400, 0x0411, 0x8011]
        await peer.say(done())

    with scripted(first, second) as endpoint:
        assert await called(endpoint) == "done"


async def test_an_error_that_comes_while_a_result_is_stored_is_heard() -> None:
    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), run(2), awaiting(1, 2), ran(1), frame(m.Error(500, "boom", next_retry_delay=10)))

    async def second(peer: Any, told: Told) -> None:
        start, journal = await told.start()
        assert start.retry_count == 1
        assert [each.type for each in journal] == [0x0400, 0x0411, 0x0411, 0x8011]
        await peer.say(done())

    with scripted(first, second) as endpoint:
        assert await called(endpoint) == "done"


async def test_a_suspended_invocation_leaves_no_stream_open() -> None:
    async def script(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(awaiting(signals=[17]))
        await asyncio.Event().wait()

    with scripted(script) as endpoint:
        async with hosted(endpoint) as host:
            id = await host.send("Fake/run")
            await until(host, id, "suspended")

            async def is_closed() -> bool:
                return not endpoint.running

            await eventually(is_closed)
            assert endpoint.cancelled == 1
            await host.admin(id, "kill")


async def test_a_step_that_takes_too_long_leaves_no_stream_open() -> None:
    async def first(peer: Any, told: Told) -> None:
        await told.start()
        await peer.say(run(1), awaiting(1))
        await asyncio.Event().wait()

    [service] = MANIFEST["services"]
    with scripted(first, finish, services=[{**service, "inactivityTimeout": 100, "abortTimeout": 200}]) as endpoint:
        assert await called(endpoint) == "done"
        assert endpoint.cancelled == 1


async def test_an_app_that_says_much_waits_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "MAX_HELD", 1000)
    value = json.dumps("x" * 20_000).encode()

    async def script(peer: Any, told: Told) -> None:
        said = done(value)
        for at in range(0, len(said), 500):
            await peer.say(said[at : at + 500])

    stream = await FakeApp(script).open("Fake", "run")
    most, said = 0, b""
    while not stream.ended:
        for _ in range(20):
            await asyncio.sleep(0)
        most = max(most, stream.size)
        said += stream.take()
    assert said == done(value)
    assert most == 1500
