"""What one attempt says to its endpoint and hears from it: by requests, or by a stream in both directions.

An exchange is the same in both: the endpoint is told what it does not know, and what it says until it waits is the
answer. A request tells the whole journal. A stream stays open between the exchanges of an attempt. The handler's code
keeps its place meanwhile, so an exchange on an open stream tells only what is new. A stream may end at any time. The
next exchange then opens another stream, and tells the whole journal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from adapter.restate import messages as m
from adapter.restate.answers import MAX_ANSWER, SAYS, EndpointError, read_answer, recorded, refusal, unreadable
from adapter.restate.awaiting import Leaf, leaves, resolved, uncancelled
from adapter.restate.wire import Frame, FrameReader, ProtocolError, write_frame

BUSY: Final = 1.0
"""Seconds of silence after which the input of an endpoint is closed although it runs a step.

An endpoint that is silent may have announced a step that its handler does not await yet, and wait for a result."""

LINGER: Final = 1.0
"""Seconds that a stream gets to end after its last frame."""


class Stream(ABC):
    """A request to an endpoint whose body and answer are under way at the same time."""

    status: int = 0
    """The status of the answer; 0 until it has come."""

    quiet: float
    """Seconds of silence after which an endpoint that runs no step is taken to wait."""

    silence: float
    """Seconds of silence after which a stream is given up."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """True if the endpoint has ended its answer, or the stream is broken."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many bytes there are to take."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send bytes, unless the stream has ended.

        Raises:
            EndpointError: If the endpoint does not take them.
        """

    @abstractmethod
    def end(self) -> None:
        """End what is sent. The endpoint then suspends the invocation as soon as it needs more."""

    @abstractmethod
    async def heard(self, seconds: float) -> bool:
        """Wait until there is something to take, or the stream has ended. Return False if neither comes in time."""

    @abstractmethod
    def take(self) -> bytes:
        """Return what has come.

        Raises:
            EndpointError: If nothing is left to take and the stream is broken.
        """

    @abstractmethod
    def leave(self) -> None:
        """End the stream while the endpoint waits. Nothing of it is read any more."""

    @abstractmethod
    def abort(self) -> None:
        """Break the stream off."""


class Way(Protocol):
    """What a conversation needs of a way to an endpoint."""

    name: str
    version: int
    duplex: bool
    """Whether the endpoint takes streams in both directions."""
    silent: bool
    """Whether the endpoint does not say when it waits. It is then asked to suspend."""

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send an invocation's journal, and return the answer.

        Raises:
            EndpointError: If there is no answer.
        """
        ...

    async def open(self, service: str, handler: str) -> Stream:
        """Open a stream for an invocation.

        Raises:
            EndpointError: If the endpoint cannot be reached.
        """
        ...


class Conversation:
    """The exchanges of one attempt.

    Args:
        way: Reaches the endpoint.
        service: The name of the service.
        handler: The name of the handler.
    """

    def __init__(self, way: Way, service: str, handler: str) -> None:
        self._way = way
        self._service = service
        self._handler = handler
        self._line: _Line | None = None

    @property
    def goes_on(self) -> bool:
        """True if the next exchange continues a stream, so that the endpoint knows what it was told before."""
        return self._line is not None and not self._line.over

    async def exchange(self, start: m.Start, journal: Sequence[Frame], arrived: Mapping[Leaf, bool]) -> bytes:
        """Tell the endpoint what it does not know. Return what it says until it ends or waits, as it is stored.

        Args:
            start: Begins what an endpoint is told that knows nothing.
            journal: The journal so far.
            arrived: The results that are in the journal and cannot come again, and whether they are failures.

        Raises:
            EndpointError: If there is no answer, or not one of the protocol. The stream is then over.
        """
        if not self._way.duplex:
            body = await self._way.exchange(self._service, self._handler, _begun(start, journal))
            answer = read_answer(body)
            if not answer.whole:
                raise unreadable("the endpoint ended too soon")
            return recorded(answer, body)
        if not self.goes_on:
            self.close()
            stream = await self._way.open(self._service, self._handler)
            self._line = _Line(self._way, f"/invoke/{self._service}/{self._handler}", stream)
        assert self._line is not None
        body = await self._line.exchange(start, journal, arrived)
        return recorded(read_answer(body), body)

    def close(self) -> None:
        """End the stream, if there is one. It does not wait."""
        line, self._line = self._line, None
        if line is not None:
            line.leave()


def _begun(start: m.Start, journal: Sequence[Frame]) -> bytes:
    return b"".join(map(write_frame, [Frame(m.START, start.encode()), *journal]))


class _Line:
    """An open stream, and what was said on it."""

    def __init__(self, way: Way, path: str, stream: Stream) -> None:
        self._way = way
        self._place = way.name + path
        self._stream = stream
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()
        """What has come and is not part of an answer yet."""
        self._known = 0
        """How many frames of the journal the endpoint knows."""
        self._runs: set[int] = set()
        """The steps whose results have not come."""
        self._input_open = True
        self._busy = False
        self._left = False
        self._ended = False

    @property
    def over(self) -> bool:
        """True if nothing more can be said, and nothing is left to hear."""
        return self._ended or (self._stream.ended and not self._frames and not self._stream.size)

    async def exchange(self, start: m.Start, journal: Sequence[Frame], arrived: Mapping[Leaf, bool]) -> bytes:
        """Tell what is new, and return the answer."""
        self._busy = True
        try:
            answer = await self._exchange(start, journal, arrived)
        except ProtocolError as error:
            self._abort()
            raise unreadable(str(error)) from None
        except BaseException:
            self._abort()
            raise
        self._busy = False
        if self._left:
            self.leave()
        return answer

    def leave(self) -> None:
        """End the stream, once the exchange under way has its answer: the player may be run again, and take that."""
        if self._busy:
            self._left = True
        elif not self._ended:
            self._ended = True
            self._stream.leave()

    def _abort(self) -> None:
        self._ended = True
        self._stream.abort()

    async def _exchange(self, start: m.Start, journal: Sequence[Frame], arrived: Mapping[Leaf, bool]) -> bytes:
        begins = not self._known
        if begins:
            data = _begun(start, journal)
        else:
            if self._stream.size:
                self._listen()
            # What the endpoint awaits before it hears the results says nothing about what it awaits then.
            self._frames = deque(frame for frame in self._frames if frame.type != m.AWAITING_ON)
            data = b"".join(write_frame(told) for frame in journal[self._known :] if (told := self._told(frame)))
        self._known = len(journal)
        await self._stream.write(data)
        return await self._answer(arrived, reacts=begins)

    def _told(self, frame: Frame) -> Frame | None:
        """Return what tells the endpoint a frame of the journal; ``None`` if the endpoint wrote it."""
        if m.is_command(frame.type):
            return None
        if frame.type == m.result_type(m.Run) and self._way.version >= m.ACKS_FROM:
            return Frame(m.RUN_ACK, m.RunAck(m.Notification.decode(frame.payload).completion_id).encode())
        return frame

    async def _answer(self, arrived: Mapping[Leaf, bool], *, reacts: bool) -> bytes:
        """Return what the endpoint says until it ends, or until something could be told that it goes on with.

        Args:
            arrived: The results that it was told.
            reacts: True if all that it says is said after it heard them.
        """
        said = bytearray()
        before = len(self._frames)
        results = dict(arrived)
        ran = executes = False
        awaited: m.Future | None = None
        while True:
            frame = await self._next(executes)
            before -= 1
            if frame.type == m.AWAITING_ON:
                if not self._input_open:
                    continue
                awaited = uncancelled(m.AwaitingOn.decode(frame.payload).future)
                executes = not self._runs.isdisjoint(leaves(awaited))
                if resolved(awaited, results):
                    if not ran:
                        continue  # it is said before the endpoint heard them
                elif executes:
                    continue
                elif not reacts:
                    self._end_input()  # it is said before or after the endpoint heard them
                    continue
                self._way.silent = False
                return bytes(said) + write_frame(frame)
            said += write_frame(frame)
            if len(said) > MAX_ANSWER:
                raise EndpointError(f"{self._place} answers with more than {MAX_ANSWER} bytes")
            reacts = reacts or before < 0
            if frame.type in m.ENDS:
                await self._finish()
                return bytes(said)
            if frame.type == m.PROPOSE_RUN:
                proposed = m.ProposeRun.decode(frame.payload)
                n = proposed.completion_id or 0
                self._runs.discard(n)
                results[n], ran = proposed.failure is not None, True
                goes_on = not self._runs or (awaited is not None and resolved(awaited, results))
                if self._input_open and goes_on:
                    return bytes(said)
            elif m.TYPES.get(frame.type) is m.Run:
                self._runs.add(m.Run.decode(frame.payload).completion_id or 0)
            elif self._tells_nothing and frame.type in m.ANSWERED:
                self._end_input()  # it needs the result next, in all likelihood

    @property
    def _tells_nothing(self) -> bool:
        return self._way.silent or self._way.version < m.ACKS_FROM

    async def _next(self, executes: bool) -> Frame:
        """Return the next frame. Close the input of an endpoint that is silent, unless it says that it executes."""
        while not self._frames:
            patience = self._stream.quiet
            if executes or not self._input_open:
                patience = self._stream.silence
            elif self._runs:
                patience = BUSY
            if await self._stream.heard(patience):
                await self._check_status()
                self._listen()
                if not self._frames and self._stream.ended:
                    self._reader.close()
                    raise ProtocolError("the endpoint ended too soon")
            elif self._input_open and not executes:
                self._way.silent = self._way.silent or not self._runs
                self._end_input()
            else:
                raise EndpointError(f"{self._place} does not answer (silent for {patience:g} s)")
        return self._frames.popleft()

    def _listen(self) -> None:
        """Take the frames that have come."""
        self._frames.extend(self._reader.feed(self._stream.take()))

    def _end_input(self) -> None:
        if self._input_open:
            self._input_open = False
            self._stream.end()

    async def _check_status(self) -> None:
        if self._stream.status in (0, 200):
            return
        self._end_input()
        page = b""
        with suppress(EndpointError):
            while await self._stream.heard(LINGER) and (more := self._stream.take()) and len(page) < SAYS:
                page += more
        raise refusal(self._place, self._stream.status, page)

    async def _finish(self) -> None:
        """Let the stream end after its last frame."""
        self._ended = True
        self._end_input()
        with suppress(EndpointError):
            while not self._stream.ended and await self._stream.heard(LINGER):
                self._listen()
        self._stream.abort()
        if self._frames:
            raise ProtocolError(f"a frame of type {self._frames[0].type:#06x} follows the end")
