"""Work that no request triggers: dispatch what is overdue, notify waiters, delete what has expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.engine import lifecycle
from adapter.engine.ids import SHARDS, new_commit_id
from adapter.engine.ports import Conflict, Delete, Due, Place, Put
from adapter.engine.records import Meta, Record, Ref, Status, Unreadable, Waiter
from adapter.engine.transaction import make_notification
from adapter.engine.transitions import MARGIN
from adapter.engine.types import Kind, Outcome

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

BATCH = 100
"""The number of entries of the due index that one request reads."""

PAGE = 1000
"""The number of entries that one request reads where most are skipped."""

UNDER_WAY = 15 * 60 * 1000
"""Milliseconds after which no request that was sent before can still apply. AWS refuses a request whose signature is
`older than five minutes <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>`_."""

MAX_DISPATCHES = 10
"""How often an invocation is dispatched without an attempt beginning before it is paused."""


class Sweeper:
    """Acts on the records that the due index names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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
        engine, count, backlogs = self._engine, 0, list[int]()
        self.swept = engine.clock.now()
        for shard in range(SHARDS):
            found = await self._due(shard, BATCH)
            if len(found) == BATCH:
                backlogs.append(shard)
            else:
                count += await self.clear(shard, found)
        for shard in backlogs:
            count += await self._recover(shard)
        turn = engine.clock.now() // 60_000
        for shard in sorted(backlogs, key=lambda shard: (shard - turn) % SHARDS):
            if share is not None:
                await share(shard)
            else:
                count += await self.clear(shard)
        return count

    @property
    def ran_out_of_time(self) -> bool:
        """True if the work that just ended may be incomplete."""
        return self._engine.remaining() <= MARGIN

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
        engine = self._engine
        return await engine.read(lambda: engine.store.due(shard, engine.clock.now(), limit))

    async def _recover(self, shard: int) -> int:
        """Act on the live records that are due."""
        engine, count, now = self._engine, 0, self._engine.clock.now()
        after: Place | None = None
        while not self.ran_out_of_time:
            found, after = await engine.read(lambda: engine.store.active(shard, PAGE, after=after))  # noqa: B023
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
        engine = self._engine
        meta = await engine.read(lambda: engine.store.peek(id))
        now = engine.clock.now()
        if meta is None or meta.due is None or meta.due > now:
            return False
        if id.startswith("gc_"):
            await engine.control.collect(meta)
            return True
        if id.startswith("prm_") and (meta.live or not meta.waiters):
            await engine.control.check_promise(meta)
            return True
        if id.startswith("blb_") and meta.live:
            await engine.blobs.give_up(meta)
            return True
        if not meta.live:
            if meta.waiters:
                await self.fan_out(meta)
            elif meta.expired(now):
                await self.delete(meta)
            else:
                await self._forget_journal(meta)
            return True
        redispatched = False
        if meta.status is Status.SUSPENDED and (meta.timer is None or meta.timer > now):
            if await engine.notifier.wake_if_unseen(meta):
                return True
            await engine.deadlocks.check(meta)
            change = lifecycle.checked(meta, now)
        elif meta.status is Status.QUEUED:
            await engine.control.reclaim(meta)
            await engine.deadlocks.check(meta)
            change = lifecycle.checked(meta, now)
        elif id in engine.active:
            change = lifecycle.extended(meta, engine.times())
        elif meta.dispatches >= MAX_DISPATCHES:
            change = lifecycle.lost(meta)
        else:
            change, redispatched = lifecycle.redispatched(meta, now), True
        if not await engine.apply(change):
            return False
        if redispatched:
            engine.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=meta.epoch == 0)
        return True

    async def delete_later(self, ref: Ref, found: Record | None) -> None:
        """Delete what was put for an invocation that is over: together with its record, or now if the record is
        gone."""
        if not isinstance(found, Meta) or found.generation != ref.generation:
            await self.delete_dependents(ref)
        elif not found.live and found.due is None:
            await self._engine.apply(lifecycle.kept(ref, found.expires))

    async def fan_out(self, meta: Meta) -> None:
        """Notify all waiters of a completed invocation. Then its record rests until it expires."""
        engine = self._engine
        outcome = await engine.result(meta) or Outcome()
        cursor: Any = None
        while True:
            waiters, cursor = await engine.read(lambda cursor=cursor: engine.store.waiters(meta.ref, cursor))  # type: ignore[misc]
            for start in range(0, len(waiters), 16):
                await asyncio.gather(*(self._notify(waiter, outcome) for waiter in waiters[start : start + 16]))
            if cursor is None:
                break
        await engine.apply(lifecycle.told(meta, engine.clock.now()))

    async def _notify(self, waiter: Waiter, outcome: Outcome) -> None:
        engine = self._engine
        notification, parts = make_notification(
            waiter.waiter, f"a{waiter.command}", outcome, engine.clock.now(), waiter.id
        )
        await engine.put_parts(parts)
        try:
            await engine.commit([Delete(waiter), Put(notification)], new_commit_id())
        except Conflict as conflict:
            if 0 not in conflict.found:  # it was notified before, or had its answer in another way
                with suppress(Conflict):
                    await engine.commit([Delete(waiter)], new_commit_id())
            return
        await engine.notifier.notify([replace(notification, outcome=outcome)], waiter.service, waiter.deployment)

    async def _forget_journal(self, meta: Meta) -> None:
        """Delete the journal of a completed invocation whose result is kept longer."""
        engine = self._engine
        if meta.journal_expires is not None:
            await self.delete_dependents(meta.ref, journal_only=True)
        await engine.apply(lifecycle.forgotten(meta))

    async def delete_dependents(self, ref: Ref, *, journal_only: bool = False, former: bool = False) -> None:
        """Delete the items that belong to a record.

        Args:
            ref: The invocation.
            journal_only: True to delete only the journal.
            former: True to delete what an expired record under the same id has left as well, if this record replaced it
                before its items were deleted. Its input stays, because it cannot be told from one that is put ahead of
                the next record.
        """
        engine = self._engine
        cursor: Any = None
        while True:
            found, cursor = await engine.read(lambda cursor=cursor: engine.store.dependents(ref.id, cursor))  # type: ignore[misc]
            keys = [key for key in found if key.generation == ref.generation and (key.journal or not journal_only)]
            others = [key for key in found if key.generation != ref.generation and not key.input] if former else []
            if others:
                latest = await engine.read(lambda: engine.store.peek(ref.id))
                keys += others if latest is None or latest.generation == ref.generation else []
            tries = 0
            while keys:
                left = await engine.read(lambda keys=keys: engine.store.delete(keys[:25]))  # type: ignore[misc]
                keys = [*left, *keys[25:]]
                if left:
                    tries += 1
                    await engine.back_off(tries)
            if cursor is None:
                break

    async def delete(self, meta: Meta) -> None:
        """Delete an expired invocation: first the items that belong to the record, then the record.

        The record stays as long as a request that was sent before its completion may still apply: a late request to
        create it would start it again. Items that such a request has put are deleted as well.

        The id may be in use again meanwhile. Items of the next generation stay.
        """
        engine = self._engine
        await self.delete_dependents(meta.ref, former=True)
        if meta.kind is Kind.WORKFLOW:
            await engine.control.clear_state(meta.target.object)
        now = engine.clock.now()
        stays = (meta.completed or 0) + UNDER_WAY
        if now < stays:
            await engine.apply(lifecycle.kept(meta.ref, stays))
        else:
            await engine.read(lambda: engine.store.forget(meta.ref, now))
