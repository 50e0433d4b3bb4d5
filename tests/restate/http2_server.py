"""An HTTP/2 server whose streams play scripts."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.restate.fakes import MANIFEST, Script, Scripts


class Peer:
    """The endpoint's side of a stream."""

    def __init__(self, side: Side, id: int) -> None:
        self._side = side
        self.id = id
        self.input = asyncio.Queue[bytes]()
        self.room = asyncio.Event()
        self.reset = asyncio.Event()
        self.asked = asyncio.Event()
        self._began = False

    async def receive(self) -> bytes:
        return await self.input.get()

    async def say(self, *said: bytes, status: int = 200) -> None:
        h2, left = self._side.h2, b"".join(said)
        if not self._began:
            self._began = True
            h2.send_headers(self.id, [(":status", str(status))])
        while left:
            size = min(h2.local_flow_control_window(self.id), h2.max_outbound_frame_size, len(left))
            if size:
                h2.send_data(self.id, left[:size])
                left = left[size:]
            self._side.flush()
            if not size:
                self.room.clear()
                await self.room.wait()
        self._side.flush()

    def end(self) -> None:
        self._side.h2.end_stream(self.id)
        self._side.flush()

    def break_off(self) -> None:
        self._side.h2.reset_stream(self.id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._side.flush()

    def go_away(self) -> None:
        self._side.h2.close_connection()
        self._side.flush()

    def hang_up(self) -> None:
        self._side.writer.close()

    def go_deaf(self) -> None:
        """Stop reading, so that no ping is answered either."""
        self._side.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def hear_again(self) -> None:
        """Read again."""
        self._side.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def write_raw(self, data: bytes) -> None:
        self._side.writer.write(data)


class Side:
    """The endpoint's side of a connection."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        own = {} if server.streams is None else {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: server.streams}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=own)
        self.peers: dict[int, Peer] = {}
        self.tasks = set[asyncio.Task[None]]()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def run(self) -> None:
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.heard(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=id, headers=headers):
                peer = self.peers[id] = Peer(self, id)
                self.server.heads.append(head := dict(headers))
                task = asyncio.create_task(self.serve(peer, head[b":path"].decode()))
                self.tasks.add(task)
            case h2.events.DataReceived(stream_id=id, data=data, flow_controlled_length=length):
                self.server.empty += not data
                if self.server.takes:
                    self.h2.acknowledge_received_data(length, id)
                self.peers[id].input.put_nowait(data)
            case h2.events.StreamEnded(stream_id=id):
                self.peers[id].input.put_nowait(b"")
            case h2.events.StreamReset(stream_id=id):
                self.peers[id].reset.set()
            case h2.events.WindowUpdated():
                for peer in self.peers.values():
                    peer.room.set()
            case h2.events.PingReceived():
                for peer in self.peers.values():
                    peer.asked.set()
            case _:
                pass

    async def serve(self, peer: Peer, path: str) -> None:
        if path.endswith("/discover"):
            self.server.discovered.set()
            await self.server.discovers.wait()
            await peer.say(json.dumps(self.server.offers).encode())
            peer.end()
            return
        self.server.peers.append(peer)
        await self.server.scripts.play(peer)


class Server:
    """An HTTP/2 server that plays scripts."""

    def __init__(
        self, *scripts: Script, streams: int | None = None, takes: bool = True, offers: Mapping[str, Any] = MANIFEST
    ) -> None:
        self.scripts = Scripts(scripts)
        self.offers = offers
        self.streams = streams
        self.takes = takes
        self.peers: list[Peer] = []
        self.heads: list[dict[bytes, bytes]] = []
        self.connections = self.open = self.empty = 0
        self.discovered = asyncio.Event()
        self.discovers = asyncio.Event()
        """Whether it answers discoveries."""
        self.discovers.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await Side(self, reader, writer).run()
        finally:
            self.open -= 1


@asynccontextmanager
async def serving(
    *scripts: Script, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[tuple[str, Server]]:
    """Serve scripts. Yield the URL, with a prefix, and the server. What the scripts assert holds."""
    server = Server(*scripts, **options)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/sdk", server
    finally:
        listener.close()
    if server.scripts.failed is not None:
        raise server.scripts.failed
