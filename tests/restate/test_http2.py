"""Streams over HTTP/2: flow control, many streams, endpoints that end, and those that do not follow the protocol."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from adapter.restate import conversation, endpoints, http, http2
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError
from adapter.restate.conversation import Conversation, Stream
from adapter.restate.http import HttpEndpoint
from tests.restate.fakes import MANIFEST, Told, awaiting, done, ran, run
from tests.restate.hosting import eventually, hosted, until
from tests.restate.http2_server import Peer, Server, serving

MODES = pytest.param(False, id="requests"), pytest.param(True, id="streams")

PATIENCE = 30.0
"""Seconds for what comes at once. A machine may be slow."""


async def called(url: str, input: Any = None, *, duplex: bool = True) -> Any:
    async with HttpEndpoint(url, duplex=duplex) as endpoint, hosted(endpoint) as host:
        return await host.call("Fake/run", input)


async def taken(stream: Stream, size: int) -> bytes:
    """Take so many bytes."""
    data = b""
    while len(data) < size:
        assert await stream.heard(PATIENCE), f"{len(data)} bytes of {size} came"
        data += stream.take()
    return data


async def finish(peer: Peer, told: Told) -> None:
    await told.start()
    await peer.say(done())
    peer.end()


# --- flow control ----------------------------------------------------------------------------------------------------


async def test_much_goes_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "WINDOW", 70_000)
    input, output = "i" * 300_000, "o" * 300_000

    async def script(peer: Peer, told: Told) -> None:
        _, [given] = await told.start()
        value = m.InputCommand.decode(given.payload).value
        assert value is not None
        assert json.loads(value.content or b"") == input
        await peer.say(done(json.dumps(output).encode()))
        peer.end()

    async with serving(script) as (url, _):
        assert await called(url, input) == output


async def test_a_stream_that_nobody_reads_does_not_stop_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "WINDOW", 100_000)
    monkeypatch.setattr(http2, "CONNECTION_WINDOW", 100_000)
    much = bytes(50_000)

    async def flood(peer: Peer, told: Told) -> None:
        for _ in range(100):
            await peer.say(much)

    async def answer(peer: Peer, told: Told) -> None:
        for _ in range(100):
            await peer.say(much)
        peer.end()

    async with serving(flood, answer) as (url, server), HttpEndpoint(url) as endpoint:
        unread = await endpoint.open("Fake", "run")
        assert await unread.heard(PATIENCE)
        read = await endpoint.open("Fake", "run")
        assert await taken(read, 100 * len(much)) == bytes(100 * len(much))
        assert server.connections == 1
        assert unread.size <= 100_000
        assert await taken(unread, 100 * len(much)) == bytes(100 * len(much))


async def test_streams_beyond_what_a_connection_takes_have_another() -> None:
    async def script(peer: Peer, told: Told) -> None:
        await peer.say((await told.next() and b"heard") or b"")

    async with serving(script, streams=2) as (url, server), HttpEndpoint(url) as endpoint:
        streams = [await endpoint.open("Fake", "run") for _ in range(5)]
        for stream in streams:
            await stream.write(done())
            assert await taken(stream, 5) == b"heard"
        assert server.connections == 3
        for stream in streams[:2]:
            stream.abort()
        for _ in range(2):
            await endpoint.open("Fake", "run")
        assert server.connections == 3


async def test_a_connection_that_had_its_streams_ends_after_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "STREAMS", 3)

    async def waits(peer: Peer, told: Told) -> None:
        await asyncio.wait_for(release.wait(), PATIENCE)
        await finish(peer, told)

    release = asyncio.Event()
    async with serving(waits, finish) as (url, server), HttpEndpoint(url) as endpoint, hosted(endpoint) as host:
        first = await host.send("Fake/run")  # with the discovery, that is the second stream
        await eventually(lambda: began(server, 1))
        for _ in range(4):
            assert await host.call("Fake/run") == "done"
        await eventually(lambda: still_open(server, 1))
        assert server.connections == 2
        release.set()
        assert await host.attach(first) == "done"
        await eventually(lambda: still_open(server, 0))
        assert server.scripts.invocations == 5


async def began(server: Server, invocations: int) -> bool:
    return server.scripts.invocations == invocations


async def still_open(server: Server, connections: int) -> bool:
    return server.open == connections


# --- endings ---------------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_waits_sees_its_input_end() -> None:
    async def script(peer: Peer, told: Told) -> None:
        await told.start()
        await peer.say(awaiting(signals=[17]))
        assert await told.next() is None
        assert not peer.reset.is_set()
        peer.end()
        ended.set()

    ended = asyncio.Event()
    async with serving(script) as (url, _), HttpEndpoint(url) as endpoint, hosted(endpoint) as host:
        id = await host.send("Fake/run")
        await until(host, id, "suspended")
        await asyncio.wait_for(ended.wait(), PATIENCE)
        await host.admin(id, "kill")


async def test_a_stream_that_its_endpoint_does_not_end_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "LINGER", 0.01)

    async def script(peer: Peer, told: Told) -> None:
        await told.start()
        await peer.say(awaiting(signals=[17]))
        await peer.reset.wait()
        reset.set()

    reset = asyncio.Event()
    async with serving(script) as (url, _), HttpEndpoint(url) as endpoint, hosted(endpoint) as host:
        id = await host.send("Fake/run")
        await until(host, id, "suspended")
        await asyncio.wait_for(reset.wait(), PATIENCE)
        await host.admin(id, "kill")


async def resets(peer: Peer, told: Told) -> None:
    peer.break_off()


async def resets_after_a_step_began(peer: Peer, told: Told) -> None:
    await told.start()
    await peer.say(run(1))
    peer.break_off()


async def hangs_up(peer: Peer, told: Told) -> None:
    peer.hang_up()


async def goes_away(peer: Peer, told: Told) -> None:
    await told.start()
    peer.go_away()


async def says_garbage(peer: Peer, told: Told) -> None:
    peer.write_raw(b"garbage that is no frame of HTTP/2")


async def stalls(peer: Peer, told: Told) -> None:
    await told.start()
    await asyncio.Event().wait()


async def stalls_after_its_end(peer: Peer, told: Told) -> None:
    await told.start()
    await peer.say(done())


async def answers_500(peer: Peer, told: Told) -> None:
    await peer.say(b"internal error", status=500)
    peer.end()


async def answers_415_and_stalls(peer: Peer, told: Told) -> None:
    await peer.say(b"what is this?", status=415)


FAULTS = {
    "resets": resets,
    "resets after a step began": resets_after_a_step_began,
    "hangs up": hangs_up,
    "goes away": goes_away,
    "says garbage": says_garbage,
    "stalls": stalls,
    "500": answers_500,
    "415": answers_415_and_stalls,
}


@pytest.mark.parametrize("duplex", MODES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_stream_that_fails_is_tried_again(fault: str, duplex: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "LINGER", 0.05)
    if fault == "says garbage":  # it is taken for the beginning of a long frame
        monkeypatch.setattr(http2, "RECENT", 0.5)
        monkeypatch.setattr(http, "CONNECT", 0.5)
    if fault in ("stalls", "says garbage", "415"):
        monkeypatch.setattr(endpoints, "PATIENCE", 0.5)
    async with serving(FAULTS[fault], finish) as (url, server):
        assert await called(url, duplex=duplex) == "done"
        assert server.scripts.invocations >= 2


async def test_an_answer_that_is_whole_is_taken_although_its_stream_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "LINGER", 0.05)
    async with serving(stalls_after_its_end) as (url, server):
        assert await called(url) == "done"
        assert server.scripts.invocations == 1


@pytest.mark.parametrize("duplex", MODES)
async def test_a_step_may_take_as_long_as_its_handler_says(duplex: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 0.2
    monkeypatch.setattr(endpoints, "PATIENCE", limit)
    monkeypatch.setattr(http2, "ASK", limit / 2)
    monkeypatch.setattr(http2, "RECENT", 0)

    async def step(peer: Peer, told: Told) -> None:
        await told.start()
        await peer.say(run(1), awaiting(1))
        for _ in range(5):  # the step takes longer than the limit of other handlers
            peer.asked.clear()
            await asyncio.wait_for(peer.asked.wait(), PATIENCE)
        await peer.say(ran(1), done())
        peer.end()

    [service] = MANIFEST["services"]
    offers = MANIFEST | {"services": [{**service, "inactivityTimeout": 1, "abortTimeout": 600_000}]}
    async with serving(step, offers=offers) as (url, server):
        assert await called(url, duplex=duplex) == "done"
        assert server.scripts.invocations == 1


def test_a_handler_may_be_silent_for_11_minutes_or_longer_if_it_says_so() -> None:
    endpoint = HttpEndpoint("http://localhost:9080")
    [service] = MANIFEST["services"]
    handlers = [
        {"name": "default"},
        {"name": "short", "inactivityTimeout": 1_000, "abortTimeout": 1_000},
        {"name": "long", "abortTimeout": 3_600_000},
        {"name": "inactive", "inactivityTimeout": 3_600_000},
        {"name": "both", "inactivityTimeout": 3_600_000, "abortTimeout": 3_600_000},
    ]
    endpoint.services(json.dumps(MANIFEST | {"services": [{**service, "handlers": handlers}]}).encode())
    assert {each["name"]: endpoint.patience(f"/invoke/Fake/{each['name']}") for each in handlers} == {
        "default": 660,
        "short": 660,
        "long": 3660,
        "inactive": 4200,
        "both": 7200,
    }


@pytest.mark.parametrize("duplex", MODES)
async def test_an_endpoint_that_answers_no_ping_is_given_up(duplex: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASK", "RECENT", "PONG"):
        monkeypatch.setattr(http2, name, 0.05)

    async def dies(peer: Peer, told: Told) -> None:
        await told.start()
        peer.go_deaf()

    async with serving(dies) as (url, _), HttpEndpoint(url) as endpoint, asyncio.timeout(PATIENCE):
        endpoint.duplex = duplex
        with pytest.raises(EndpointError, match="does not answer any more"):
            await Conversation(endpoint, "Fake", "run").exchange(m.Start(b"id", known_entries=0), [], {})


async def test_a_busy_endpoint_keeps_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other requests have another connection meanwhile."""
    monkeypatch.setattr(http2, "RECENT", 0)

    async def computes(peer: Peer, told: Told) -> None:
        await told.start()
        await peer.say(run(1), awaiting(1))  # so that its silence is that of a step
        peer.go_deaf()
        busy.set()
        await asyncio.wait_for(result.wait(), PATIENCE)
        peer.hear_again()
        await peer.say(ran(1), done())
        peer.end()

    busy, result = asyncio.Event(), asyncio.Event()
    async with serving(computes, finish) as (url, server), HttpEndpoint(url) as endpoint, hosted(endpoint) as host:
        first = await host.send("Fake/run")
        await asyncio.wait_for(busy.wait(), PATIENCE)
        monkeypatch.setattr(http, "CONNECT", 0.1)
        assert await host.call("Fake/run") == "done"
        monkeypatch.setattr(http, "CONNECT", PATIENCE)
        assert await host.call("Fake/run") == "done"
        result.set()
        assert await host.attach(first) == "done"
        assert await host.call("Fake/run") == "done"
        assert server.scripts.invocations == 4
        assert server.connections == 2


async def test_an_endpoint_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "TAKES", 0.1)

    async def never(peer: Peer, told: Told) -> None:
        await asyncio.Event().wait()

    async with serving(never, takes=False) as (url, _), HttpEndpoint(url) as endpoint:
        stream = await endpoint.open("Fake", "run")
        with pytest.raises(EndpointError, match="takes nothing"):
            await stream.write(bytes(100_000))


async def test_after_an_endpoint_restarts_the_next_exchange_has_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2, "QUIET", PATIENCE)

    async def first(peer: Peer, told: Told) -> None:
        await told.start()
        await peer.say(run(1), ran(1))
        assert await told.next() is not None
        peer.hang_up()

    async def second(peer: Peer, told: Told) -> None:
        _, journal = await told.start()
        assert len(journal) == 3
        await peer.say(done())
        peer.end()

    async with serving(first, second) as (url, server):
        assert await called(url) == "done"
        assert server.connections == 2


async def test_a_server_of_another_protocol_is_refused() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.write_eof()
        await reader.read()
        writer.close()
        left.set()

    left = asyncio.Event()
    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener, HttpEndpoint(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as endpoint:
        with pytest.raises(EndpointError, match=r"does not answer .ConnectionError: it closed"):
            await endpoint.open("Fake", "run")
        await left.wait()


async def test_a_port_where_nothing_listens_is_refused() -> None:
    async with HttpEndpoint("http://127.0.0.1:1") as endpoint:
        with pytest.raises(EndpointError, match=r"127.0.0.1:1/invoke/Fake/run does not answer"):
            await endpoint.open("Fake", "run")


async def test_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    server_side.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(finish, tls=server_side) as (url, _), HttpEndpoint(url) as endpoint:
        stream = await endpoint.open("Fake", "run")
        stream.abort()


@pytest.mark.parametrize("duplex", MODES)
async def test_a_name_and_a_password_are_sent_and_not_shown(duplex: bool) -> None:
    async with serving(finish) as (url, server):
        secret = url.replace("http://", "http://me:s%40cret@")
        async with HttpEndpoint(secret, duplex=duplex) as endpoint, hosted(endpoint) as host:
            assert await host.call("Fake/run") == "done"
            assert endpoint.name == url
        assert len(server.heads) == 2
        assert {each[b"authorization"] for each in server.heads} == {b"Basic bWU6c0BjcmV0"}
        assert not any(b"me:" in value for each in server.heads for value in each.values())


async def test_requests_are_under_way_at_the_same_time() -> None:
    """Also where the endpoint does not say how many it allows, as Node.js does not."""

    async def waits(peer: Peer, told: Told) -> None:
        await asyncio.wait_for(second.wait(), PATIENCE)
        await finish(peer, told)

    async def answers(peer: Peer, told: Told) -> None:
        second.set()
        await finish(peer, told)

    second = asyncio.Event()
    async with serving(waits, answers) as (url, server), HttpEndpoint(url, duplex=False) as endpoint:
        async with hosted(endpoint) as host:
            assert await asyncio.gather(host.call("Fake/run"), host.call("Fake/run")) == ["done", "done"]
        assert server.connections == 1
        assert server.empty == 0  # for Hypercorn, a frame that comes after its answer is an error


async def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER", 5000)

    async def floods(peer: Peer, told: Told) -> None:
        await peer.say(bytes(10_000))
        await asyncio.wait_for(peer.reset.wait(), PATIENCE)

    async with serving(floods, finish) as (url, server):
        assert await called(url, duplex=False) == "done"
        assert server.scripts.invocations == 2


def test_requests_are_used_where_no_streams_are_offered() -> None:
    endpoint = HttpEndpoint("http://localhost:9080")
    endpoint.services(json.dumps(MANIFEST | {"protocolMode": "REQUEST_RESPONSE"}).encode())
    assert not endpoint.duplex


async def test_an_sdks_handler_runs_once_however_many_steps_it_has(
    typescript: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "QUIET", PATIENCE)
    monkeypatch.setattr(conversation, "BUSY", PATIENCE)
    async with HttpEndpoint(typescript) as endpoint, hosted(endpoint) as host:
        assert await host.call("TestUtilsService/countExecutedSideEffects", 100) == 100
