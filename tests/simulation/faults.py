"""What may go wrong, how often, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random


@dataclass(slots=True)
class Faults:
    """Probabilities, but for what says seconds. All zero is a world without faults."""

    kill: float = 0.0
    """That a process dies around a request."""
    pause: float = 0.0
    """That it stops there for a while, and goes on as if nothing had been."""
    apart: float = 0.0
    """That it stops before it puts the record of a call that is not part of its caller's commit."""
    refused: float = 0.0
    """That a request fails and has no effect."""
    unheard: float = 0.0
    """That it has its effect, and its answer is lost."""
    delayed: float = 0.0
    """That it is taken for lost, and has its effect later."""
    slow: float = 0.0
    """That it takes long."""
    lagging: float = 0.0
    """That the answer to a read of a record takes 4 seconds, in a process that runs the invocation."""
    lost: float = 0.0
    """That a dispatch or a timer gets lost."""
    doubled: float = 0.0
    """That it comes twice."""
    anew: float = 0.0
    """That the first dispatch of an invocation comes three times."""
    late: float = 0.0
    """That it comes late."""
    early: float = 0.0
    """That a timer comes early."""
    impatient: float = 0.0
    """That a client gives up."""
    skew: float = 0.0
    """By how many seconds clocks are off at most."""
    jitter: float = 0.0
    """Seconds that an ordinary request takes at most."""
    conflict: float = 0.0
    """Seconds that a transaction takes at most; what meets it on an item is refused. With 0 nothing meets it."""

    def without(self, name: str) -> Faults:
        """The same, but for one."""
        return Faults(
            **{field.name: 0.0 if field.name == name else getattr(self, field.name) for field in fields(self)}
        )

    def names(self) -> list[str]:
        """Those that happen."""
        return [field.name for field in fields(self) if getattr(self, field.name)]


CALM = Faults(jitter=0.002)


def draw(random: Random) -> Faults:
    """Some of the faults, each rare or frequent."""
    faults = Faults(jitter=random.choice((0.0, 0.002, 0.02, 0.2)))
    if random.random() < 0.2:
        return faults
    for name, most in (
        ("kill", 0.04), ("pause", 0.03), ("refused", 0.1), ("unheard", 0.2), ("delayed", 0.05), ("slow", 0.05),
        ("lost", 0.4), ("doubled", 0.4), ("late", 0.4), ("early", 0.5), ("impatient", 0.3),
    ):  # fmt: skip
        if random.random() < 0.5:
            setattr(faults, name, most * random.choice((0.05, 0.3, 1.0)))
    faults.skew = random.choice((0.0, 0.0, 0.2, 0.95))
    return faults


@dataclass(slots=True)
class Exchanges:
    """How likely it is that an exchange with an SDK's endpoint goes wrong."""

    refused: float = 0.0
    """That the endpoint is not there."""
    unheard: float = 0.0
    """That the handler runs, and the answer is lost."""
    slow: float = 0.0
    """That a message takes long."""
    error: float = 0.0
    """That the handler reports an error in the middle."""
    pause: float = 0.0
    """That this error asks for a pause."""


def draw_exchanges(random: Random, *, smooth: bool = False) -> Exchanges:
    """Some of the faults of exchanges, each rare or frequent; if all goes smoothly, only what handlers ask for."""
    exchanges = Exchanges()
    if random.random() < 0.3:
        return exchanges
    if smooth:
        return random.choice((exchanges, Exchanges(error=0.3, pause=0.3)))
    for name, most in (("refused", 0.2), ("unheard", 0.3), ("slow", 0.2), ("error", 0.3), ("pause", 0.5)):
        if random.random() < 0.6:
            setattr(exchanges, name, most * random.choice((0.1, 0.5, 1.0)))
    return exchanges
