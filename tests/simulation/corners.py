"""Plans that bring sessions to rare decisions.

In each of them a few things go wrong often, and nothing else does, so that a wait for nothing is seen as one.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from adapter.engine.types import Kind, Target
from tests.simulation.crowds import KEY, Crowd
from tests.simulation.faults import Faults
from tests.simulation.plan import Op, Plan, Root

SERVICE = Target("S0", "do")


def twice(random: Random) -> Plan:
    """Return a plan in which sessions hand over a key, and send by its idempotency key what already waits for it."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((1, 2, 4))):
        key = replace(KEY, key=f"k{number}")
        short, at = Op("add", "total", 1), random.uniform(0, 0.2)
        again = crowd.node(key, Kind.EXCLUSIVE, (short,), idempotency=f"i{number}")
        first = crowd.node(key, Kind.EXCLUSIVE, (Op("step", "a", 500), short))
        send = Op("invoke", node=again, how="send")
        behind = crowd.node(key, Kind.EXCLUSIVE, random.choice(((short, send), (send, short))))
        roots.append(Root(first, "send", (at,)))
        roots.append(Root(behind, "send", (at + random.uniform(0.15, 0.2),)))
        roots.append(Root(again, random.choice(("send", "call")), (at + random.uniform(0.2, 0.4),), patience=28.0))
    return crowd.plan(roots)


def stale(random: Random) -> Plan:
    """Return a plan in which a process still begins an attempt when another one has suspended the invocation.

    That process is the one that is to resume the invocation then. No client waits for these invocations, which would
    ask again and again.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        tells = Op("sleep", n=random.choice((100, 500, 1500))), Op("tell", times=1)
        signal = Op("signal", node=crowd.node(SERVICE, Kind.SERVICE, tells))
        called = crowd.node(replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE, (signal,))
        sender = crowd.node(SERVICE, Kind.SERVICE, (Op("invoke", node=called, how="send"),))
        roots.append(Root(sender, "send", (random.uniform(0, 5.0),)))
    return crowd.plan(roots)


CORNERS = {
    "stale": stale,
    "twice": twice,
}
"""The switches of these."""

FAULTS = {
    "stale": Faults(jitter=0.02, anew=1.0, lagging=0.5),
    "twice": Faults(jitter=0.02),
}
"""What goes wrong in each of them."""
