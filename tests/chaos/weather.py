"""What goes wrong, and how often: a plan for the proxy that depends on a seed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from tests.chaos.watch import Watch
from tests.faults.aws import (
    Exchange,
    Fault,
    Request,
    belated,
    cut,
    doubled,
    dropped,
    in_conflict,
    killed_after,
    killed_before,
    slow,
    throttled,
    unanswered,
    unheard,
)

READS = {"throttled": 0.02, "slow": 0.02, "cut": 0.005, "unanswered": 0.002}
WRITES = {
    "throttled": 0.02, "in conflict": 0.02, "slow": 0.02, "unheard": 0.01, "cut": 0.005, "unanswered": 0.004,
    "belated": 0.004,
}  # fmt: skip
INVOKES = {"throttled": 0.02, "slow": 0.02, "dropped": 0.06, "doubled": 0.1}
SCHEDULES = {"throttled": 0.05, "slow": 0.05, "dropped": 0.15, "doubled": 0.15}
ODDS = {
    **dict.fromkeys(("GetItem", "Query", "BatchGetItem"), READS),
    **dict.fromkeys(("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"), WRITES),
    "Invoke": INVOKES,
    "CreateSchedule": SCHEDULES,
    "SendMessage": SCHEDULES,
}
"""How likely it is that something happens to a request, by operation."""

FAULTS = {
    "throttled": throttled,
    "in conflict": in_conflict,
    "unheard": unheard,
    "cut": cut,
    "unanswered": unanswered,
    "belated": belated,
    "doubled": doubled,
}

SLOW = (0.05, 1.5)
"""Seconds that an answer may take."""

KILLS = (3.0, 9.0)
"""Seconds between two kills."""

STORMS = (20.0, 40.0)
"""Seconds between two storms, in which DynamoDB refuses half of what it is asked."""

STORM = (1.0, 3.0)
"""Seconds that a storm takes."""


class Weather:
    """The plan.

    Args:
        random: Decides.
        watch: Is told what was killed and dropped.

    Attributes:
        faults: How often what happened.
    """

    def __init__(self, random: Random, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        self.faults: Counter[str] = Counter()
        self._random = random
        self._watch = watch
        self._clock = clock
        self._lock = threading.Lock()
        now = clock()
        self._kill = now + random.uniform(*KILLS)
        self._storm = now + random.uniform(*STORMS)
        self._calm = self._storm + random.uniform(*STORM)

    def __call__(self, request: Request) -> Fault | None:
        with self._lock:
            name = self._pick(request)
            if name is None:
                return None
            if name == "slow":
                fault = slow(self._random.uniform(*SLOW))
            elif name == "killed":
                fault = self._killing(self._random.choice((killed_before, killed_after)))
            elif name == "dropped":
                fault = self._dropping
            else:
                fault = FAULTS[name]
            kind = {"Invoke": "invoke", "CreateSchedule": "schedule", "SendMessage": "message"}.get(
                request.operation, "request"
            )
            self.faults["worker killed" if name == "killed" else f"{kind} {name}"] += 1
            return fault

    def _pick(self, request: Request) -> str | None:
        now = self._clock()
        odds = ODDS.get(request.operation, {})
        # Around a read it would be as before it; and not at the first request then, which is mostly an attempt's first.
        if now >= self._kill and odds is not READS and request.process.pid and self._random.random() < 0.2:
            self._kill = now + self._random.uniform(*KILLS)
            return "killed"
        if now >= self._calm:
            self._storm = now + self._random.uniform(*STORMS)
            self._calm = self._storm + self._random.uniform(*STORM)
        if now >= self._storm and odds in (READS, WRITES) and self._random.random() < 0.5:
            return "throttled"
        chance = self._random.random()
        for name, share in odds.items():
            chance -= share
            if chance < 0:
                return name
        return None

    def _killing(self, fault: Fault) -> Fault:
        def kill(exchange: Exchange) -> None:
            fault(exchange)
            self._watch.killed(exchange.request.process)

        return kill

    def _dropping(self, exchange: Exchange) -> None:
        self._watch.dropped(exchange.request)
        dropped(exchange)
