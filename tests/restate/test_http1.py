"""Endpoints that speak HTTP/1.1 only: how that is found out, their requests, and answers that do not follow it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from adapter.restate import endpoints, http, http1
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError
from adapter.restate.conversation import Conversation
from adapter.restate.endpoints import UnreachableError
from adapter.restate.http import HttpEndpoint
from tests.restate import http1_server, http2_server
from tests.restate.fakes import done
from tests.restate.hosting import Hosted, eventually, hosted
from tests.restate.http1_server import Visit, finish, serving
from tests.restate.test_http2 import finish as finish_stream

PATIENCE = 30.0
"""Seconds for what comes at once. A machine may be slow."""


@asynccontextmanager
async def reached(url: str) -> AsyncIterator[tuple[HttpEndpoint, Hosted]]:
    async with HttpEndpoint(url) as endpoint, hosted(endpoint) as host:
        yield endpoint, host


# --- requests --------------------------------------------------------------------------------------------------------


async def test_an_endpoint_without_http2_is_asked_by_requests() -> None:
    async with serving(finish) as (url, server):
        async with reached(url) as (endpoint, host):
            assert not endpoint.duplex  # although its manifest offers streams
            assert [await host.call("Fake/run", n) for n in (1, 2)] == ["done", "done"]
        assert [each.path for each in server.visits] == [
            "/sdk/discover",
            "/sdk/invoke/Fake/run",
            "/sdk/invoke/Fake/run",
        ]
        assert server.refused == 1
        assert "accept-encoding" not in server.visits[-1].headers
        assert server.visits[-1].headers["content-type"] == "application/vnd.restate.invocation.v7"


async def test_requests_are_under_way_at_the_same_time() -> None:
    async def waits(visit: Visit) -> None:
        await asyncio.wait_for(second.wait(), PATIENCE)
        await finish(visit)

    async def answers(visit: Visit) -> None:
        second.set()
        await finish(visit)

    second = asyncio.Event()
    async with serving(waits, answers) as (url, _), reached(url) as (_, host):
        assert await asyncio.gather(host.call("Fake/run"), host.call("Fake/run")) == ["done", "done"]


async def test_a_name_and_a_password_are_sent_and_not_shown() -> None:
    async with serving(finish) as (url, server):
        async with reached(url.replace("http://", "http://me:s%40cret@")) as (endpoint, host):
            assert await host.call("Fake/run") == "done"
            assert endpoint.name == url
        assert {each.headers["authorization"] for each in server.visits} == {"basic bwu6c0bjcmv0"}


async def test_a_connection_finds_out_that_its_peer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[socket.socket] = []
    answers = httpx.AsyncHTTPTransport.handle_async_request

    async def noted(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await answers(self, request)
        sockets.append(response.extensions["network_stream"].get_extra_info("socket"))
        assert sockets[-1].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        return response

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", noted)
    async with serving(finish) as (url, _), reached(url) as (_, host):
        assert await host.call("Fake/run") == "done"
    assert len(sockets) == 2


@pytest.mark.parametrize("protocols", [["http/1.1"], []], ids=["HTTP/1.1 is agreed on", "nothing is"])
async def test_with_tls(protocols: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    if protocols:
        server_side.set_alpn_protocols(protocols)
    async with serving(finish, tls=server_side) as (url, server):
        async with reached(url) as (_, host):
            assert await host.call("Fake/run") == "done"
        assert server.refused == 0


# --- another server at the same place --------------------------------------------------------------------------------


class Place:
    """A port where one server follows another."""

    def __init__(self) -> None:
        self._serves: Any = None
        self._open: list[asyncio.StreamWriter] = []

    def becomes(self, server: http1_server.Server | http2_server.Server | None) -> None:
        """Close the connections, and have another server take the next ones; ``None`` closes them at once."""
        while self._open:
            self._open.pop().close()
        self._serves = server

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._serves is None:
            writer.close()
            return
        self._open.append(writer)
        await self._serves.accept(reader, writer)


@asynccontextmanager
async def placed() -> AsyncIterator[tuple[str, Place]]:
    place = Place()
    async with await asyncio.start_server(place.accept, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", place
        place.becomes(None)


async def test_an_endpoint_may_come_back_with_another_version_of_http() -> None:
    async def answers() -> bool:
        with suppress(UnreachableError):
            await endpoint.discover()
            return True
        return False

    async with placed() as (url, place), HttpEndpoint(url) as endpoint:
        for server, duplex in [(http1_server.Server(finish), False), (http2_server.Server(finish_stream), True)] * 2:
            place.becomes(server)
            await eventually(answers)  # also after a connection that it has closed
            async with hosted(endpoint) as host:
                assert endpoint.duplex == duplex
                assert await host.call("Fake/run") == "done"


async def test_a_stream_that_is_refused_is_followed_by_requests() -> None:
    async with placed() as (url, place), HttpEndpoint(url) as endpoint:
        place.becomes(http2_server.Server(finish_stream))
        async with hosted(endpoint) as host:
            place.becomes(http1_server.Server(finish))
            assert await host.call("Fake/run") == "done"
            assert not endpoint.duplex


# --- answers that do not follow the protocol -------------------------------------------------------------------------


async def hangs_up(visit: Visit) -> bool:
    return True


async def hangs_up_within_its_answer(visit: Visit) -> bool:
    await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + done())
    return True


async def hangs_up_within_a_chunk(visit: Visit) -> bool:
    await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n" + done())
    return True


async def says_garbage(visit: Visit) -> bool:
    await visit.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    return True


async def says_garbage_in_a_chunk(visit: Visit) -> bool:
    await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ngarbage\r\n")
    return True


async def says_too_long_a_head(visit: Visit) -> bool:
    await visit.write(b"HTTP/1.1 200 OK\r\nx: " + bytes(b"x" * 200_000))
    return True


async def stalls(visit: Visit) -> None:
    await asyncio.Event().wait()


async def stalls_within_its_answer(visit: Visit) -> None:
    await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + done())
    await asyncio.Event().wait()


async def answers_500(visit: Visit) -> None:
    await visit.answer(b"internal error", status=500)


async def answers_nothing(visit: Visit) -> None:
    await visit.answer()


async def compresses(visit: Visit) -> None:
    await visit.answer(gzip.compress(done()))


FAULTS = {
    "hangs up": (hangs_up, r"RemoteProtocolError: Server disconnected"),
    "hangs up within its answer": (hangs_up_within_its_answer, "RemoteProtocolError: peer closed connection"),
    "hangs up within a chunk": (hangs_up_within_a_chunk, "RemoteProtocolError: peer closed connection"),
    "says garbage": (says_garbage, "RemoteProtocolError: illegal"),
    "says garbage in a chunk": (says_garbage_in_a_chunk, "RemoteProtocolError: illegal"),
    "says too long a head": (says_too_long_a_head, "RemoteProtocolError: "),
    "stalls": (stalls, r"silent for 0\.5 s"),
    "stalls within its answer": (stalls_within_its_answer, r"silent for 0\.5 s"),
    "500": (answers_500, "answers 500 'internal error'"),
    "answers nothing": (answers_nothing, "the endpoint's answer cannot be read: it is empty"),
    "compresses what may not be": (compresses, "the endpoint's answer cannot be read: "),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_a_request_that_fails_the_next_one_is_answered(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fails, reason = FAULTS[fault]
    if "stalls" in fault:
        monkeypatch.setattr(endpoints, "PATIENCE", 0.5)
    async with serving(fails, finish) as (url, _), HttpEndpoint(url) as endpoint:
        await endpoint.discover()
        with pytest.raises(EndpointError, match=reason):
            await Conversation(endpoint, "Fake", "run").exchange(m.Start(b"id", known_entries=0), [], {})
        monkeypatch.undo()
        async with hosted(endpoint) as host:
            assert await host.call("Fake/run") == "done"


async def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_ANSWER", 5000)

    async def floods(visit: Visit) -> bool:
        await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while True:
                await visit.write(b"1000\r\n%b\r\n" % bytes(0x1000))
        left.set()
        return True

    left = asyncio.Event()
    async with serving(floods, finish) as (url, _), reached(url) as (endpoint, host):
        with pytest.raises(EndpointError, match="answers with more than 5000 bytes"):
            await endpoint.exchange("Fake", "run", b"")
        await asyncio.wait_for(left.wait(), PATIENCE)  # the connection is closed
        assert await host.call("Fake/run") == "done"


async def test_a_manifest_that_comes_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MANIFEST", 0.3)

    async def drips(visit: Visit) -> None:
        await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await visit.write(b" ")
            await asyncio.sleep(0.01)

    async with serving(finish, discovery=drips) as (url, _), HttpEndpoint(url) as endpoint:
        with pytest.raises(
            UnreachableError, match=r"/discover does not answer .not with a whole manifest within 0\.3 s"
        ):
            await endpoint.discover()


async def test_an_endpoint_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "TAKES", 0.1)
    async with serving(finish, takes=False) as (url, _), HttpEndpoint(url) as endpoint:
        with pytest.raises(EndpointError, match=r"/invoke/Fake/run does not answer .it takes nothing for 0\.1 s"):
            await endpoint.exchange("Fake", "run", bytes(20_000_000))


async def test_a_request_that_is_given_up_closes_its_connection() -> None:
    async def waits(visit: Visit) -> None:
        began.set()
        await visit.reader.read()
        left.set()

    began, left = asyncio.Event(), asyncio.Event()
    async with serving(waits) as (url, _), HttpEndpoint(url) as endpoint:
        exchange = asyncio.create_task(endpoint.exchange("Fake", "run", b""))
        await asyncio.wait_for(began.wait(), PATIENCE)
        exchange.cancel()
        await asyncio.wait_for(left.wait(), PATIENCE)
