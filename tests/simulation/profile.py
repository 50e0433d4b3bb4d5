"""What a plan has much of, and what little: drawn once, before its programs are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.simulation import edges
from tests.simulation.plan import Limit

ALONE = {"get", "set", "add", "append", "clear", "now", "draw", "raise", "step", "sleep", "call", "send", "gather"}
"""What a program is made of that nobody disturbs, and whose costs are known."""

FOCUSES = ("operators", "results", "steps", "rings", "large", "parts", "trees", "time", "calls", "costs")
"""What there can be much of in a plan: see `generate`."""


def hosted(random: Random, services: Sequence[str]) -> tuple[str, ...]:
    """Draw the services whose handlers are written with Restate's SDK."""
    share = random.choice((0.3, 0.7, 1.0))
    return tuple(service for service in services if random.random() < share)


class Profile:
    """What a plan has much of, and what little."""

    def __init__(
        self, random: Random, expiring: bool, extended: bool, focus: str = "", reach: Sequence[str] = ()
    ) -> None:
        self.reach = reach
        self.random = random
        self.expiring = expiring
        self.extended = extended
        self.alone = focus == "costs"
        self.functions_count = 1 if self.alone else random.choice((1, 1, 2, 2, 2, 3))
        self.far = focus == "calls"
        """Whether most programs call services in other functions, one at a time."""
        if self.far:
            self.functions_count = 3
        self.functions: dict[str, int] = {}
        for number in range(self.functions_count):
            for letter in "SOW":
                self.functions[f"{letter}{number}"] = number
        objects = [(f"O{number}", f"k{k}") for number in range(self.functions_count) for k in range(3)]
        random.shuffle(objects)
        self.keys = objects[: random.choice((1, 2, 3, 4, 6))]
        self.count = random.choice((10, 20, 40, 60, 90)) if "wide" not in reach else 120
        """How many programs there are about."""
        self.length = random.choice((2, 3, 4, 6))
        """How many operations a program has at most."""
        self.weights: dict[str, float] = {
            "get": 2.0, "set": 2.0, "add": 2.0, "append": 2.0, "clear": 0.5, "clear-all": 0.2, "keys": 0.6,
            "ahead": random.choice((0, 0.5)),
            "step": random.choice((0, 1, 3)), "sleep": random.choice((0, 1, 2)), "now": 0.3, "draw": 0.3,
            "call": random.choice((1, 3, 6)), "send": random.choice((0, 1, 4)), "join": random.choice((0, 0.5)),
            "forget": random.choice((0, 0.3)), "idempotent": random.choice((0, 0.5, 2)),
            "gather": random.choice((0, 1, 2)),
            "race": random.choice((0, 0, 1)), "raise": random.choice((0, 0.2)), "flaky": random.choice((0, 0.3, 1)),
            "burst": random.choice((0, 0, 0.5)), "fan": random.choice((0, 0.3)),
            "stubborn": random.choice((0, 0.3)), "stray": random.choice((0, 0.3)),
            "deadline": random.choice((0, 0.3)),
        }  # fmt: skip
        if extended:
            for name, most in (
                ("awakeable", 1.0), ("signal", 1.0), ("promise", 4.0), ("cancelled", 1.0), ("glance", 0.5),
                ("select", 1.0), ("completed", 0.5), ("timeout", 1.0), ("all", 0.5), ("outwait", 10.0),
            ):  # fmt: skip
                self.weights[name] = most * random.choice((0, 0.3, 1.0))
        self.outwaits = expiring and extended
        """Whether handlers wait for promises that nobody keeps: what they wait for ends when a workflow expires."""
        self.acts = random.choice((0.0, 0.2, 0.5, 0.8)) if extended else 0.0
        """How often an operator does something to a client's request."""
        self.limits: dict[str, Limit] = {}
        for service in sorted(self.functions) if extended and random.random() < 0.5 else ():
            if random.random() < 0.4:
                self.limits[service] = Limit(random.choice((1, 2, 4)), random.choice(("kill", "pause")))
        self.tangled = (extended and random.random() < 0.15) or focus == "rings"
        if focus == "operators":
            self.acts = 0.8
        if focus == "trees":
            self.acts, self.limits = 0.8, {}
            self.weights |= {"call": 6.0, "sleep": 2.0}
        if focus == "rings":
            self.weights |= {"call": 6.0, "select": 8.0, "join": 4.0, "send": 4.0}
        if focus == "time":
            self.acts = 0.0
            self.weights |= {"timeout": 4.0, "deadline": 4.0, "sleep": 2.0}
        if focus == "results":
            self.weights |= {"awakeable": 3.0, "signal": 6.0, "promise": 3.0}
        if focus == "steps":
            self.weights |= {"step": 6.0, "gather": 4.0, "race": 4.0}
        if self.far:
            self.acts = random.choice((0.0, 0.5, 0.8))
            self.weights = {name: 0.1 * weight for name, weight in self.weights.items()} | {"call": 3.0, "sleep": 0.2}
        if "further" in reach:
            self.acts = max(self.acts, 0.5)
        if self.alone:
            self.weights = {name: weight if name in ALONE else 0.0 for name, weight in self.weights.items()}
        self.trees = focus == "trees"
        self.long = random.random() < 0.3 or self.trees
        """Whether some waits are too long to be waited out."""
        self.large = (random.random() < 0.2 and not self.alone) or focus == "parts"
        """Whether some values are too large for the records that they belong to."""
        self.often = 0.6 if focus == "parts" else 0.3
        self.huge = (random.random() < 0.02 and not self.alone) or focus == "large"
        """Whether some are too large for an item."""
        self.edges = [name for name in edges.EDGES if name in reach and not (self.huge and name == "bounds")]
        if self.large:  # then what is asked for has to be fetched
            self.weights["ahead"] *= 4
        if focus == "parts":
            self.weights["ahead"] = 12.0
        if self.huge:
            self.weights["set"] = 10.0
        self.hosted: tuple[str, ...] = ()
        if "sdk" in reach:
            self.hosted = hosted(random, sorted(self.functions))
            self.weights["tree"] = random.choice((0, 0.5, 2))

    def lowest(self) -> int:
        """The lowest key that a message may want."""
        return len(self.keys) if self.alone else 0

    def wait(self) -> int:
        waits = (1, 20, 200, 1500, 3000, 20_000, 90_000)
        return self.random.choice(waits if self.long else waits[:4])

    def size(self) -> int:
        if self.huge and self.random.random() < 0.15:
            return int(self.random.choice((300_000, 400_000, 800_000)))
        if self.large and self.random.random() < self.often:
            return int(self.random.choice((900, 1200, 3000, 5000, 20_000)))
        return 0
