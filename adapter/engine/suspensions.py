"""What a blocked attempt waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adapter.engine import commands as c
from adapter.engine.deadlocks import ranges
from adapter.engine.execution import Execution, Suspended
from adapter.engine.pending import Pending, PendingInvocation
from adapter.engine.records import Awaits
from adapter.engine.transitions import Times
from adapter.engine.types import Kind

MAX_NAMED = 20
"""The number of calls that a record lists by id as what it waits for. Of further calls with derived ids it lists the
numbers."""


def suspension_of(execution: Execution, due: Callable[[tuple[str, int]], int | None], times: Times) -> Suspended:
    """Return the suspension of a blocked attempt.

    Args:
        execution: The execution.
        due: Returns when a sleep ends, by invocation and command; ``None`` if the command is no sleep.
        times: The time, and the due times that follow from it.
    """
    assert execution.attempt is not None
    waits = execution.attempt.waits()
    groups: dict[int, int] = {}
    for pending in waits:
        group = pending.wait_group if pending.wait_group is not None and len(pending.waiters) == 1 else pending
        groups[id(group)] = groups.get(id(group), 0) + 1
    timer = min((at for p in waits if (at := due((execution.meta.id, p.n))) is not None), default=None)
    awaited = [(other, pending.n) for pending in waits if (other := _awaited(pending)) is not None]
    all = len(groups) == 1
    awaits: Awaits | None = None
    if awaited and (all or len(awaited) == len(waits)):
        calls = dict.fromkeys([pending.n for pending in waits if derived(pending)][MAX_NAMED:])
        ids, commands = zip(*((other, n) for other, n in awaited if n not in calls), strict=True)
        awaits = Awaits(execution.counted, all, ids, commands, ranges(calls))
    return Suspended(execution, min(groups.values()), timer, awaits, _check_at(execution, waits, times))


def _check_at(execution: Execution, waits: Sequence[Pending[Any]], times: Times) -> int | None:
    """Return when the sweeper checks an invocation that waits for these operations."""
    kinds = {type(pending.command) for pending in waits}
    if kinds == {c.Sleep}:
        return None
    # A queued invocation has a check of its own. Nothing else checks a cycle of attached results.
    lease = times.grace if c.Attach in kinds else execution.record.due or times.lease
    return lease if lease > times.now else times.grace


def _awaited(pending: Pending[Any]) -> str | None:
    """Return the id of the invocation whose result the operation waits for, if it waits for one."""
    if isinstance(pending, PendingInvocation) and pending.called:
        return pending.id
    return pending.command.id if isinstance(pending.command, c.Attach) else None


def derived(pending: Pending[Any]) -> bool:
    """Return True if the operation is a call whose id derives from the command's number."""
    if not isinstance(pending, PendingInvocation) or not isinstance(pending.command, c.Call):
        return False
    shared = pending.kind is Kind.WORKFLOW or pending.command.idempotency_key is not None
    meta = pending.attempt.meta
    return not shared and meta.issuer(pending.n) == meta.ref
