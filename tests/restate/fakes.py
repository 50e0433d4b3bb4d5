"""Endpoints that say what a test has them say, on streams in both directions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from adapter.restate import messages as m
from adapter.restate.wire import Frame, FrameReader, write_frame
from tests.restate.hosting import Watched

MANIFEST: dict[str, Any] = {
    "minProtocolVersion": 5,
    "maxProtocolVersion": 7,
    "protocolMode": "BIDI_STREAM",
    "services": [
        {
            "name": "Fake",
            "ty": "SERVICE",
            "handlers": [{"name": "run"}],
            "retryPolicyInitialInterval": 10,
            "retryPolicyMaxInterval": 10,
            "retryPolicyMaxAttempts": 5,
            "retryPolicyOnMaxAttempts": "KILL",
        }
    ],
}


def frame(message: m.Message, type: int | None = None) -> bytes:
    """Return a message as a frame."""
    kinds = {m.Suspension: m.SUSPENSION, m.Error: m.ERROR, m.ProposeRun: m.PROPOSE_RUN, m.AwaitingOn: m.AWAITING_ON}
    commands: Any = m.TYPE_OF
    return write_frame(Frame(type or kinds.get(type_of(message)) or commands[type_of(message)], message.encode()))


def type_of(message: m.Message) -> Any:
    return type(message)


def run(n: int) -> bytes:
    return frame(m.Run(n))


def ran(n: int, value: bytes = b"1") -> bytes:
    return frame(m.ProposeRun(n, value=value))


def awaiting(*completions: int, combinator: int = m.FIRST_COMPLETED, **more: Any) -> bytes:
    return frame(m.AwaitingOn(m.Future(list(completions), combinator=combinator, **more)))


def suspension(*completions: int, **more: Any) -> bytes:
    return frame(m.Suspension(awaiting_on=m.Future(list(completions), combinator=m.FIRST_COMPLETED, **more)))


def done(value: bytes = b'"done"') -> bytes:
    return frame(m.OutputCommand(value=m.Value(value))) + write_frame(Frame(m.END, b""))


class Peer(Protocol):
    """The endpoint's side of a stream."""

    async def receive(self) -> bytes:
        """Return what has come; nothing when the input has ended."""
        ...

    async def say(self, *said: bytes) -> None:
        """Send frames."""
        ...


class Told:
    """Reads what an endpoint is told."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self.ended = False

    async def next(self) -> Frame | None:
        """Return the next frame; ``None`` when the input has ended."""
        while not self._frames and not self.ended:
            data = await self._peer.receive()
            self.ended = not data
            self._frames += self._reader.feed(data)
        return self._frames.pop(0) if self._frames else None

    async def start(self) -> tuple[m.Start, list[Frame]]:
        """Return how the invocation begins, and the journal."""
        first = await self.next()
        assert first is not None
        start = m.Start.decode(first.payload)
        journal = [await self.next() for _ in range(start.known_entries or 0)]
        return start, [each for each in journal if each is not None]


Script = Callable[[Any, Told], Awaitable[None]]
"""What an endpoint does in one invocation: it is given its side of the stream, and what it is told."""


class Scripts:
    """Scripts for the invocations of an endpoint, in order; the last one stays."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self._scripts = list(scripts)
        self.invocations = 0
        self.failed: BaseException | None = None

    async def play(self, peer: Any) -> None:
        script = self._scripts[min(self.invocations, len(self._scripts) - 1)]
        self.invocations += 1
        try:
            await script(peer, Told(peer))
        except AssertionError as error:
            self.failed = self.failed or error
            raise


class _AppPeer:
    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._began = False

    async def receive(self) -> bytes:
        event = await self._receive()
        return bytes(event.get("body", b""))

    async def say(self, *said: bytes, status: int = 200) -> None:
        if not self._began:
            self._began = True
            await self._send({"type": "http.response.start", "status": status, "headers": []})
        await self._send({"type": "http.response.body", "body": b"".join(said), "more_body": True})


class FakeApp(Watched):
    """An app in this process that plays scripts."""

    def __init__(self, *scripts: Script, version: int = 7, tells: bool = True, **options: Any) -> None:
        super().__init__(self._serve, version=version)
        self._manifest = json.dumps(MANIFEST | options).encode()
        self.silent = not tells
        self.scripts = Scripts(scripts)
        self.cancelled = 0

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        peer = _AppPeer(receive, send)
        if scope["path"] == "/discover":
            await peer.say(self._manifest)
            return
        try:
            await self.scripts.play(peer)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    @property
    def running(self) -> int:
        """How many streams are open."""
        return len(self._running)
