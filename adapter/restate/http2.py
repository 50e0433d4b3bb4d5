"""HTTP/2 connections whose streams are written and read at the same time, over asyncio and the h2 library.

Source: `RFC 9113 <https://www.rfc-editor.org/rfc/rfc9113>`_, sections 5.1 (states of streams) and 5.2 (flow control).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from adapter.restate.answers import EndpointError
from adapter.restate.conversation import LINGER, Stream

CONNECT: Final = 5.0
"""Seconds for a connection to an endpoint."""

TAKES: Final = 120.0
"""Seconds within which an endpoint has to take more of what is sent to it."""

ASK: Final = 120.0
"""Seconds of silence on a stream after which its connection is asked whether it is alive."""

PONG: Final = 120.0
"""Seconds for the answer, if a stream asks. A step may occupy the endpoint's only thread."""

QUIET: Final = 0.2
"""Seconds of silence after which an endpoint that runs no step is taken to wait."""

WINDOW: Final = 1024 * 1024
"""Bytes that a stream holds until they are taken."""

CONNECTION_WINDOW: Final = 16 * 1024 * 1024
"""Bytes on their way on a connection. It is opened again as they come, so that a stream from which nothing is taken
does not stop the others."""

READ: Final = 64 * 1024

STREAMS: Final = 500
"""Streams that a connection has in its life. Hypercorn and nginx end a connection after 1000 requests, and with it the
streams that are still open."""

RECENT: Final = 1.0
"""Seconds after which a connection from which nothing came is asked whether it is alive, before it is used again."""


class NoHttp2Error(Exception):
    """The endpoint speaks HTTP/1.1 only."""


class Connection:
    """An HTTP/2 connection with many streams. `open` makes one.

    If the endpoint closes it, all of its streams are broken.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str, authority: str) -> None:
        self._reader = reader
        self._writer = writer
        self._scheme = scheme
        self._authority = authority
        self.h2 = h2.connection.H2Connection()
        self._streams: dict[int, Http2Stream] = {}
        self._opened = 0
        self._settled, self._pong = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._is_http1 = self._is_mute = False
        self._end: str = ""
        """Why it ended."""
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, host: str, port: int, authority: str, tls: ssl.SSLContext | None) -> Self:
        """Connect to an endpoint: with TLS, or by prior knowledge.

        Raises:
            NoHttp2Error: If HTTP/1.1 is spoken there.
            OSError: If nothing listens there, or the certificate is refused.
        """
        async with asyncio.timeout(CONNECT):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            if tls and writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                writer.close()
                raise NoHttp2Error
            connection = cls(reader, writer, "https" if tls else "http", authority)
            try:
                await connection._begin()
            except BaseException:
                await connection.close()
                raise
        return connection

    async def _begin(self) -> None:
        own = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            },
        )
        self.h2.local_settings = own
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW)
        self.flush()
        await self._settled.wait()  # the endpoint's settings say how many streams it takes
        if self._is_http1:
            raise NoHttp2Error
        if self._end:
            raise ConnectionError(self._end)

    @property
    def ended(self) -> bool:
        """True if it takes no more streams."""
        return bool(self._end)

    @property
    def has_room(self) -> bool:
        """True if another stream can be opened."""
        return (
            not self._end
            and not self._is_mute
            and self._opened < STREAMS
            and self.h2.open_outbound_streams < self.h2.remote_settings.max_concurrent_streams
        )

    async def is_alive(self, seconds: float) -> bool:
        """Return True if the endpoint answers within so many seconds.

        If it does not, its only thread may be busy with a step: the connection takes no other streams until the
        answer comes, and ends with the last of those that it has.
        """
        if not self._end and self._loop.time() - self._heard_at > RECENT:
            self._pong.clear()
            self.h2.ping(bytes(8))
            self.flush()
            try:
                async with asyncio.timeout(seconds):
                    await self._pong.wait()
            except TimeoutError:
                self._is_mute = True
                self._end_if_done()
                return False
        return not self._end

    def give_up(self) -> None:
        """End the connection, and break its streams: the endpoint is lost."""
        self._ended("it does not answer any more")

    def request(
        self,
        place: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        silence: float,
        whole: bool = False,
    ) -> Http2Stream:
        """Send the headers of a request, and return its stream.

        Args:
            place: The URL in error messages.
            method: The method.
            path: The path.
            headers: The headers.
            silence: Seconds of silence after which the stream is given up.
            whole: Whether the request has no body.
        """
        id = self.h2.get_next_available_stream_id()
        pseudo = {":method": method, ":scheme": self._scheme, ":authority": self._authority, ":path": path}
        self.h2.send_headers(id, [*pseudo.items(), *headers.items()], end_stream=whole)
        self.flush()
        self._opened += 1
        stream = self._streams[id] = Http2Stream(self, id, place, silence=silence, sent_all=whole)
        return stream

    def flush(self) -> None:
        """Send what the protocol has to say. It does not wait."""
        if data := self.h2.data_to_send():
            self._writer.write(data)

    async def drain(self) -> None:
        """Send, and wait while the endpoint takes nothing."""
        self.flush()
        await self._writer.drain()

    def forget(self, id: int) -> None:
        """Forget a stream that is over."""
        self._streams.pop(id, None)
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End the connection if it has no streams, and takes no others."""
        if not self._streams and (self._is_mute or self._opened >= STREAMS):
            self._ended("it had its streams")

    async def close(self) -> None:
        """Close the connection."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        why = "it closed the connection"
        try:
            while data := await self._reader.read(READ):
                self._heard_at = self._loop.time()
                if data.startswith(b"HTTP/1") and not self._settled.is_set():
                    self._is_http1 = True
                    break
                for event in self.h2.receive_data(data):
                    self._heard(event)
                self.flush()
        except (OSError, h2.exceptions.H2Error) as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
        finally:
            self._ended(why)

    def _ended(self, why: str) -> None:
        self._end = self._end or why
        self._settled.set()
        self._pong.set()
        with suppress(OSError):
            self.flush()
        self._writer.close()
        for stream in list(self._streams.values()):
            stream.broke(self._end)

    def _heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self._settled.set()
                self._wake()
            case h2.events.PingAckReceived():
                self._is_mute = False
                self._pong.set()
            case h2.events.WindowUpdated(stream_id=0):
                self._wake()
            case h2.events.ConnectionTerminated():
                # h2 hears nothing more of the streams, also of those that the endpoint would still answer.
                self._ended("it ends the connection")
            case h2.events.DataReceived(stream_id=int(id), data=bytes(data), flow_controlled_length=int(length)):
                if length:
                    self.h2.increment_flow_control_window(length)
                if stream := self._streams.get(id):
                    stream.received(data, length)
            case h2.events.ResponseReceived(stream_id=int(id), headers=headers):
                if stream := self._streams.get(id):
                    stream.answered(int(dict(headers)[b":status"]))
            case h2.events.WindowUpdated(stream_id=int(id)):
                if stream := self._streams.get(id):
                    stream.wake()
            case h2.events.StreamEnded(stream_id=int(id)):
                if stream := self._streams.get(id):
                    stream.finished()
            case h2.events.StreamReset(stream_id=int(id), error_code=code):
                if stream := self._streams.get(id):
                    stream.broke(f"it reset the stream, code {code}")
            case _:
                pass

    def _wake(self) -> None:
        for stream in self._streams.values():
            stream.wake()


class Http2Stream(Stream):
    """A request on a connection."""

    def __init__(self, connection: Connection, id: int, place: str, *, silence: float, sent_all: bool) -> None:
        self.quiet, self.silence = QUIET, silence
        self._connection = connection
        self._id = id
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._taken = 0
        """Bytes that were taken since the window was opened."""
        self._held = 0
        """Bytes of the window that what is held takes."""
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._sent_all = sent_all
        self._got_all = self._left = False
        self._broken = ""

    # --- what the connection hears ---

    def answered(self, status: int) -> None:
        """The answer has begun."""
        self.status = status
        self._news.set()

    def received(self, data: bytes, length: int) -> None:
        """Keep bytes of the answer, which take ``length`` of the window."""
        self._held += length
        self._received += data
        self._news.set()
        if self._left:
            self.take()

    def finished(self) -> None:
        """The answer is whole."""
        self._got_all = True
        self._over()

    def broke(self, why: str) -> None:
        """The stream is over before its end."""
        if not self._got_all:
            self._broken = self._broken or why
        self._sent_all = True
        self._over()

    def wake(self) -> None:
        """Go on sending, if there is room in the window."""
        self._room.set()

    def _over(self) -> None:
        self._news.set()
        self._room.set()
        if self._sent_all:
            self._connection.forget(self._id)

    # --- what a conversation does ---

    @property
    def ended(self) -> bool:
        return self._got_all or bool(self._broken)

    @property
    def size(self) -> int:
        return len(self._received)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        left = memoryview(data)
        protocol = self._connection.h2
        try:
            async with asyncio.timeout(TAKES) as limit:
                while left and not self.ended:
                    room = min(protocol.local_flow_control_window(self._id), protocol.max_outbound_frame_size)
                    if room > 0:
                        self._sent_all = last and len(left) <= room
                        protocol.send_data(self._id, bytes(left[:room]), end_stream=self._sent_all)
                        left = left[room:]
                        await self._connection.drain()
                        limit.reschedule(self._loop.time() + TAKES)
                    else:
                        self._room.clear()
                        await self._room.wait()
        except TimeoutError:
            raise self._failed(f"it takes nothing for {TAKES:g} s") from None
        except (OSError, h2.exceptions.H2Error) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error

    def end(self) -> None:
        if self._sent_all or self._broken:
            return
        self._sent_all = True
        with suppress(OSError, h2.exceptions.H2Error):
            self._connection.h2.end_stream(self._id)
            self._connection.flush()
        if self._got_all:
            self._over()

    async def heard(self, seconds: float) -> bool:
        until = self._loop.time() + seconds
        while not (self._received or self.ended):
            left = until - self._loop.time()
            if left <= 0:
                return False
            self._news.clear()
            try:
                async with asyncio.timeout(min(left, ASK)):
                    await self._news.wait()
            except TimeoutError:
                if left > ASK and not await self._connection.is_alive(PONG):
                    self._connection.give_up()
        return True

    def take(self) -> bytes:
        if not self._received and self._broken:
            raise self._failed(self._broken)
        data = bytes(self._received)
        self._received.clear()
        self._taken, self._held = self._taken + self._held, 0
        if self._taken >= WINDOW // 2 and not self.ended:
            with suppress(h2.exceptions.H2Error):
                self._connection.h2.increment_flow_control_window(self._taken, self._id)
                self._connection.flush()
            self._taken = 0
        return data

    def leave(self) -> None:
        self._left = True
        self.end()
        self._loop.call_later(LINGER, self.abort)

    def abort(self) -> None:
        if self._sent_all and self.ended:
            return
        with suppress(OSError, h2.exceptions.H2Error):
            self._connection.h2.reset_stream(self._id, h2.errors.ErrorCodes.CANCEL)
            self._connection.flush()
        self.broke("the request was given up")

    def _failed(self, why: str) -> EndpointError:
        return EndpointError(f"{self._place} does not answer ({why})")
