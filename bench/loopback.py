"""DynamoDB and Lambda as far as the benchmarks of the client need them: a server on loopback, over TLS."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "app_greeter",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "ADAPTER_STACK": json.dumps({
        "name": "app",
        "invocations": "invocations",
        "objects": "objects",
        "schedules": "app-timers",
        "schedule_role": "arn:aws:iam::1:role/schedules",
        "dead_letters": "arn:aws:sqs:us-east-1:1:dead",
        "delays": "https://sqs.us-east-1.amazonaws.com/1/delays",
        "longest_delay": 60,
    }),
}  # fmt: skip
"""What a function is told of itself."""

BODY = b'{"Items": [], "ConsumedCapacity": {"CapacityUnits": 1.0}}'


@contextmanager
def aws(folder: Path) -> Iterator[dict[str, str]]:
    """Serve in a thread, with a certificate that is kept in a folder. Gives the environment that leads there."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "roots.pem"))
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Connection, "127.0.0.1", 0, ssl=context))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    try:
        url = f"https://localhost:{port}"
        yield {**kept, **ENVIRONMENT, "AWS_ENDPOINT_URL": url, "AWS_CA_BUNDLE": str(folder / "roots.pem")}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class _Connection(asyncio.Protocol):
    """Answers every request alike."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            line = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            length = int(line.partition(b":")[2])
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY))
