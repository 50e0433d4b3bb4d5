"""A server on loopback that does to each request what a test says, in HTTP as it is on the wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[["Visit"], Awaitable[None]]


@dataclass
class Visit:
    """A request that has come, on its connection."""

    head: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *, status: int = 200, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join([*lines, "", ""]).encode() + body)

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class Loopback:
    """Behaves as told: each request takes the next behaviour, the last one stays."""

    behaviours: list[Behaviour]
    port: int = 0
    visits: list[Visit] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                visit = Visit(first, headers, body, writer)
                self.visits.append(visit)
                behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
                await behave(visit)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def well(visit: Visit) -> None:
    """Answers with an empty object."""
    await visit.answer()


async def never(visit: Visit) -> None:
    """Does not answer."""


def saying(body: bytes = b"{}", **options: Any) -> Behaviour:
    """Answers with this."""

    async def behave(visit: Visit) -> None:
        await visit.answer(body, **options)

    return behave


def writing(*pieces: bytes, end: bool = False) -> Behaviour:
    """Writes these bytes one after the other, and then hangs up if told."""

    async def behave(visit: Visit) -> None:
        for piece in pieces:
            await visit.write(piece)
            await asyncio.sleep(0.01)
        if end:
            visit.hang_up()

    return behave


@asynccontextmanager
async def loopback(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """A server for as long as the context lasts."""
    said = Loopback(list(behaviours) or [well])
    server = await asyncio.start_server(said.serve, "127.0.0.1", 0, ssl=tls, limit=2**22)
    said.port = server.sockets[0].getsockname()[1]
    try:
        yield said
    finally:
        server.close()
        for writer in said.connections:
            writer.transport.abort()
        await asyncio.sleep(0)
