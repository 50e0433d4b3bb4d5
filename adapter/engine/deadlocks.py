"""Finding rings of invocations that wait for each other's keys, across processes.

The records say who waits for what: a queued call waits for its key's owner, an invocation that stands still for calls
names them. A ring that looks the same twice in a row, with nothing in it moving in between, cannot resolve itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from adapter.engine.records import Awaits, Meta, Status
from adapter.engine.types import Failure

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

MAX_LENGTH = 50
"""The longest ring that is looked for."""


def deadlock(ring: list[Meta]) -> Failure:
    """The failure that spells out a ring, each invocation waiting for the next."""
    names = [str(meta.target.object) for meta in ring if meta.kind.exclusive]
    names = [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
    if names[0] != names[-1] or len(names) == 1:
        names.append(names[0])
    return Failure(409, "deadlock: " + " → ".join(names))


class Deadlocks:
    """Looks for rings from one invocation on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def check(self, start: Meta) -> bool:
        """Fail the youngest queued call of a ring that the invocation leads to. Returns whether there was one."""
        ring = await self._ring(start.id, [])
        if ring is None or [_mark(meta) for meta in ring] != [_mark(m) for m in await self._ring(start.id, []) or []]:
            return False
        queued = [meta for meta in ring if meta.status is Status.QUEUED]
        if not queued:
            return False
        youngest = max(queued, key=lambda meta: (meta.created, meta.id))
        failure = deadlock(ring)
        spec = self._engine.handler(youngest.target)
        if spec is not None and spec.options.deadlocks == "report":
            log.error("%s: %s", youngest.id, failure.message)
            return True
        return await self._engine.control.end(youngest, failure)

    async def _ring(self, id: str, path: list[Meta]) -> list[Meta] | None:
        """A ring that the invocation cannot but wait for."""
        for place, earlier in enumerate(path):
            if earlier.id == id:
                return path[place:]
        meta = await self._engine.look(id)
        if meta is None or not meta.live or len(path) >= MAX_LENGTH:
            return None
        path = [*path, meta]
        if meta.status is Status.QUEUED:
            key = meta.target.object
            owner = (await self._engine.heads([key]))[key].owner
            return await self._ring(owner.id, path) if owner is not None else None
        return await self._ring_through(meta.awaits, path)

    async def _ring_through(self, awaits: Awaits | None, path: list[Meta]) -> list[Meta] | None:
        """A ring through the calls that the last invocation of the path waits for."""
        meta = path[-1]
        suspended = meta.status is Status.SUSPENDED
        if awaits is None or not (suspended or (meta.status is Status.RUNNING and awaits.seen == meta.notifications)):
            return None
        ring: list[Meta] | None = None
        for call in awaits.ids:
            if not suspended and await self._completed(call):
                return None  # it was told in its own process, and may have moved on
            found = await self._ring(call, path)
            ring = ring or found
            if found is None and not awaits.all:
                return None
        return ring

    async def _completed(self, id: str) -> bool:
        meta = await self._engine.look(id)
        return meta is None or not meta.live


def _mark(meta: Meta) -> tuple[object, ...]:
    """What is different once an invocation has moved."""
    return meta.ref, meta.status, meta.epoch, meta.notifications, meta.awaits
