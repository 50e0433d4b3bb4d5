"""What a player makes of what happens to its invocation, without an engine around it."""

from __future__ import annotations

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
    duplex = silent = False

    def __init__(self) -> None:
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
        raise AssertionError("it has no streams")

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

    def answer(self, command: m.Command, awaited: int) -> None:
        """End the exchange under way with an answer that asks for a command and awaits its result."""
        frames = [
            Frame(m.TYPE_OF[type(command)], command.encode()),
            Frame(m.SUSPENSION, m.Suspension([awaited], [m.CANCEL]).encode()),
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
    played.answer(m.Sleep(60_000, 1), awaited=1)
    assert [(each.signal_index, each.completion_id) for each in played.results()] == [(m.CANCEL, None)]


def test_a_cancellation_that_a_call_does_not_notice_reaches_the_handler() -> None:
    played = Played()
    played.answer(m.Call("S", "other", id_completion_id=1, completion_id=2), awaited=2)
    [call] = [each for each in played.begun if isinstance(each, PendingInvocation)]

    played.cancel()
    played.attempt.deliver(call.n, Outcome(b'"done"'))

    told, cancelled, result = played.results()
    assert told.invocation_id == call.id
    assert cancelled.signal_index == m.CANCEL
    assert (result.completion_id, result.value, result.failure) == (2, m.Value(b'"done"'), None)
