"""Work that no request triggers: act on the records that are due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from adapter.engine import lifecycle, lifetimes
from adapter.engine.control import Control
from adapter.engine.ids import DUE_SHARDS
from adapter.engine.ports import Due, Place
from adapter.engine.records import Status, Unreadable
from adapter.engine.renewal import renew
from adapter.engine.runtime import Runtime
from adapter.engine.transitions import MARGIN

log = logging.getLogger("adapter")

BATCH = 100
"""The number of entries of the due index that one request reads."""

AT_ONCE = 16
"""The number of shards that are read at once."""

STEP = 27
"""By how many shards each sweep begins further on than the one before. Sweeps that end early come to all shards with
little more than twice the sweeps that would do at best, however early each of them ends."""

PAGE = 1000
"""The number of entries that one request reads where most are skipped."""

MAX_DISPATCHES = 10
"""How often an invocation is dispatched without an attempt beginning before it is paused."""


class Sweeper:
    """Acts on the records that the due index names."""

    def __init__(self, runtime: Runtime, control: Control) -> None:
        self._runtime = runtime
        self._control = control
        self._process = runtime.process
        self._storage = runtime.storage
        self.is_throttled: Callable[[str, str], Awaitable[bool]] = _never_throttled
        """Says whether what hosts a service, or a deployment of it, is refused capacity now. Then an invocation that
        does not begin is not paused."""
        self.overdue = self.overdue_for = 0
        """What the last sweep found at first: how many entries were due, at most `BATCH` of each shard, and for how
        many milliseconds the oldest of them was."""
        self.swept: int | None = None
        """When a sweep last began in this process, in milliseconds."""

    async def sweep(self, share: Callable[[int], Awaitable[None]] | None = None) -> int:
        """Dispatch overdue invocations, tell waiters, and delete expired records. Return how many records it acted on.

        A sweep ends when it finds nothing more, or when little time is left. Shards with a backlog come last, and each
        sweep begins them with another one. In such a shard live records come first, so that completed ones do not delay
        recovery.

        Args:
            share: Has another process `clear` a shard that has a backlog. Without it this process does.
        """
        count, backlogs = 0, list[int]()
        self.swept = self._process.now()
        self.overdue = self.overdue_for = 0
        turn = self._process.now() // 60_000
        order = in_turn(turn)
        for first in range(0, DUE_SHARDS, AT_ONCE):
            shards = order[first : first + AT_ONCE]
            pages = await asyncio.gather(*(self._due(shard, BATCH) for shard in shards))
            for shard, found in zip(shards, pages, strict=True):
                self.overdue += len(found)
                self.overdue_for = max([self.overdue_for, *(self.swept - entry.due for entry in found[:1])])
                if len(found) == BATCH:
                    backlogs.append(shard)
                elif found:
                    count += await self.clear(shard, found)
        for shard in backlogs:
            count += await self._recover(shard)
        for shard in sorted(backlogs, key=lambda shard: (shard - turn) % DUE_SHARDS):
            if share is not None:
                await share(shard)
            else:
                count += await self.clear(shard)
        return count

    @property
    def ran_out_of_time(self) -> bool:
        """True if the work that just ended may be incomplete."""
        return self._process.remaining() <= MARGIN

    async def clear(self, shard: int, found: list[Due] | None = None) -> int:
        """Act on all that is due in a shard, while there is time. Return the number of records that it acted on.

        ``found`` is the first page of the due entries, if it was read already.
        """
        count, limit = 0, BATCH
        seen: set[str] = set()
        if found is None:
            found = await self._due(shard, limit)
        while not self.ran_out_of_time:
            entries = [entry for entry in found if entry.id not in seen]
            if entries:
                seen.update(entry.id for entry in entries)
                count += await self._sweep([entry.id for entry in entries])
            elif len(found) < limit:
                return count
            else:
                limit += BATCH  # records that cannot be read stay due, and must not hide those that are due after them
            found = await self._due(shard, limit)
        log.warning("the sweeper ran out of time in shard %d, after %d records", shard, count)
        return count

    async def _due(self, shard: int, limit: int) -> list[Due]:
        return await self._storage.read(lambda: self._storage.store.due(shard, self._process.now(), limit))

    async def _recover(self, shard: int) -> int:
        """Act on the live records that are due."""
        count, now = 0, self._process.now()
        after: Place | None = None
        while not self.ran_out_of_time:
            found, after = await self._storage.read(lambda: self._storage.store.active(shard, PAGE, after=after))  # noqa: B023
            count += await self._sweep([entry.id for entry in found if entry.at <= now])
            if after is None or after.at > now:
                break
        return count

    async def _sweep(self, ids: list[str]) -> int:
        """Act on records that the index lists as due. Return how many of them still were."""
        count = 0
        for start in range(0, len(ids), 16):
            count += sum(await asyncio.gather(*(self._sweep_one(id) for id in ids[start : start + 16])))
        return count

    async def _sweep_one(self, id: str) -> bool:
        """Act on a record that the index lists as due. If that fails, leave it, so that it does not hold up the
        others."""
        try:
            return await self._act(id)
        except Unreadable as error:
            log.error("not swept: %s", error, extra={"invocation_id": id})
        except Exception:
            log.exception("not swept", extra={"invocation_id": id})
        return False

    async def _act(self, id: str) -> bool:
        meta = await self._storage.read(lambda: self._storage.store.peek(id))
        now = self._process.now()
        if meta is None or meta.due is None or meta.due > now:
            return False
        if id.startswith("gc_"):
            await self._runtime.expiry.collect(meta)
            return True
        if id.startswith("prm_") and (meta.live or not meta.waiters):
            await self._runtime.promises.check(meta)
            return True
        if id.startswith("blb_") and meta.live:
            await self._runtime.expiry.give_up_blob(meta)
            return True
        if not meta.live:
            if meta.waiters:
                await self._runtime.notifier.fan_out(meta)
            elif meta.expired(now):
                await self._runtime.expiry.delete(meta)
            else:
                await renew(self._storage, meta, now)
            return True
        if lifetimes.renew_at(meta) <= now and not lifetimes.is_lost(meta, now):
            meta = await renew(self._storage, meta, now)
        redispatched = False
        if meta.status is Status.SUSPENDED and not meta.resolved and (meta.timer is None or meta.timer > now):
            if await self._runtime.notifier.wake_if_unseen(meta):
                return True
            await self._runtime.calls.ensure(meta)
            await self._control.check_deadlock(meta)
            change = lifecycle.checked(meta, now)
        elif meta.status is Status.QUEUED:
            await self._control.reclaim(meta)
            await self._control.check_deadlock(meta)
            change = lifecycle.checked(meta, now)
        elif meta.status is Status.PAUSED or (meta.status is Status.BACKING_OFF and (meta.timer or 0) > now):
            change = lifecycle.checked(meta, now)
        elif id in self._process.active:
            change = lifecycle.extended(meta, self._process.times())
        elif lifecycle.lost_dispatches(meta) >= MAX_DISPATCHES and not await self.is_throttled(
            meta.target.service, meta.deployment if meta.epoch else ""
        ):
            change = lifecycle.lost(meta)
        else:
            change, redispatched = lifecycle.redispatched(meta, now), True
        if not await self._storage.apply(change):
            return False
        if redispatched:
            deployment = meta.deployment if meta.epoch else ""
            self._runtime.wakeups.dispatch(meta.ref, meta.target.service, deployment, fresh=meta.epoch == 0)
        return True


def in_turn(turn: int) -> list[int]:
    """Return the shards in the order of a sweep. Each sweep begins elsewhere: if sweeps end early again and again, no
    shard always comes last.

    >>> in_turn(0)[:3], in_turn(1)[:3], in_turn(2)[:3]
    ([0, 1, 2], [27, 28, 29], [54, 55, 56])
    """
    return [(shard + turn * STEP) % DUE_SHARDS for shard in range(DUE_SHARDS)]


async def _never_throttled(service: str, deployment: str) -> bool:
    return False
