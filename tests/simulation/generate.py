"""Random plans: what clients ask for, what operators do, and when there is new code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from adapter.engine.types import Kind
from tests.simulation import edits
from tests.simulation.composer import Composer
from tests.simulation.plan import Act, Plan, Root
from tests.simulation.profile import Profile


def generate(
    random: Random, expiring: bool = False, extended: bool = False, focus: str = "", reach: Sequence[str] = ()
) -> Plan:
    """A random plan.

    Args:
        random: Where it is drawn from.
        expiring: Whether records expire while they are used.
        extended: Whether there is more than calls, state and steps in it: results from outside, operators.
        focus: What there is to be much of: ``operators``, ``results`` from outside, ``steps``, ``rings``, ``large``
            values, values in many ``parts``, ``trees`` of calls that are cancelled, limits of ``time``, or known
            ``costs``.
        reach: Which switches are on (see `reach.SHARES`).
    """
    profile = Profile(random, expiring, extended, focus, reach)
    composer = Composer(profile)
    for _ in range(0 if profile.alone else random.choice((0, 1, 2, 4))):
        floor = random.randint(0, len(profile.keys))
        composer.pool.append((composer.node(floor, 2, idempotency=f"i{len(composer.pool)}"), floor))
    composer.left = max(composer.left, 3)
    span = 900.0 if profile.expiring else random.choice((0.0, 0.05, 1.0, 10.0))
    roots = _roots(profile, composer, span)
    plan = Plan(
        profile.functions,
        composer.nodes,
        tuple(roots),
        limits=profile.limits,
        tangled=profile.tangled,
        alone=profile.alone,
        hosted=profile.hosted,
    )
    if profile.alone:
        return plan
    acts = tuple(_act(profile, composer, plan, root) for root in roots if random.random() < profile.acts)
    deploys = tuple(
        (function, random.uniform(0, span + 5))
        for function in range(profile.functions_count if profile.extended and random.random() < 0.5 else 0)
        for _ in range(random.choice((1, 1, 2)))
    )
    if "edits" in profile.reach:
        acts += edits.draw(random, plan, span + 5)
    for act in acts:  # nothing can be moved before there is somewhere to go
        if act.what == "move":
            function = profile.functions[composer.nodes[act.node].target.service]
            deploys = (*deploys, (function, act.at - random.choice((0.0, 0.1, 1.0))))
    return replace(plan, acts=acts, deploys=deploys)


def _roots(profile: Profile, composer: Composer, span: float) -> list[Root]:
    """What clients ask for, within so many seconds."""
    random = profile.random
    roots: list[Root] = []
    while composer.left > 0 and len(roots) < (1 if profile.alone else 30):
        idempotent = random.random() < 0.4
        if composer.pool and random.random() < 0.15:
            node = random.choice(composer.pool)[0]
            if any(root.node == node for root in roots):
                continue
            idempotent = True
        else:
            node = composer.node(0, 0, idempotency=f"r{len(roots)}" if idempotent else None)
        several = (idempotent or composer.nodes[node].kind is Kind.WORKFLOW) and not profile.alone
        repeats = random.choice((1, 1, 2, 3)) if several else 1
        roots.append(
            Root(
                node,
                random.choice(("call", "call", "send")) if not profile.far else "send",
                tuple(random.uniform(0, span) for _ in range(repeats)),
                delay=random.choice((0, 0, 0, profile.wait())),
                patience=random.choice((0.5, 2.0, 8.0)),
            )
        )
        composer.left -= 1
    return roots


def _act(profile: Profile, composer: Composer, plan: Plan, root: Root) -> Act:
    """What an operator does to a client's request, or to something that it leads to."""
    random = profile.random
    below = sorted(plan.below([root.node]))
    names = ["cancel", "kill", "pause", "pause", "move", "move"]
    if not profile.expiring and all(plan.nodes[id].kind is not Kind.WORKFLOW for id in below):
        names += ["restart", "restart"]
    once = [id for id in below if plan.nodes[id].kind is Kind.WORKFLOW and id != root.node]
    if not profile.expiring and root.node not in [id for id, _ in composer.pool] and not once:
        names += ["purge"]
    copies = "further" in profile.reach and "restart" in names and plan.may_copy(root.node)
    what = random.choice(names[:2] if profile.trees else names if not copies else [*names, "restart", "restart"])
    node = root.node
    if what in ("pause", "move"):
        node = random.choice(below)
    elif what in ("cancel", "kill") and "anywhere" in profile.reach:
        # A program that gives a result has to run: the program that waits for the result would never end.
        node = random.choice([id for id in below if all(op.kind != "tell" for op in plan.nodes[id].ops)])
    first = random.choice((0, 1, 1, 2, 3, 5)) if copies and what == "restart" else 0
    return Act(what, node, root.at[0] + random.choice((0.0, 0.1, 1.0, 5.0, 30.0)), first)
