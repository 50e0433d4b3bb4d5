"""What is done without anybody asking: the overdue is dispatched, waiters are told, what has expired is deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.engine.control import PROMISE_CHECK
from adapter.engine.draft import GRACE, MARGIN, OWNER_CHECK, notification
from adapter.engine.ids import SHARDS, new_nonce
from adapter.engine.ports import Conflict, Delete, Due, Finish, Place, Put
from adapter.engine.records import Meta, Record, Ref, Status, Unreadable, Waiter
from adapter.engine.types import Kind, Outcome

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

RECHECK = 45_000
"""Milliseconds after which the sweeper looks for a deadlock again, at first."""

LONGEST_LOOK = 3600 * 1000
"""Milliseconds after which the sweeper looks at the latest at what is suspended."""

BATCH = 100
"""How many entries of the due index are read at a time."""

PAGE = 1000
"""How many are looked at at a time, where most are passed over."""

UNDER_WAY = 15 * 60 * 1000
"""Milliseconds after its making for which a request is taken to be possibly still under way. AWS refuses one whose
signature is `older than five minutes <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>`_."""

MAX_DISPATCHES = 10
"""How often an invocation of which no attempt begins is dispatched, before it is paused."""


class Sweeper:
    """Acts on the records that the due index names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def sweep(self, share: Callable[[int], Awaitable[None]] | None = None) -> int:
        """Dispatch what is past due, fan out and delete what is over. Returns how many records it acted on.

        A sweep ends when it finds nothing more, or when little time is left. So that a backlog of what is over keeps up
        no recovery, shards that have one come last, in them what is not over first, and not always the same shard.

        Args:
            share: Has another process `clear` a shard that has a backlog; without it this one does.
        """
        engine, count, backlogs = self._engine, 0, list[int]()
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
        """Whether what just ended may have left something."""
        return self._engine.remaining() <= MARGIN

    async def clear(self, shard: int, found: list[Due] | None = None) -> int:
        """Act on all that is due in a shard, while there is time; ``found`` is the first of it, if it was read already.
        Returns how many records that were."""
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
                limit += BATCH  # records that cannot be read stay due, and are not to hide what is due after them
            found = await self._due(shard, limit)
        log.warning("the sweeper ran out of time in shard %d, after %d records", shard, count)
        return count

    async def _due(self, shard: int, limit: int) -> list[Due]:
        engine = self._engine
        return await engine.read(lambda: engine.store.due(shard, engine.clock.now(), limit))

    async def _recover(self, shard: int) -> int:
        """Act on what is due and not over."""
        engine, count, now = self._engine, 0, self._engine.clock.now()
        after: Place | None = None
        while not self.ran_out_of_time:
            found, after = await engine.read(lambda: engine.store.active(shard, PAGE, after=after))  # noqa: B023
            count += await self._sweep([entry.id for entry in found if entry.at <= now])
            if after is None or after.at > now:
                break
        return count

    async def _sweep(self, ids: list[str]) -> int:
        """Act on records that the index says are due. Returns of how many that was still so."""
        count = 0
        for start in range(0, len(ids), 16):
            count += sum(await asyncio.gather(*(self._sweep_one(id) for id in ids[start : start + 16])))
        return count

    async def _sweep_one(self, id: str) -> bool:
        """Act on one record that the index says is due. One with which that fails is left, and keeps up no other."""
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
        values: dict[str, Any]
        if meta.status is Status.SUSPENDED and (meta.timer is None or meta.timer > now):
            if await engine.teller.look(meta):
                return True
            await engine.deadlocks.check(meta)
            look = now + min(RECHECK * 4 ** min(meta.dispatches, 8), LONGEST_LOOK)
            due = look if meta.timer is None else min(look, meta.timer)
            values = {"due": due, "dispatches": meta.dispatches + 1}
        elif meta.status is Status.QUEUED:
            await engine.control.reclaim(meta)
            await engine.deadlocks.check(meta)
            wait = (RECHECK if meta.parent is not None else OWNER_CHECK) * 2 ** min(meta.dispatches, 6)
            values = {"due": now + wait, "dispatches": meta.dispatches + 1}
        elif id in engine.active:
            values = {"due": engine.times().lease}
        elif meta.dispatches >= MAX_DISPATCHES:
            error = f"no attempt began after {meta.dispatches} dispatches; resume it when its function works"
            values = {"status": Status.PAUSED, "due": None, "error": error}
        else:
            delay = GRACE * 2 ** min(meta.dispatches, 8)
            values = {"status": Status.READY, "due": now + delay, "dispatches": meta.dispatches + 1}
            if meta.status is Status.RUNNING:
                values |= {
                    "failures": meta.failures + 1,
                    "error": "its process ended, or ran out of time, in an attempt",
                }
        if not await engine.change(meta, values):
            return False
        if values.get("status") is Status.READY:
            engine.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=meta.epoch == 0)
        return True

    async def delete_later(self, ref: Ref, found: Record | None) -> None:
        """Have deleted what was put for an invocation that is over: with its record, or now if that is gone already."""
        if not isinstance(found, Meta) or found.generation != ref.generation:
            await self.delete_dependents(ref)
        elif not found.live and found.due is None:
            with suppress(Conflict):
                await self._engine.commit([Finish(ref, {"due": found.expires})], new_nonce())

    async def fan_out(self, meta: Meta) -> None:
        """Tell everybody who waits for a completed invocation, then let its record rest until it expires."""
        engine = self._engine
        outcome = await engine.result(meta) or Outcome()
        cursor: Any = None
        while True:
            waiters, cursor = await engine.read(lambda cursor=cursor: engine.store.waiters(meta.ref, cursor))  # type: ignore[misc]
            for start in range(0, len(waiters), 16):
                await asyncio.gather(*(self._tell(waiter, outcome) for waiter in waiters[start : start + 16]))
            if cursor is None:
                break
        try:
            due = meta.forgets or meta.expires or engine.clock.now() + PROMISE_CHECK
            await engine.commit([Finish(meta.ref, set={"due": due, "waiters": 0})], new_nonce())
        except Conflict:
            return

    async def _tell(self, waiter: Waiter, outcome: Outcome) -> None:
        engine = self._engine
        note, parts = notification(waiter.waiter, f"a{waiter.command}", outcome, engine.clock.now(), waiter.id)
        await engine.put_apart(parts)
        try:
            await engine.commit([Delete(waiter), Put(note)], new_nonce())
        except Conflict as conflict:
            if 0 not in conflict.found:  # it was told before, or had its answer in another way
                with suppress(Conflict):
                    await engine.commit([Delete(waiter)], new_nonce())
            return
        await engine.teller.tell([replace(note, outcome=outcome)], waiter.service, waiter.deployment)

    async def _forget_journal(self, meta: Meta) -> None:
        """Delete the journal of a completed invocation, whose result is kept for longer."""
        engine = self._engine
        if meta.forgets is not None:
            await self.delete_dependents(meta.ref, journal_only=True)
        values = {"tail": None, "pieces": 0, "forgets": None, "due": meta.expires}
        with suppress(Conflict):
            await engine.commit([Finish(meta.ref, set=values)], new_nonce())

    async def delete_dependents(self, ref: Ref, *, journal_only: bool = False, former: bool = False) -> None:
        """Delete what hangs on a record.

        Args:
            ref: Whose it is.
            journal_only: Whether only its journal is to go.
            former: Whether what an expired record under the same id has left goes too, if this took its place before
                that was deleted. Its input stays: it looks like one that is put ahead of the next record.
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
        """Delete an expired invocation: what hangs on the record first, the record last.

        The record stays for as long as a request that was made before it completed may still be applied: the one that
        makes it would begin it again. What such a request has put beside it goes with it.

        The id may be used again meanwhile: what has the next generation is left alone.
        """
        engine = self._engine
        await self.delete_dependents(meta.ref, former=True)
        if meta.kind is Kind.WORKFLOW:
            await engine.control.clear_state(meta.target.object)
        now = engine.clock.now()
        stays = (meta.completed or 0) + UNDER_WAY
        if now < stays:
            with suppress(Conflict):
                await engine.commit([Finish(meta.ref, {"due": stays})], new_nonce())
        else:
            await engine.read(lambda: engine.store.forget(meta.ref, now))
