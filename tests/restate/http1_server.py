"""An HTTP/1.1 server whose answers are scripts."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.restate.fakes import MANIFEST, done


@dataclass
class Visit:
    """A request that has come."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, *pieces: bytes, status: int = 200) -> None:
        """Answer in pieces."""
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (*pieces, b""))
        await self.write(b"HTTP/1.1 %d Said\r\ntransfer-encoding: chunked\r\n\r\n%b" % (status, chunks))

    async def write(self, data: bytes) -> None:
        """Answer with bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()


Script = Callable[[Visit], Awaitable[Any]]
"""Answers an invocation. If it returns True, the connection is closed."""


async def finish(visit: Visit) -> None:
    """Answer with the end of an invocation."""
    whole = done()
    await visit.answer(whole[:3], whole[3:])


async def offer(visit: Visit) -> None:
    """Answer with a manifest."""
    await visit.answer(json.dumps(MANIFEST).encode())


class Server:
    """An HTTP/1.1 server that answers invocations by scripts, in order; the last one stays.

    Args:
        scripts: Answer invocations.
        takes: False to read no bodies.
        discovery: Answers discoveries.
    """

    def __init__(self, *scripts: Script, takes: bool = True, discovery: Script = offer) -> None:
        self._scripts = list(scripts)
        self._discovery = discovery
        self._takes = takes
        self.visits: list[Visit] = []
        self.refused = 0
        """How many connections began as those of HTTP/2 do."""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        _, path, spoken = first.split(" ")
        if spoken != "HTTP/1.1":
            self.refused += 1
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            return False
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if not self._takes and "content-length" in headers:
            await asyncio.Event().wait()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        visit = Visit(path, headers, body, reader, writer)
        self.visits.append(visit)
        if path.endswith("/discover"):
            return not await self._discovery(visit)
        invocations = sum("/invoke/" in each.path for each in self.visits)
        return not await self._scripts[min(invocations, len(self._scripts)) - 1](visit)


@asynccontextmanager
async def serving(
    *scripts: Script, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[tuple[str, Server]]:
    """Serve scripts. Yield the URL, with a prefix, and the server."""
    server = Server(*scripts, **options)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/sdk", server
    finally:
        listener.close()
