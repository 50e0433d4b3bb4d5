"""What a request may cost where nothing goes wrong and nobody else is there: the design's budgets, put together."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.engine.process import LEASE
from adapter.engine.transitions import RECHECK
from adapter.engine.types import Kind
from adapter.engine.wakeups import MAX_INLINE_WAIT
from adapter.local.sizes import size
from tests.simulation.plan import Node, Op, Plan
from tests.simulation.world import World

BESIDE = ("peek", "due", "dependents", "delete", "renew", "forget")
"""What clients and sweepers look at meanwhile, and what is deleted a day later."""


@dataclass(slots=True)
class Bound:
    """The most that something may take: requests, and the items that they write."""

    requests: int = 0
    items: int = 0

    def add(self, requests: int, items: int) -> None:
        self.requests += requests
        self.items += items


def applies(world: World) -> bool:
    """Whether it is one request, undisturbed."""
    return world.plan.alone and not (world.faulty or world.lambdas or world.always_replay or world.swept)


def check(world: World) -> None:
    """Hold what the store was asked for against what it may have been."""
    plan, root = world.plan, world.plan.roots[0]
    node = plan.nodes[root.node]
    bound = Bound()
    derived = node.idempotency is not None or node.kind is Kind.WORKFLOW
    if root.how == "send":
        bound.add(2 + (root.delay > 0) + node.kind.exclusive, 4)
    elif derived:
        bound.add(1, 2)
    bound.add(1, 2)
    _run(plan, node, (), bound)
    bound.requests += bound.items // 100
    asked = sum(count for name, count in world.network.asked_for.items() if name not in BESIDE)
    if asked > bound.requests:
        world.violation(f"{asked} requests, where {bound.requests} do: {dict(world.network.asked_for)}")
    largest = max(-(-size(end.meta) // 1024) for end in world.store.archive.values())
    units = world.store.usage.write_units
    if units > 2 * bound.items * largest:
        world.violation(f"{units} units written, where {2 * bound.items * largest} do")


def _looks(milliseconds: int) -> int:
    """How often the sweeper looks at what is suspended for so long."""
    looks, at = 0, LEASE
    while at < milliseconds + 60_000:
        at += RECHECK * 4**looks
        looks += 1
    return looks


def _run(plan: Plan, node: Node, callers: tuple[Node, ...], bound: Bound) -> None:
    """A program, with those who wait for it in the same function."""
    bound.add(int(node.kind.exclusive), 2 + 2 * node.kind.exclusive)
    _ops(plan, node, node.ops, callers, bound)


def _ops(plan: Plan, node: Node, ops: tuple[Op, ...], callers: tuple[Node, ...], bound: Bound) -> None:
    for op in ops:
        bound.items += 2
        match op.kind:
            case "get" if node.kind is Kind.SHARED:
                bound.requests += 2  # the entry, and which state it belongs to
            case "step":
                bound.requests += 1
            case "sleep" if op.n > MAX_INLINE_WAIT:
                for each in (node, *callers):
                    bound.add(3 + each.kind.exclusive, 8)
                for _ in callers:  # each is told; meanwhile its notifications are read and its due time is moved
                    bound.add(1 + 2 * _looks(op.n), 2 + 2 * _looks(op.n))
                if plan.roots[0].how == "call":  # while the client waits, so does the process; and looks for deadlocks
                    bound.add(1 + len(callers), 1 + len(callers))
            case "sleep":
                bound.requests += 1  # before it is waited out
            case "invoke" if op.how == "send":
                receiver = plan.nodes[op.node]
                bound.add(2 + (op.n > 0) + receiver.kind.exclusive, 4)
                _run(plan, receiver, (), bound)
            case "invoke":
                _run(plan, plan.nodes[op.node], (node, *callers), bound)
            case _:
                pass
        for branch in op.branches:
            _ops(plan, node, branch, callers, bound)
        if plan.stops(op):
            return
