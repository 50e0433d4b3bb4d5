"""When a blocked attempt is suspended, and what it waits for, as a tree."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adapter.engine import commands as c
from adapter.engine.awaiting import TIMER, Awaiting, Leaf, Node, ranges
from adapter.engine.execution import Execution, Suspended
from adapter.engine.pending import Pending, PendingInvocation
from adapter.engine.transitions import Times
from adapter.engine.types import Kind

MOST_NAMED = 4_000
"""The most awaited invocations whose ids a record holds, as an item may hold 400 KB. The search for deadlocks does not
see further ones."""


def suspension_of(execution: Execution, due: Callable[[tuple[str, int]], int | None], times: Times) -> Suspended:
    """Return the suspension of a blocked attempt.

    Args:
        execution: The execution.
        due: Returns when a sleep ends, by invocation and command; ``None`` if the command is no sleep.
        times: The time, and the due times that follow from it.
    """
    assert execution.attempt is not None
    root = tree(execution.attempt.waits(), lambda n: due((execution.meta.id, n)))
    return Suspended(execution, Awaiting(execution.counted, root), _check_at(execution, root, times))


def inactivity(executions: Iterable[Execution]) -> int:
    """Return the shortest inactivity timeout of executions, in milliseconds."""
    timeouts = [
        round(execution.spec.options.inactivity_timeout.total_seconds() * 1000)
        for execution in executions
        if execution.spec is not None and execution.spec.options.inactivity_timeout is not None
    ]
    return min(timeouts, default=sys.maxsize)


def tree(waits: Sequence[Pending[Any]], ends: Callable[[int], int | None]) -> Node:
    """Return the tree of the operations that code awaits.

    Args:
        waits: The operations.
        ends: Returns when a sleep ends, by command.
    """
    groups: dict[int, list[Pending[Any]]] = {}
    for pending in waits:
        group = pending.wait_group if pending.wait_group is not None and len(pending.waiters) == 1 else pending
        groups.setdefault(id(group), []).append(pending)
    if len(groups) == 1:
        return Node(True, _leaves(waits, ends, all=True))
    single = [group[0] for group in groups.values() if len(group) == 1]
    several = (Node(True, _leaves(group, ends, all=True)) for group in groups.values() if len(group) > 1)
    return Node(False, (*_leaves(single, ends, all=False), *several))


def _leaves(waits: Sequence[Pending[Any]], ends: Callable[[int], int | None], *, all: bool) -> tuple[Leaf, ...]:
    found: list[Leaf] = []
    by_kind: dict[str, list[int]] = {}
    for pending in waits:
        kind, _ = pending.described
        id = "" if derived(pending) else awaited_id(pending)
        if id and len(found) < MOST_NAMED:
            found.append(Leaf(kind, (pending.n, pending.n), id))
        else:
            by_kind.setdefault(kind, []).append(pending.n)
    for kind, commands in by_kind.items():
        times = [at for n in commands if (at := ends(n)) is not None] if kind == TIMER else []
        found.append(Leaf(kind, ranges(commands), until=(max if all else min)(times, default=None)))
    return tuple(found)


def _check_at(execution: Execution, root: Node, times: Times) -> int | None:
    """Return when the sweeper checks an invocation that waits for these operations."""
    kinds = {leaf.kind for leaf in root.leaves}
    if kinds == {TIMER}:
        return None
    # A queued invocation has a check of its own. Nothing else checks a cycle of attached results.
    lease = times.grace if "attach" in kinds else execution.record.due or times.lease
    return lease if lease > times.now else times.grace


def awaited_id(pending: Pending[Any]) -> str:
    """Return the id of the invocation whose result the operation waits for, if it waits for one."""
    if isinstance(pending, PendingInvocation):
        return pending.id if pending.called else ""
    return pending.command.id if isinstance(pending.command, c.Attach) else ""


def derived(pending: Pending[Any]) -> bool:
    """Return True if the operation is a call whose id derives from the command's number."""
    if not isinstance(pending, PendingInvocation) or not isinstance(pending.command, c.Call):
        return False
    shared = pending.kind is Kind.WORKFLOW or pending.command.idempotency_key is not None
    meta = pending.attempt.meta
    return not shared and meta.issuer(pending.n) == meta.ref
