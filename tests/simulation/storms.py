"""Faults that last: processes that stand still for minutes, and requests and messages that take that long.

Each is a switch that makes the faults of any plan worse, also of those that have few of their own.

- ``stills``: Processes stand still often, around any request, for up to seven minutes.
- ``tardy``: Writes that were taken for lost are applied up to 280 seconds later. AWS refuses them after five minutes.
- ``pages``: A query reads a few items at a time, and others write in between.
- ``rough``: Processes end, and answers and messages get lost or come again, in plans that are made for other faults.
- ``belated``: Dispatches and timers come again up to an hour later.

Two more are plans: ``reruns`` of workflows, and ``moves`` to other deployments.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from adapter.engine.types import Kind, Target
from tests.simulation.crowds import Crowd
from tests.simulation.faults import Faults
from tests.simulation.plan import Act, Op, Plan, Root

if TYPE_CHECKING:
    from adapter.engine.records import Meta
    from tests.simulation.world import World

PAUSES = (1.0, 5.0, 20.0, 70.0, 150.0, 400.0)
"""For how many seconds a process stands still."""

DELAYS = (0.5, 3.0, 20.0, 70.0, 150.0, 280.0)
"""After how many seconds a write is applied that was taken for lost."""

WAITS = (60.0, 600.0, 4000.0)
"""After how many seconds a message comes."""

UNDER_WAY = 900_000
"""Milliseconds for which a record stays at least after its completion, with ``stills`` or ``tardy``."""


def worsen(seed: int, faults: Faults, reach: Collection[str]) -> None:
    """Make the faults of a case worse, as its switches say."""
    random = Random(f"{seed}/storms")
    if "stills" in reach:
        faults.pause = random.choice((0.01, 0.03, 0.1))
    if "tardy" in reach and "moves" not in reach:
        faults.delayed = random.choice((0.02, 0.1, 0.3))
    if "rough" in reach:
        for name, most in (("kill", 0.03), ("unheard", 0.2), ("lost", 0.3), ("doubled", 0.3), ("late", 0.3)):
            setattr(faults, name, most * random.choice((0.1, 0.3, 1.0)))
    if "belated" in reach:
        faults.doubled = random.choice((0.1, 0.5))


def page(world: World, limit: int | None) -> int:
    """Return how many bytes a query reads at a time. A few small items are always read at once."""
    pages = "pages" in world.reach and limit is None
    return Random(f"{world.seed}/pages").choice((1, 300, 1000)) if pages else 1024 * 1024


def reruns(random: Random) -> Plan:
    """Return a plan in which workflows are purged or expire, and run again under their ids.

    They wait for promises. Shared handlers and callers ask for them meanwhile.
    """
    crowd = Crowd(random)
    roots: list[Root] = []
    acts: list[Act] = []
    for number in range(random.choice((1, 2, 3))):
        run = Target(f"W{random.randrange(crowd.functions)}", "run", f"w{number}")
        look = replace(run, handler="look")
        write = Op("set", "a", random.choice((0, 10, 20_000)))
        teller = crowd.node(look, Kind.SHARED, (Op("tell", times=random.choice((1, 2))),))
        wait = random.choice(
            (
                Op("promise", n=random.choice((10, 3000)), times=random.choice((1, 2))),
                Op("promise", node=teller),
                Op("sleep", n=random.choice((20, 3000))),
                Op("step", "a", 5),
            )
        )
        node = crowd.node(run, Kind.WORKFLOW, (write, wait, Op("get", "a")))
        times = sorted(random.uniform(0, 600.0) for _ in range(random.choice((4, 8, 16))))
        roots.append(Root(node, random.choice(("call", "send")), tuple(times), patience=28.0))
        for at in random.sample(times, 3):
            reads = crowd.node(look, Kind.SHARED, (Op("get", "a"),))
            roots.append(Root(reads, random.choice(("call", "send")), (at + random.uniform(0, 5),)))
            attach = Op("invoke", node=node, how="join")  # a call of one that has run fails
            roots.append(Root(crowd.node(crowd.elsewhere(), Kind.SERVICE, (attach,)), "send", (at,)))
        acts += [Act("purge", node, max(0.0, at - random.choice((0.0, 0.1, 5.0)))) for at in random.sample(times, 3)]
    return replace(crowd.plan(roots), acts=tuple(acts))


def moves(random: Random) -> Plan:
    """Return a plan in which operators move what is suspended to one deployment after another. Writes are late."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    acts: list[Act] = []
    deploys = tuple((0, at) for at in (300.0, 320.0, 340.0, 360.0))  # nothing of what was before is late then
    for _ in range(random.choice((2, 4, 8))):
        sleep = Op("sleep", n=random.choice((340_400, 450_000)))
        node = crowd.node(Target("S0", "do"), Kind.SERVICE, (Op("step", "a", 5), sleep, Op("step", "b", 5)))
        roots.append(Root(node, "send", (random.uniform(0, 0.5),)))
        acts += [Act("move", node, at + random.uniform(0.1, 0.9)) for _, at in deploys]
    return replace(crowd.plan(roots), acts=tuple(acts), deploys=deploys)


def check_move(world: World, old: Meta, new: Meta) -> None:
    """A record changes. What has begun and was moved to a later deployment does not go back."""
    if "moves" not in world.reach or not old.epoch:
        return
    number = len(world.functions.replaced)
    before, after = (world.functions.replaced.get(meta.deployment, number) for meta in (old, new))
    if after < before:
        world.violation(f"{new.id} was moved to {old.deployment}, and goes back to {new.deployment}")


PLANS = {"moves": moves, "reruns": reruns}
"""Switches with plans of their own."""

FAULTS = {
    "moves": Faults(jitter=0.02, delayed=0.3),
    "reruns": Faults(jitter=0.02, slow=0.02, kill=0.005, pause=0.01),
}
"""What goes wrong in each of them."""
