"""Find cycles of invocations that wait for each other's keys or results, across processes.

The records say who waits for whom: a queued call waits for its key's owner, and a suspended invocation lists the
invocations that it waits for. If a cycle looks the same twice, and nothing in it moved in between, it cannot resolve
itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from adapter.engine.awaiting import INVOCATIONS, Leaf, Node, blockers
from adapter.engine.ids import child_id
from adapter.engine.records import Meta, Ref, Status, Unreadable
from adapter.engine.storage import Storage
from adapter.engine.types import Failure
from adapter.errors import DeadlockError

log = logging.getLogger("adapter")

MAX_LENGTH = 50
"""The longest cycle that is looked for."""

PARALLEL_READS = 16
"""The number of records that are read at the same time."""


def deadlock(cycle: Sequence[Meta]) -> Failure:
    """Return the failure that names a cycle in which each invocation waits for the next."""
    refs = {meta.ref for meta in cycle}
    ages = [(meta.created, meta.parent is not None and meta.parent.ref in refs, meta.id) for meta in cycle]
    oldest = ages.index(min(ages))
    cycle = [*cycle[oldest:], *cycle[:oldest]]
    names = [str(meta.target.object) for meta in cycle if meta.kind.exclusive] or [str(meta.target) for meta in cycle]
    names = [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
    if names[0] != names[-1] or len(names) == 1:
        names.append(names[0])
    return Failure.of(DeadlockError("deadlock: " + " → ".join(names)))


def attached(cycle: Sequence[Meta], awaits: Sequence[Node | None]) -> tuple[str, int]:
    """Return the invocation to fail in a cycle without a queued call, and its command that fails.

    That is the youngest invocation that waits for the result of one that it did not call itself.
    """
    found: list[tuple[int, str, int]] = []
    for place, (meta, node) in enumerate(zip(cycle, awaits, strict=True)):
        following = cycle[(place + 1) % len(cycle)]
        own = following.parent is not None and following.parent.ref == meta.ref
        if node is not None and not own:
            found += [(meta.created, meta.id, leaf.ranges[0]) for leaf in node.leaves if leaf.id == following.id]
    _, id, command = max(found)
    return id, command


def awaited_ids(ref: Ref, part: Leaf | Node) -> list[str]:
    """Return the ids of all invocations that one waits for.

    >>> calls = Node(False, (Leaf("call", (0, 0), "inv_b"), Leaf("call", (1, 3, 7, 7)), Leaf("signal", (4, 4))))
    >>> len(awaited_ids(Ref("inv_a", "g"), calls))
    5
    """
    if isinstance(part, Node):
        return [id for each in part.parts for id in awaited_ids(ref, each)]
    if part.kind not in INVOCATIONS:
        return []
    return [part.id] if part.id else [child_id(*ref, n) for n in part.commands]


def report(youngest: Meta, failure: Failure) -> None:
    """Log a cycle and leave it for an operator."""
    log.error("%s", failure.message, extra={"invocation_id": youngest.id, "target": str(youngest.target)})


class Deadlocks:
    """Looks for cycles that an invocation is part of, or leads to."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def find(self, start: Meta) -> list[Meta] | None:
        """Return a cycle that the invocation leads to. It looked the same twice, so it cannot resolve itself."""
        try:
            cycle = await self._cycle(start.id, [], {})
            again = await self._cycle(start.id, [], {}) if cycle else None
        except Unreadable as error:  # of another invocation, or of a key: not a failure of this one
            log.error("not looked for deadlocks: %s", error, extra={"invocation_id": start.id})
            return None
        if cycle is None or again is None or [_mark(meta) for meta in cycle] != [_mark(meta) for meta in again]:
            return None
        return cycle

    async def _cycle(self, id: str, path: list[Meta], seen: dict[str, Meta | None]) -> list[Meta] | None:
        """Return a cycle that the invocation waits for without an alternative.

        Args:
            id: The invocation's id.
            path: The invocations that lead to it.
            seen: The records that this search has read; ``None`` for those that lead to no cycle.
        """
        for place, earlier in enumerate(path):
            if earlier.id == id:
                return path[place:]
        if id not in seen:
            seen[id] = await self._storage.find(id)
        meta = seen[id]
        if meta is None or not meta.live or len(path) >= MAX_LENGTH:
            return None
        path = [*path, meta]
        if meta.status is Status.QUEUED:
            key = meta.target.object
            owner = (await self._storage.heads([key]))[key].owner
            cycle = await self._cycle(owner.id, path, seen) if owner is not None else None
        else:
            cycle = await self._cycle_through_awaited(path, seen)
        if cycle is None:
            seen[id] = None
        return cycle

    async def _cycle_through_awaited(self, path: list[Meta], seen: dict[str, Meta | None]) -> list[Meta] | None:
        """Return a cycle through what the last invocation of the path waits for."""
        meta = path[-1]
        waits = blockers(meta.awaits) if meta.awaits is not None else None
        cycle = await self._cycle_through(waits, path, seen) if waits is not None else None
        if cycle is None or waits is None or meta.status is Status.SUSPENDED:
            return cycle
        # The process of a running invocation may have delivered a result already, and the code may have continued.
        return None if await self._completed(awaited_ids(meta.ref, waits)) else cycle

    async def _cycle_through(self, node: Node, path: list[Meta], seen: dict[str, Meta | None]) -> list[Meta] | None:
        """Return a cycle through the invocations of a node that the last one of the path waits for."""
        cycle: list[Meta] | None = None
        for part in node.parts:
            if isinstance(part, Node):
                found = await self._cycle_through(part, path, seen)
            else:
                found = await self._cycle_through_leaf(part, path, seen, all=node.all)
            cycle = cycle or found
            if found is None and not node.all:
                return None
        return cycle

    async def _cycle_through_leaf(
        self, leaf: Leaf, path: list[Meta], seen: dict[str, Meta | None], *, all: bool
    ) -> list[Meta] | None:
        cycle: list[Meta] | None = None
        others = awaited_ids(path[-1].ref, leaf)
        for place, id in enumerate(others):
            if place % PARALLEL_READS == 0:
                await self._read(others[place : place + PARALLEL_READS], seen)
            found = await self._cycle(id, path, seen)
            cycle = cycle or found
            if found is None and not all:
                return None
        return cycle

    async def _read(self, ids: Sequence[str], seen: dict[str, Meta | None]) -> None:
        """Read the records that were not read yet, at the same time."""
        unread = [id for id in ids if id not in seen]
        seen.update(zip(unread, await asyncio.gather(*map(self._storage.find, unread)), strict=True))

    async def _completed(self, ids: Sequence[str]) -> bool:
        """Return True if one of the invocations has completed by now."""
        now: dict[str, Meta | None] = {}
        for start in range(0, len(ids), PARALLEL_READS):
            await self._read(ids[start : start + PARALLEL_READS], now)
        return any(meta is None or not meta.live for meta in now.values())


def _mark(meta: Meta) -> tuple[object, ...]:
    """Return what differs once an invocation has moved."""
    return meta.ref, meta.status, meta.epoch, meta.notifications, meta.awaiting
