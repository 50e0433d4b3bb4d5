"""A failing case made smaller, as long as it still fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.plan import Node, Plan
from tests.simulation.run import Case, run

MOST = 600
"""How many smaller cases are tried."""


def shrink(case: Case) -> Case:
    """A case that fails as well, with fewer requests, shorter programs and fewer kinds of faults."""
    tries = 0
    found = True
    while found:
        found = False
        for candidate in _smaller(case):
            tries += 1
            if tries > MOST:
                return case
            if run(candidate).violations:
                case, found = candidate, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    plan = case.plan
    for place in range(len(plan.roots)):
        yield replace(case, plan=_pruned(replace(plan, roots=(*plan.roots[:place], *plan.roots[place + 1 :]))))
    for root in plan.roots:
        if len(root.at) > 1:
            roots = tuple(replace(other, at=other.at[:-1]) if other is root else other for other in plan.roots)
            yield replace(case, plan=replace(plan, roots=roots))
    for name in case.faults.names():
        yield replace(case, faults=case.faults.without(name))
    if case.lambdas:
        yield replace(case, lambdas=0.0)
    for node in plan.nodes.values():
        for place in range(len(node.ops)):
            shorter = replace(node, ops=(*node.ops[:place], *node.ops[place + 1 :]))
            yield replace(case, plan=_pruned(_with(plan, shorter)))
        for place, op in enumerate(node.ops):
            for branch in range(len(op.branches) if len(op.branches) > 1 else 0):
                fewer = replace(op, branches=(*op.branches[:branch], *op.branches[branch + 1 :]))
                shorter = replace(node, ops=(*node.ops[:place], fewer, *node.ops[place + 1 :]))
                yield replace(case, plan=_pruned(_with(plan, shorter)))


def _with(plan: Plan, node: Node) -> Plan:
    return replace(plan, nodes={**plan.nodes, node.id: node}, _fails={})


def _pruned(plan: Plan) -> Plan:
    """Without the programs that nothing leads to any more."""
    wanted = plan.below([root.node for root in plan.roots])
    return replace(plan, nodes={id: node for id, node in plan.nodes.items() if id in wanted}, _fails={})
