"""What a player makes of what happens to its invocation, without an engine around it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from adapter.engine import commands as c
from adapter.engine import lifecycle
from adapter.engine.attempt import Attempt
from adapter.engine.deployment import HandlerSpec
from adapter.engine.journal import CANCEL
from adapter.engine.pending import Pending, PendingInvocation
from adapter.engine.process import Process
from adapter.engine.types import CANCELLED, Kind, Outcome, Target
from adapter.restate import messages as m
from adapter.restate.answers import STAMP
from adapter.restate.conversation import Stream
from adapter.restate.player import Player
from adapter.restate.wire import Frame, read_frames, write_frame
from tests.unit.world import ManualClock

TARGET = Target("S", "run")


class Played:
    """An attempt at a handler, whose exchanges end when a test says so; and the way to its endpoint."""

    name = "the endpoint"
    version = 7
    silent = False

    def __init__(self, stream: Stream | None = None) -> None:
        self.duplex = stream is not None
        self._stream = stream
        self.sent: list[list[Frame]] = []
        self.begun: list[Pending[Any]] = []
        clock = ManualClock()
        accepted = lifecycle.accepted(
            "inv_a", TARGET, Kind.SERVICE, now=clock.now(), input=b"1", headers={}, idempotent=False
        )
        meta = lifecycle.begun(accepted, Process(clock).times())
        spec = HandlerSpec("S", "run", Kind.SERVICE, Player(self, "S", "run").play)
        self.attempt = Attempt(self, spec, meta, b"1", (), {}, copy_context())
        self.attempt.run()

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        self.sent.append(read_frames(body))
        return write_frame(Frame(m.SUSPENSION, m.Suspension([1]).encode()))

    async def open(self, service: str, handler: str) -> Stream:
        assert self._stream is not None
        return self._stream

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        self.begun.append(pending)

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        raise AssertionError("there is no earlier attempt")

    def kind_of(self, target: Target) -> Kind:
        return Kind.SERVICE

    def difference(self, attempt: Attempt, pending: Pending[Any]) -> str | None:
        return None

    def cancel(self) -> None:
        self.attempt.deliver(CANCEL, Outcome(failure=CANCELLED))

    def answer(self, *commands: m.Command, awaited: list[int]) -> None:
        """End the exchange under way with an answer that asks for commands and awaits one of these results."""
        frames = [
            *(Frame(m.TYPE_OF[type(command)], command.encode()) for command in commands),
            Frame(m.SUSPENSION, m.Suspension(awaited, [m.CANCEL]).encode()),
        ]
        self.attempt.deliver(self.begun[-1].n, Outcome(bytes(STAMP) + b"".join(map(write_frame, frames))))

    def results(self) -> list[m.Notification]:
        """Begin the exchange that is asked for, and return the results that it sends."""
        run = self.begun[-1].command
        assert isinstance(run, c.Run)
        coroutine: Any = run.closure()
        with suppress(StopIteration):
            coroutine.send(None)
        return [m.Notification.decode(frame.payload) for frame in self.sent[-1] if not _is_command(frame)]


def _is_command(frame: Frame) -> bool:
    return frame.type == m.START or m.is_command(frame.type)


def test_a_cancellation_within_an_exchange_reaches_the_handler() -> None:
    played = Played()

    played.cancel()

    assert not played.attempt.ended
    played.answer(m.Sleep(60_000, 1), awaited=[1])
    assert [(each.signal_index, each.completion_id) for each in played.results()] == [(m.CANCEL, None)]


def test_a_cancellation_that_a_call_does_not_notice_reaches_the_handler() -> None:
    played = Played()
    played.answer(m.Call("S", "other", id_completion_id=1, completion_id=2), awaited=[2])
    [call] = [each for each in played.begun if isinstance(each, PendingInvocation)]

    played.cancel()
    played.attempt.deliver(call.n, Outcome(b'"done"'))

    told, cancelled, result = played.results()
    assert told.invocation_id == call.id
    assert cancelled.signal_index == m.CANCEL
    assert (result.completion_id, result.value, result.failure) == (2, m.Value(b'"done"'), None)


def test_a_cancellation_that_no_call_notices_reaches_the_handler_after_an_exchange() -> None:
    played = Played()
    calls = [m.Call("S", "other", id_completion_id=n, completion_id=n + 1) for n in (1, 3)]
    played.answer(*calls, awaited=[2, 4])
    first, second = [each for each in played.begun if isinstance(each, PendingInvocation)]

    played.cancel()
    played.attempt.deliver(first.n, Outcome(b'"one"'))
    played.results()  # with the result of the first call, an exchange is under way
    played.attempt.deliver(second.n, Outcome(b'"two"'))
    played.answer(m.Sleep(60_000, 5), awaited=[5])

    assert not played.attempt.ended
    signals = [each.signal_index for each in played.results()]
    assert signals.count(m.CANCEL) == 1


class Held(Stream):
    """A stream on which the endpoint says what a test has it say."""

    status = 200
    quiet = 60.0
    ended = False

    def __init__(self) -> None:
        self.said = b""
        self.news = asyncio.Event()

    @property
    def size(self) -> int:
        return len(self.said)

    async def write(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    async def heard(self, seconds: float) -> bool:
        await self.news.wait()
        return True

    def take(self) -> bytes:
        said, self.said = self.said, b""
        return said

    def leave(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True


async def test_an_exchange_on_a_stream_goes_on_while_its_code_is_run_again() -> None:
    stream = Held()
    played = Played(stream)
    run: Any = played.begun[-1].command
    exchange = asyncio.create_task(run.closure())
    await asyncio.sleep(0)

    played.attempt.abandon()

    assert not stream.ended
    stream.said = write_frame(Frame(m.AWAITING_ON, m.AwaitingOn(m.Future([1])).encode()))
    stream.news.set()
    assert (await exchange)[STAMP:] == write_frame(Frame(m.AWAITING_ON, m.AwaitingOn(m.Future([1])).encode()))
    assert stream.ended
