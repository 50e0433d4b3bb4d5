"""One seed, one simulation."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from adapter.engine.engine import Engine
from tests.simulation.checks import check
from tests.simulation.faults import Faults, draw
from tests.simulation.loop import simulate
from tests.simulation.plan import Plan, generate
from tests.simulation.watch import WatchedStore
from tests.simulation.world import World, seeded


@dataclass(slots=True)
class Case:
    """What a simulation follows from."""

    seed: str
    plan: Plan
    faults: Faults
    lambdas: float
    retention: float = 86_400.0


@dataclass(slots=True)
class Result:
    """How a simulation went."""

    case: Case
    violations: list[str]
    invocations: int
    requests: int
    history: list[tuple[Any, ...]] = field(default_factory=list)


def case(seed: int, focus: str = "") -> Case:
    """The case that a seed stands for, perhaps with more of something in it (see `plan.generate`)."""
    random = Random(f"{seed}/case")
    extended = bool(focus and focus != "costs") or Random(f"{seed}/extended").random() < 0.6
    faults, lambdas = draw(random), random.choice((0.0, 0.5, 1.0))
    expiring = random.random() < 0.1
    if focus == "costs":
        return Case(str(seed), generate(Random(f"{seed}/plan"), focus=focus), Faults(), 0.0, 86_400.0)
    if focus == "steps":
        faults.jitter = 0.0  # so that much ends at one time
    plan = generate(Random(f"{seed}/plan"), expiring=expiring, extended=extended, focus=focus)
    return Case(str(seed), plan, faults, lambdas, random.choice((180.0, 300.0)) if expiring else 86_400.0)


def run(
    case: Case,
    *,
    history: bool = False,
    engine: type[Engine] | None = None,
    store: type[WatchedStore] = WatchedStore,
) -> Result:
    """Simulate a case and check it."""
    world = World(
        case.plan,
        case.faults,
        case.seed,
        engine=engine,
        lambdas=case.lambdas,
        retention=case.retention,
        history=[] if history else None,
        store_class=store,
    )
    undo = seeded(world)
    try:
        simulate(_run(world))
    except Exception as error:
        world.crashed(error)
    finally:
        undo()
    invocations = len(world.store.archive)
    return Result(case, world.violations, invocations, world.store.usage.requests, world.history or [])


async def _run(world: World) -> None:
    await world.run()
    if not world.violations:
        check(world)
