"""What asyncio keeps in sets comes out of them in the same order on every replay."""

from __future__ import annotations

import asyncio
from typing import Any

from adapter.engine import commands as c
from adapter.engine.reports import Reports
from adapter.errors import JournalMismatchError
from tests.unit.world import World, closure, settle, unpack, value


async def test_what_is_done_is_gone_through_in_one_order() -> None:
    world = World()
    mismatches: list[BaseException] = []

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        async def one(n: int) -> int:
            await ctx.issue(c.Run("step", closure(n)), unpack)
            return n

        garbage = [object() for _ in range(id(ctx) // 64 % 97)]  # what else a process may have in its memory
        futures = []
        for n in range(5):
            futures.append(asyncio.shield(asyncio.create_task(one(n))))
            garbage.append([asyncio.get_running_loop().create_future() for _ in range(id(garbage) // 32 % 5)])
        done, _ = await asyncio.wait(futures)
        for future in done:
            await ctx.issue(c.Run(f"after {future.result()}", closure(0)), unpack)
        await ctx.issue(c.Sleep(100_000), unpack)
        return "done"

    class Kept(Reports):
        def attempt_failed(self, meta: Any, policy: Any, failures: int, error: BaseException, *rest: Any) -> None:
            if isinstance(error, JournalMismatchError):
                mismatches.append(error)
            super().attempt_failed(meta, policy, failures, error, *rest)

    world.reports = Kept()
    ids = [await world.send("S/work") for _ in range(20)]
    await settle()
    await world.clock.advance(150)
    for _ in range(5):
        await world.clock.advance(60)
        await world.engine.sweeper.sweep()
    assert not mismatches, f"{len(mismatches)} mismatches, the first: {mismatches[0]}"
    assert {value((await world.meta(id)).outcome) for id in ids} == {"done"}
