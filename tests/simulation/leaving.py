"""Clients that leave what is suspended, and ask for its outcome later.

With ``leaving``, half of the clients do that. With ``leaves``, their programs wait for what is known beforehand, so
that the time is known as well that a client waits at most, and at least.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from adapter.engine.records import Status
from adapter.engine.requests import LEAVE_AFTER
from adapter.engine.types import Kind, Outcome, Target
from tests.simulation.crowds import KEY, Crowd
from tests.simulation.faults import Faults
from tests.simulation.plan import Op, Plan, Root

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

WAIT = LEAVE_AFTER / 1000
"""Seconds that such a client waits for what comes from elsewhere."""

SLACK = 0.5
"""Seconds that requests take at most, and by which a process may look late."""

AT_ONCE = 0.1
"""Seconds after which a client is answered whose session suspends the invocation."""

HERE, ELSEWHERE = Target("S0", "do"), Target("S1", "do")


def leaves(random: Random) -> Plan:
    """Return a plan in which clients ask for what sleeps, waits for others, or waits for a key."""
    crowd = Crowd(random, functions=2)
    owner = crowd.node(KEY, Kind.EXCLUSIVE, (Op("sleep", n=20_000),))
    roots = [Root(owner, "send", (0.0,))]
    for _ in range(random.choice((4, 8))):
        long = Op("sleep", n=random.choice((3000, 20_000)))
        beside = Op("invoke", node=crowd.node(HERE, Kind.SERVICE, (long,)), how="caught")
        far = Op("invoke", node=crowd.node(ELSEWHERE, Kind.SERVICE, (long,)), how="caught")
        signal = Op("signal", n=random.choice((300, 5000)), times=1)
        wait = random.choice((long, beside, far, signal, Op("sleep", n=500)))
        before = random.choice(((), (), (Op("step", "a", 1900),)))
        target, kind = random.choice(((HERE, Kind.SERVICE), (HERE, Kind.SERVICE), (KEY, Kind.EXCLUSIVE)))
        node = crowd.node(target, kind, (*before, wait))
        roots.append(Root(node, "call", (random.uniform(1, 3.0),), patience=28.0))
    return crowd.plan(roots)


FAULTS = {"leaves": Faults(jitter=0.002)}
"""What goes wrong in these."""


def is_left(world: World, root: Root, at: float) -> bool:
    """Return True if a client leaves what is suspended."""
    return "leaving" in world.reach and Random(f"{world.seed}/leaving/{root.node}/{at}").random() < 0.5


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a client for an outcome.

    Attributes:
        process: The process that it asks.
        began: When it asks, in seconds.
        until: Until when it waits, in milliseconds since the epoch.
        leave: Whether it leaves what is suspended.
        again: Whether it has asked before.
    """

    world: World
    process: Process
    node: int
    began: float
    until: int
    leave: bool
    again: bool = False

    def check(self, id: str, outcome: Outcome | None, *, accepted: bool = True) -> None:
        """Look at how long it took, and at what the client leaves."""
        world, engine = self.world, self.process.engine
        if "leaving" not in world.reach or not accepted:
            return
        early = engine.process.now() < self.until - 100
        record, waited = world.store._record(id), world.loop.time() - self.began
        if self.leave and outcome is None and early and record is None and not world.forgets(id):
            world.violation(f"{id} is left by its client, and is not stored")
        if "leaves" not in world.reach or world.always_replay or world.faulty:
            return
        if self.leave and waited > (most := self._most()) + SLACK:
            world.violation(f"{id} was waited for {waited} s by a client that leaves it after {most} s")
        if outcome is not None or record is None or not early:
            return
        since, writer = world.clients.changed[id]
        if not self.leave:
            world.violation(f"{id} is {record.status}, and was waited for no longer")
            return
        resting = record.status is Status.SUSPENDED
        if resting and writer == self.process.name and since > self.began:
            if world.loop.time() - since > AT_ONCE:
                world.violation(f"{id} was waited for although it was suspended {world.loop.time() - since} s before")
            elif world.inactivity is None and self._is_held() and waited < WAIT - 0.01:
                world.violation(f"{id} waits for others, and was suspended after {waited} s")
        elif resting and since < self.began and (record.rests_until or 0) - engine.process.now() > LEAVE_AFTER:
            if waited > world.poll / 1000 + AT_ONCE:
                world.violation(f"{id} sleeps, and was left after {waited} s")
        elif not resting and since < self.began and waited < WAIT - 0.01:
            world.violation(f"{id} is {record.status}, and was left after {waited} s")

    def _is_held(self) -> bool:
        """Return True if a session that began with this request waits for what comes from elsewhere, and for nothing
        else."""
        plan = self.world.plan
        node = plan.nodes[self.node]
        last = node.ops[-1]
        own = not self.again and not node.kind.exclusive
        return own and (last.kind == "signal" or (last.kind == "invoke" and plan.nodes[last.node].target == ELSEWHERE))

    def _most(self) -> float:
        """Return the seconds that it waits at most, but for requests."""
        plan = self.world.plan
        node = plan.nodes[self.node]
        far = plan.functions[node.target.service] != self.process.function
        asks = far or self.again or node.kind.exclusive  # at growing intervals, of a second at most
        return asks * 2 * WAIT + sum(self._of(op) for op in node.ops)

    def _of(self, op: Op) -> float:
        plan = self.world.plan
        if op.kind == "invoke":
            near = plan.nodes[op.node].target == HERE
            return sum(self._of(inner) for inner in plan.nodes[op.node].ops) if near else WAIT
        if op.kind == "signal":
            return WAIT
        return op.n / 1000 if op.kind == "step" or op.n <= LEAVE_AFTER else 0.0
