"""A failing case made smaller, as long as it still fails."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from tests.simulation.plan import Node, Op, Plan
from tests.simulation.run import Case, run

MOST = 600
"""How many smaller cases are tried."""


def shrink(case: Case) -> Case:
    """A case that fails as well, with fewer requests, shorter programs and fewer kinds of faults."""
    tries = 0
    found = True
    kinds = {_kind(violation) for violation in run(case).violations}
    while found:
        found = False
        for candidate in _smaller(case):
            tries += 1
            gc.collect()  # it may be switched off while many seeds run
            if tries > MOST:
                return case
            if kinds & {_kind(violation) for violation in run(candidate).violations}:
                case, found = candidate, True
                break
    return case


def source(value: Any) -> str:
    """A case as Python, for `tests.simulation.regressions`."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        return "(" + "".join(f"{source(item)}, " for item in value) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{source(key)}: {source(item)}" for key, item in value.items()) + "}"
    if is_dataclass(value):
        shown = [
            f"{field.name}={source(item)}"
            for field in fields(value)
            if field.repr and (item := getattr(value, field.name)) != field.default and item != {}
        ]
        return f"{type(value).__name__}({', '.join(shown)})"
    return repr(value)


def _kind(violation: str) -> str:
    """A violation but for the names and numbers in it, so that a case is not shrunk to another failure."""
    return " ".join(word for word in violation.split()[:12] if word.isalpha())


def _smaller(case: Case) -> Iterator[Case]:
    plan = case.plan
    for place in range(len(plan.roots)):
        yield replace(case, plan=_pruned(replace(plan, roots=(*plan.roots[:place], *plan.roots[place + 1 :]))))
    for root in plan.roots:
        if len(root.at) > 1:
            roots = tuple(replace(other, at=other.at[:-1]) if other is root else other for other in plan.roots)
            yield replace(case, plan=replace(plan, roots=roots))
    for place in range(len(plan.acts)):
        yield replace(case, plan=replace(plan, acts=(*plan.acts[:place], *plan.acts[place + 1 :])))
    for place in range(len(plan.deploys)):
        yield replace(case, plan=replace(plan, deploys=(*plan.deploys[:place], *plan.deploys[place + 1 :])))
    for service in plan.limits:
        limits = {name: limit for name, limit in plan.limits.items() if name != service}
        yield replace(case, plan=replace(plan, limits=limits))
    for name in case.faults.names():
        yield replace(case, faults=case.faults.without(name))
    for each in fields(case.exchanges):
        if getattr(case.exchanges, each.name):
            yield replace(case, exchanges=replace(case.exchanges, **{each.name: 0.0}))
    for name in case.reach:
        yield replace(case, reach=tuple(other for other in case.reach if other != name))
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
    """Without the programs that nothing leads to any more, and would not if all of every program were reached."""
    wanted: set[int] = set()
    todo = [root.node for root in plan.roots]
    while todo:
        id = todo.pop()
        if id not in wanted:
            wanted.add(id)
            todo += _named(plan.nodes[id].ops)
    nodes = {id: node for id, node in plan.nodes.items() if id in wanted}
    return replace(plan, nodes=nodes, acts=tuple(act for act in plan.acts if act.node in wanted), _fails={})


def _named(ops: tuple[Op, ...]) -> list[int]:
    """The programs that operations invoke."""
    inner = [id for op in ops for branch in op.branches for id in _named(branch)]
    return [*(op.node for op in ops if op.node >= 0), *inner]
