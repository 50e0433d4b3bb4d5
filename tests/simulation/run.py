"""One seed, one simulation."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from adapter.engine.engine import Engine
from tests.simulation import corners, course, edges, leaving, storms
from tests.simulation.checks import check
from tests.simulation.crowds import attached, backlog, beside, crowd, fan_in, held, interrupted, kills, messages, pauses
from tests.simulation.faults import Exchanges, Faults, draw, draw_exchanges
from tests.simulation.generate import generate
from tests.simulation.loop import simulate
from tests.simulation.moments import FAULTS, LAMBDAS, MOMENTS
from tests.simulation.plan import Op, Plan
from tests.simulation.profile import hosted
from tests.simulation.reach import SHARES
from tests.simulation.reach import draw as switches
from tests.simulation.seeding import seeded
from tests.simulation.watch import WatchedStore
from tests.simulation.world import World

LIMITED = ("adapter.engine.", "adapter.local.memory")
"""What the names of modules begin with whose limits a case may change."""

CROWDS = {
    "crowd": crowd,
    "backlog": backlog,
    "fan-in": fan_in,
    "messages": messages,
    "pauses": pauses,
    "kills": kills,
    "interrupted": interrupted,
    "held": held,
    "attached": attached,
    "beside": beside,
    **MOMENTS,
    **corners.CORNERS,
    "leaves": leaving.leaves,
    **storms.PLANS,
}
"""Switches with plans of their own."""


@dataclass(slots=True)
class Case:
    """What a simulation follows from."""

    seed: str
    plan: Plan
    faults: Faults
    lambdas: float
    retention: float = 86_400.0
    part: int = 0
    """Into parts of how many bytes large values are cut, if not as in production."""
    reach: tuple[str, ...] = ()
    """Which switches are on (see `reach.SHARES`)."""
    front: int = 0
    """How many entries of an inbox are read at a time, if not as many as in production."""
    kept: int = 0
    """For how many seconds items are kept if nothing renews them, if not as long as in production."""
    exchanges: Exchanges = field(default_factory=Exchanges)
    """What goes wrong with the exchanges with an SDK's endpoint."""
    hosted: int = 0
    """How many invocations run in a session at most, if not as many as in production."""


@dataclass(slots=True)
class Result:
    """How a simulation went."""

    case: Case
    violations: list[str]
    invocations: int
    requests: int
    history: list[tuple[Any, ...]] = field(default_factory=list)


def case(seed: int, focus: str = "") -> Case:
    """Return the case that a seed stands for.

    Args:
        seed: Which one.
        focus: What there is to be much of (see `generate.generate`), and switches that are to be on (see
            `reach.SHARES`), with ``+`` between them.
    """
    reach = switches(seed, focus)
    focus = next((name for name in focus.split("+") if name not in SHARES), "")
    random = Random(f"{seed}/case")
    extended = bool(focus and focus != "costs") or Random(f"{seed}/extended").random() < 0.6
    faults, lambdas = draw(random), random.choice((0.0, 0.5, 1.0))
    if focus == "costs":
        return Case(str(seed), generate(Random(f"{seed}/plan"), focus=focus), Faults(), 0.0, 86_400.0)
    if focus == "time" or (focus == "trees" and random.random() < 0.4):
        faults, lambdas = Faults(jitter=faults.jitter), 0.0  # so that nothing delays what has a time to come
    smooth = bool({"further", "sdk"}.intersection(reach)) and Random(f"{seed}/smooth").random() < 0.3
    if smooth:  # so that what asks for a time gets it
        faults, lambdas = Faults(jitter=faults.jitter), 0.0
    if focus == "calls":  # each call is one request, and one dispatch
        faults.kill, faults.lost = random.choice((0.0, 0.03, 0.1)), random.choice((0.0, 0.3))
    if "backlog" in reach and Random(f"{seed}/prompt-backlog").random() < 0.5:  # so that nothing but work takes time
        faults, lambdas = Faults(jitter=min(faults.jitter, 0.02)), 1.0
    if "held" in reach and Random(f"{seed}/held-still").random() < 0.5:  # so that they stop before they put a call
        faults, lambdas = Faults(jitter=0.02, apart=0.3), 0.0
    if focus == "steps":
        faults.jitter = 0.0  # so that much ends at one time
    crowds = [name for name in reach if name in CROWDS]
    expiring = bool({"attached", "purges", "reruns"}.intersection(crowds)) or ("expiry" in reach and not crowds)
    plan = generate(Random(f"{seed}/plan"), expiring=expiring, extended=extended, focus=focus, reach=reach)
    for name in crowds:
        plan = CROWDS[name](Random(f"{seed}/plan"))
        if "sdk" in reach:
            plan = replace(plan, hosted=hosted(Random(f"{seed}/hosted"), sorted(plan.functions)))
    if smooth:
        plan = replace(plan, acts=())
    retention = random.choice((0.0, 180.0, 300.0)) if expiring else 86_400.0
    if "attached" in crowds:
        retention, faults = 0.0, Faults(jitter=faults.jitter or 0.2, slow=faults.slow)
    for name in FAULTS.keys() & set(crowds):
        faults, lambdas = replace(FAULTS[name]), LAMBDAS.get(name, 0.0)
    parts = focus == "parts" or (Random(f"{seed}/parts").random() < 0.25 and _largest(plan) <= 20_000)
    if "pauses" in reach and Random(f"{seed}/late").random() < 0.3:
        faults.delayed, faults.lost = 0.3, 0.4  # so that a copy of a write arrives between a resume and its dispatch
    for name, wrong in (corners.FAULTS | leaving.FAULTS | storms.FAULTS).items():
        if name in crowds:
            faults, lambdas = replace(wrong), 0.0
    storms.worsen(seed, faults, reach)
    if "bounds" in reach and _largest(plan) > 20_000:
        reach = tuple(name for name in reach if name != "bounds")
    if "conflicts" in reach:
        faults.conflict = Random(f"{seed}/spans").choice((0.002, 0.01, 0.05))
    front = Random(f"{seed}/front").choice((0, 1, 2, 5)) if "between" not in reach else 5
    kept = Random(f"{seed}/kept").choice((0, 0, 0, 3600)) if "belated" not in reach else 0
    exchanges = draw_exchanges(Random(f"{seed}/exchanges"), smooth=smooth) if "sdk" in reach else Exchanges()
    most = Random(f"{seed}/hosted").choice((0, 0, 1, 5))
    return Case(str(seed), plan, faults, lambdas, retention, 700 if parts else 0, reach, front, kept, exchanges, most)


def _largest(plan: Plan) -> int:
    """The size of the largest value in it."""

    def sizes(ops: tuple[Op, ...]) -> Iterator[int]:
        for op in ops:
            yield max(op.n if op.kind == "set" else 0, op.size)
            for branch in op.branches:
                yield from sizes(branch)

    return max(max(node.pad, *sizes(node.ops), 0) for node in plan.nodes.values())


@contextmanager
def _cut(case: Case, world: World) -> Iterator[None]:
    """Change the limits of the engine to those of the case. If records expire, promises are checked sooner. With
    ``bounds``, values may have 100 KB. With ``small``, commits write few items."""
    part, front, kept = case.part, case.front, case.kept
    limits = {"DUE_SHARDS": 8}  # most requests of an idle sweep would be of empty ones
    if part:
        limits |= {"PART": part, "INLINE": part, "MAX_NOTIFICATION": part // 2}
        limits |= {"MAX_INLINE_JOURNAL": part // 8, "MAX_INLINE_PARTS": 3 * part}
    if front:
        limits["INBOX_PAGE"] = front
    if case.hosted:
        limits["MAX_HOSTED"] = case.hosted
    if kept:
        limits |= {"KEPT": kept * 1000, "RENEWAL": kept * 500}
    if "small" in world.reach:
        limits |= {"MAX_ITEMS": Random(f"{case.seed}/items").choice((3, 4, 6)), "LOOKAHEAD": 4}
    if "bounds" in world.reach:
        limits["MAX_PAYLOAD"] = edges.MOST
    if world.expiring:
        limits |= {"PROMISE_CHECK": 2 * 3600 * 1000, "OPEN_CHECK": 20 * 1000}
    with ExitStack() as undo:
        for module in [
            module
            for name, module in sys.modules.items()
            if name.startswith(("adapter.engine.", "adapter.local.memory"))
        ]:
            for name in limits.keys() & vars(module).keys():
                undo.callback(setattr, module, name, vars(module)[name])
                setattr(module, name, limits[name])
        yield


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from running.

    A process that was killed leaves tasks behind. The collector would close their coroutines at a moment that no seed
    determines, and what these do then may wake other tasks of the same garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
        reach=frozenset(case.reach),
        exchanges=case.exchanges,
    )
    undo = seeded(world)
    try:
        with _cut(case, world), _timed(world), _uncollected():
            simulate(_run(world))
    except Exception as error:
        world.crashed(error)
    finally:
        undo()
    invocations = len(world.store.archive)
    return Result(case, world.violations, invocations, world.store.usage.requests, world.history or [])


def _timed(world: World) -> AbstractContextManager[None]:
    """Have an SDK's endpoint use the simulation's clock, if there is one."""
    if not world.plan.hosted:
        return nullcontext()
    from tests.simulation import sdk  # which needs Restate's SDK

    return sdk.timed(world)


async def _run(world: World) -> None:
    await course.run(world)
    if not world.violations:
        check(world)
