"""Deadlocks that a session's executions are part of: among themselves at once, across processes by the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adapter.engine import lifecycle, suspensions
from adapter.engine.awaiting import Awaiting, blockers, needs_each
from adapter.engine.commit_log import CommitLog
from adapter.engine.conflicts import Drop, Interrupted
from adapter.engine.deadlocks import attached, awaited_ids, deadlock, report
from adapter.engine.events import ENDED, Event
from adapter.engine.execution import Execution
from adapter.engine.operator import Operator
from adapter.engine.process import Repeat
from adapter.engine.runtime import Runtime
from adapter.engine.types import Outcome
from adapter.engine.under_way import UnderWay


class Cycles:
    """Finds cycles of executions that wait for each other.

    Args:
        runtime: What the session shares with others.
        operator: Checks cycles across processes.
        log: The session's commit log.
        executions: The executions that run, by their ids.
        under_way: What has begun and has no result yet.
    """

    def __init__(
        self,
        runtime: Runtime,
        operator: Operator,
        log: CommitLog,
        executions: Mapping[str, Execution],
        under_way: UnderWay,
    ) -> None:
        self._process = runtime.process
        self._storage = runtime.storage
        self._operator = operator
        self._log = log
        self._executions = executions
        self._under_way = under_way

    def broken(self) -> Event | None:
        """Return the event that breaks a cycle of executions in this session: the youngest call of it fails."""
        for execution in self._executions.values():
            cycle: list[Execution] = []
            at: Execution | None = execution
            while at is not None and at not in cycle:
                cycle.append(at)
                at = self._blocker(at)
            if at is not None and (event := self._break(cycle[cycle.index(at) :])) is not None:
                return event
        return None

    def _break(self, cycle: list[Execution]) -> Event | None:
        failure = deadlock([execution.meta for execution in cycle])
        queued = [execution for execution in cycle if execution.attempt is None]
        if not queued:  # they wait for attached results
            awaits = [self._awaiting(execution).root for execution in cycle]
            id, command = attached([execution.meta for execution in cycle], awaits)
            return Event(id, command, Outcome(failure=failure))
        youngest = max(queued, key=lambda m: (m.meta.created, m.meta.parent.command if m.meta.parent else 0))
        if youngest.spec is not None and youngest.spec.options.deadlocks == "report":
            report(youngest.meta, failure)
            return None
        return Event(youngest.meta.id, ENDED, Outcome(failure=failure), child=youngest)

    def _blocker(self, execution: Execution) -> Execution | None:
        """Return the execution in this session that has to continue first, if there is exactly one."""
        if execution.attempt is None:
            key = self._log.keys.get(execution.key)
            owner = key.live.owner if key is not None and key.live is not None else None
            found = self._executions.get(owner.id) if owner is not None else None
            return found if found is not execution else None
        node = blockers(self._awaiting(execution).root) if execution.attempt.waits() else None
        ids = awaited_ids(execution.ref, node) if node is not None and needs_each(node) else []
        here = [child for id in ids if (child := self._executions.get(id)) is not None]
        return next((child for child in here if child.attempt is None), here[0] if here else None)

    def _awaiting(self, execution: Execution) -> Awaiting:
        """Return what a blocked execution waits for."""
        return suspensions.suspension_of(execution, self._under_way.due, self._process.times()).awaiting

    def look_for(self, suspended: Iterable[Execution]) -> None:
        """Check each suspended execution for a cycle. The last to suspend has to look: after that nothing in the cycle
        moves."""
        for execution in suspended:
            awaits, free = execution.meta.awaits, self._log.created - self._log.queued
            node = blockers(awaits) if awaits is not None else None
            if node is not None and not free.issuperset(awaited_ids(execution.ref, node)):
                self._process.spawn(self._operator.check_deadlock(execution.meta), repeated_by=Repeat.CHECK)

    async def check(self) -> None:
        """Store what the executions wait for, and check whether they are part of a deadlock."""
        for execution in list(self._executions.values()):
            if execution.attempt is None or not execution.stored:
                continue
            awaiting = self._awaiting(execution)
            node = blockers(awaiting.root)
            if node is None:
                continue
            awaiting = Awaiting(awaiting.counted, node)
            if awaiting != execution.meta.awaiting:
                waiting, change = lifecycle.blocked(execution.meta, awaiting)
                if not await self._storage.apply(change):
                    raise Interrupted(Drop(execution.ref, f"{execution.meta.id} was taken over"))
                execution.meta = waiting
            await self._operator.check_deadlock(execution.meta)
