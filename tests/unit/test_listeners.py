"""Clients of one process that wait for one invocation."""

from __future__ import annotations

from contextlib import ExitStack

from adapter.engine.listeners import Listener, Listeners
from adapter.engine.requests import Patience
from adapter.engine.types import Outcome
from tests.pace import answers_within_a_second


def waiting(listeners: Listeners, stack: ExitStack, clients: int) -> list[Listener]:
    return [stack.enter_context(listeners.listen("inv_1", Patience(1000))) for _ in range(clients)]


async def test_all_that_wait_are_told_once() -> None:
    listeners = Listeners()
    with ExitStack() as stack:
        first, gone, last = waiting(listeners, stack, 3)
        gone.future.cancel()
        listeners.complete("inv_1", Outcome(b"1"))
        listeners.complete("inv_1", Outcome(b"2"))
        assert (first.future.result(), last.future.result()) == (Outcome(b"1"), Outcome(b"1"))
        assert [id in listeners for id in ("inv_1", "inv_2")] == [True, False]
    assert "inv_1" not in listeners


async def test_each_of_forty_thousand_costs_what_one_does() -> None:
    def come_and_go() -> None:
        with ExitStack() as stack:
            waiting(Listeners(), stack, 40_000)

    answers_within_a_second(come_and_go)
