"""The store's connections, over a server that hangs up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adapter.aws.store import DynamoStore, make_client
from adapter.engine.ports import Unavailable

MANY = 12


class Server(ThreadingHTTPServer):
    """Has no items. It answers its first requests when there are so many at once."""

    daemon_threads = True
    request_queue_size = MANY

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.together = threading.Barrier(MANY)
        self.hangs_up: set[Connection] = set()
        self.connections: set[Connection] = set()


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self in self.server.hangs_up:
            self.close_connection = True
            return
        if len(self.server.connections) <= MANY and not self.server.hangs_up:
            self.server.together.wait(10)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


async def test_after_standing_still_one_request_finds_out_that_connections_are_gone(server: Server) -> None:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-central-1"}
    client = make_client(endpoint_url=f"http://127.0.0.1:{server.server_port}", **credentials)
    store = DynamoStore("invocations", "objects", client=client)
    await asyncio.gather(*(store.peek("inv_a") for _ in range(MANY)))
    assert len(server.connections) == MANY
    server.hangs_up |= server.connections
    with pytest.raises(Unavailable):
        await store.peek("inv_a")
    await asyncio.gather(*(store.peek("inv_a") for _ in range(MANY)))
    store.close()
