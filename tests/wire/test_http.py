"""Connections that are kept, lost, late, broken and encrypted."""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trustme

from adapter.aws.wire import http, tls
from adapter.aws.wire.http import NoAnswerError, Pool, Request
from tests.wire.loopback import Loopback, Visit, loopback, never, saying, well, writing

ASKED = Request("POST", "/", {"x-amz-target": "T.Op"}, b'{"a":1}')


def pool(server: Loopback, connections: int = 4, **options: float) -> Pool:
    return Pool("127.0.0.1", server.port, connections=connections, **options)


async def closed(server: Loopback, connection: int = 0) -> None:
    """Wait until the server's side of a connection is closed."""
    await asyncio.wait_for(server.connections[connection].wait_closed(), 60)


class TestAnswers:
    async def test_a_request_is_sent_and_answered(self) -> None:
        async with loopback(saying(b'{"b":2}', X_Amzn_RequestId="r")) as server:
            answer = await pool(server).send(ASKED)
        assert (answer.status, answer.headers["x-amzn-requestid"], answer.body) == (200, "r", b'{"b":2}')
        (visit,) = server.visits
        assert (visit.head, visit.body) == ("POST / HTTP/1.1", b'{"a":1}')
        assert visit.headers["host"] == f"127.0.0.1:{server.port}"
        assert visit.headers["accept-encoding"] == "identity"

    async def test_an_answer_in_pieces(self) -> None:
        pieces = writing(b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\n{", b"   }")
        async with loopback(pieces) as server:
            assert (await pool(server).send(ASKED)).body == b"{   "

    async def test_a_chunked_answer(self) -> None:
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"1\r\n \r\n0\r\n\r\n"
        async with loopback(writing(*chunks)) as server:
            own = pool(server)
            for _ in range(2):
                assert (await own.send(ASKED)).body == b"{} "
            assert len(server.connections) == 1

    async def test_an_answer_that_ends_with_the_connection(self) -> None:
        async with loopback(writing(b"HTTP/1.1 200 OK\r\n\r\n{}", end=True)) as server:
            own = pool(server)
            for _ in range(2):
                assert (await own.send(ASKED)).body == b"{}"
            assert len(server.connections) == 2

    async def test_large_bodies(self) -> None:
        async with loopback(saying(b"x" * 2_000_000)) as server:
            answer = await pool(server).send(Request("POST", "/", {}, b"y" * 2_000_000))
        assert len(answer.body) == len(server.visits[0].body) == 2_000_000


class TestConnections:
    async def test_they_are_kept(self) -> None:
        async with loopback() as server:
            own = pool(server)
            for _ in range(5):
                await own.send(ASKED)
            assert len(server.connections) == 1

    async def test_no_more_than_allowed_at_a_time(self) -> None:
        most = under_way = 0
        three = asyncio.Event()

        async def busy(visit: Visit) -> None:
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            if most == 3:
                three.set()
            await asyncio.wait_for(three.wait(), 60)
            await asyncio.sleep(0.01)  # time for a fourth one
            under_way -= 1
            await visit.answer()

        async with loopback(busy) as server:
            own = pool(server, connections=3)
            await asyncio.gather(*(own.send(ASKED) for _ in range(9)))
            assert most == len(server.connections) == 3

    async def test_one_that_the_other_side_asks_to_close_is_not_used_again(self) -> None:
        async with loopback(saying(Connection="close")) as server:
            own = pool(server)
            for _ in range(2):
                await own.send(ASKED)
            assert len(server.connections) == 2

    async def test_one_that_closed_while_idle_costs_no_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process stood still, as Lambda has it do: the loop has not read yet that the connection is closed."""
        monkeypatch.setattr(http, "QUIET_SECONDS", -1)
        async with loopback() as server:
            own = pool(server)
            await asyncio.gather(own.send(ASKED), own.send(ASKED))
            for writer in server.connections:
                writer.close()
            for writer in server.connections:
                await writer.wait_closed()
            assert (await own.send(ASKED)).status == 200
            assert (len(server.visits), len(server.connections)) == (3, 3)

    async def test_one_that_was_idle_for_long_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback() as server:
            own = pool(server)
            await own.send(ASKED)
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + http.IDLE_SECONDS)
            await own.send(ASKED)
            assert len(server.connections) == 2

    async def test_close(self) -> None:
        async with loopback() as server:
            own = pool(server)
            await own.send(ASKED)
            own.close()
            await closed(server)


class TestFaults:
    async def test_nobody_listens(self) -> None:
        async with loopback() as server:
            port = server.port
        with pytest.raises(NoAnswerError, match=r"no connection to 127\.0\.0\.1"):
            await Pool("127.0.0.1", port).send(ASKED)

    async def test_no_connection_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "CONNECT_SECONDS", 0)
        async with loopback() as server:
            with pytest.raises(NoAnswerError, match=r"no connection to .* within 0 s"):
                await pool(server).send(ASKED)

    async def test_no_answer_in_time(self) -> None:
        async with loopback(never, well) as server:
            own = pool(server, patience=0.05)
            with pytest.raises(NoAnswerError, match=r"did not answer within 0\.05 s"):
                await own.send(ASKED)
            own._patience = 60  # on a busy machine the next one may take longer, too
            await own.send(ASKED)
            assert len(server.connections) == 2

    @pytest.mark.parametrize("how", [Visit.hang_up, Visit.reset])
    async def test_closed_instead_of_an_answer(self, how: object) -> None:
        async def leave(visit: Visit) -> None:
            how(visit)  # type: ignore[operator]

        async with loopback(leave, well) as server:
            own = pool(server)
            with pytest.raises(NoAnswerError, match="closed the connection"):
                await own.send(ASKED)
            assert len(server.visits) == 1
            await own.send(ASKED)

    async def test_closed_in_the_middle_of_an_answer(self) -> None:
        async with loopback(writing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", end=True)) as server:
            with pytest.raises(NoAnswerError, match="before the answer was complete"):
                await pool(server).send(ASKED)

    async def test_the_idle_ones_are_dropped_with_one_that_closed(self) -> None:
        async def hang_up(visit: Visit) -> None:
            visit.hang_up()

        async with loopback(well, well, hang_up, well) as server:
            own = pool(server)
            await asyncio.gather(own.send(ASKED), own.send(ASKED))
            with pytest.raises(NoAnswerError):
                await own.send(ASKED)
            await own.send(ASKED)
            assert len(server.connections) == 3

    @pytest.mark.parametrize(
        "said", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"a" * 70_000]
    )
    async def test_something_else_than_http(self, said: bytes) -> None:
        async with loopback(writing(said)) as server:
            own = pool(server)
            with pytest.raises(NoAnswerError, match="did not answer in HTTP"):
                await own.send(ASKED)
            await closed(server)

    async def test_a_request_that_is_cancelled_leaves_no_answer_to_the_next(self) -> None:
        arrived = asyncio.Event()

        async def late(visit: Visit) -> None:
            arrived.set()
            await asyncio.sleep(0.05)
            await visit.answer(b"late")

        async with loopback(late, saying(b"own")) as server:
            own = pool(server)
            asking = asyncio.create_task(own.send(ASKED))
            await arrived.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (await own.send(ASKED)).body == b"own"
            assert len(server.connections) == 2

    async def test_an_answer_that_nobody_asked_for_ends_the_connection(self) -> None:
        twice = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 2
        async with loopback(writing(twice), well) as server:
            own = pool(server)
            await own.send(ASKED)
            await own.send(ASKED)
            assert len(server.connections) == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(made)
    return made


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))


class TestTLS:
    @pytest.mark.usefixtures("trusted")
    async def test_encrypted(self, certified: ssl.SSLContext) -> None:
        async with loopback(saying(b"x" * 100_000), tls=certified) as server:
            own = Pool("localhost", server.port, partial(tls.context, "localhost"))
            for _ in range(3):
                assert len((await own.send(ASKED)).body) == 100_000
            assert len(server.connections) == 1
            own.close()

    @pytest.mark.usefixtures("trusted")
    async def test_closed_while_idle(self, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "QUIET_SECONDS", -1)
        async with loopback(tls=certified) as server:
            own = Pool("localhost", server.port, partial(tls.context, "localhost"))
            await own.send(ASKED)
            server.connections[0].transport.abort()
            await closed(server)
            await own.send(ASKED)
            own.close()
            assert len(server.visits) == 2

    @pytest.mark.parametrize("host", ["dynamodb.eu-central-1.amazonaws.com", "localhost"])
    async def test_another_authority_is_not_trusted(
        self, certified: ssl.SSLContext, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        async with loopback(tls=certified) as server:
            with pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
                await Pool("localhost", server.port, partial(tls.context, host)).send(ASKED)
            assert server.visits == []

    @pytest.mark.usefixtures("trusted")
    async def test_another_host_is_not_trusted(self, certified: ssl.SSLContext) -> None:
        async with loopback(tls=certified) as server:
            with pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
                await Pool("127.0.0.1", server.port, partial(tls.context, "127.0.0.1")).send(ASKED)


class TestProxy:
    """Encrypted connections through a proxy."""

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.usefixtures("trusted")
    async def test_through_a_proxy(self, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback(tls=certified) as server, tunnels() as (port, asked):
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{port}")
            own = Pool("localhost", server.port, partial(tls.context, "localhost"))
            for _ in range(2):
                assert (await own.send(ASKED)).body == b"{}"
            own.close()
            assert len(server.connections) == 1
        login = b64encode(b"me:p@ss").decode()
        assert asked == [
            f"CONNECT localhost:{server.port} HTTP/1.1\r\nHost: localhost:{server.port}\r\n"
            f"Proxy-Authorization: Basic {login}\r\n\r\n"
        ]

    @pytest.mark.usefixtures("trusted")
    async def test_some_hosts_are_reached_directly(
        self, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "localhost")
        async with loopback(tls=certified) as server:
            own = Pool("localhost", server.port, partial(tls.context, "localhost"))
            assert (await own.send(ASKED)).status == 200
            own.close()

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            (b"HTTP/1.1 407 Login first\r\n\r\n", r" 127\.0\.0\.1 answers 'HTTP/1\.1 407"),
            (b"no", " closed the connection"),
        ],
    )
    async def test_a_proxy_that_refuses(self, monkeypatch: pytest.MonkeyPatch, said: bytes, message: str) -> None:
        async with tunnels(said) as (port, _):
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
            with pytest.raises(NoAnswerError, match=f"no connection to localhost: the proxy{message}"):
                await Pool("localhost", 1, partial(tls.context, "localhost")).send(ASKED)


@asynccontextmanager
async def tunnels(said: bytes | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy. Gives its port, and what it is asked; ``said`` is all it answers."""
    asked: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        if said is not None:
            writer.write(said)
            writer.close()
            return
        host, _, port = head.split(" ")[1].partition(":")
        there, onwards = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with suppress(ConnectionError):
            await asyncio.gather(pass_on(reader, onwards), pass_on(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
