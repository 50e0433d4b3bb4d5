"""The engine in a simulation: its ids follow from the seed, and what it logs is looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from adapter.engine import ids
from adapter.engine.ports import Unavailable
from adapter.errors import RetryableError
from tests.simulation.values import Hiccup

if TYPE_CHECKING:
    from tests.simulation.world import World


class EngineLog(logging.Handler):
    """Takes the engine's log records: an error that nobody meant is a violation."""

    world: World | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.world is None:
            return
        error = record.exc_info[1] if record.exc_info else None
        meant = isinstance(error, Hiccup | RetryableError | Unavailable) or str(error) == Hiccup.__doc__
        aborted = isinstance(error, TimeoutError) and "abort_timeout" in str(error)
        if error is not None and not aborted and not meant:
            self.world.crashed(error, getattr(record, "invocation_id", ""))
        elif error is None and record.levelno >= logging.ERROR and not self._is_reported(record.getMessage()):
            self.world.violation(record.getMessage())

    def _is_reported(self, message: str) -> bool:
        assert self.world is not None
        return message.startswith("deadlock: ") and any(map(self.world.operators.reports, self.world.plan.functions))


LOG = EngineLog()


class Secrets:
    """In place of the module `secrets`: random, but by seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def seeded(world: World) -> Callable[[], None]:
    """Have the engine draw its ids from the world's seed, and log to it. Returns what undoes that."""
    before = vars(ids)["secrets"]
    vars(ids)["secrets"] = Secrets(Random(f"{world.seed}/ids"))
    log = logging.getLogger("adapter")
    level, propagate, old = log.level, log.propagate, log.handlers[:]
    log.handlers[:] = [LOG]
    log.propagate = False
    log.setLevel(logging.WARNING)
    LOG.world = world

    def undo() -> None:
        vars(ids)["secrets"] = before
        LOG.world = None
        log.handlers[:] = old
        log.propagate = propagate
        log.setLevel(level)

    return undo
