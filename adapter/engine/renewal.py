"""Renew the items of an invocation that lives long, or whose result is retained for long (see
`adapter.engine.lifetimes`)."""

from __future__ import annotations

import asyncio

from adapter.engine import lifecycle
from adapter.engine.lifetimes import time_to_live
from adapter.engine.records import Meta
from adapter.engine.storage import Storage


async def renew(storage: Storage, meta: Meta, now: int) -> Meta:
    """Keep the items of an invocation from now on, or until its record expires. Return the record as it then is."""
    begin = max(now, meta.expires or 0)
    ttl, cursor, store = time_to_live(begin), None, storage.store
    while True:
        found, cursor = await storage.read(lambda cursor=cursor: store.dependents(meta.id, cursor))  # type: ignore[misc]
        own = [key for key in found if key.generation == meta.generation]
        for start in range(0, len(own), 16):
            batch = own[start : start + 16]
            await asyncio.gather(*(storage.read(lambda key=key: store.renew(key, ttl)) for key in batch))  # type: ignore[misc]
        if cursor is None:
            break
    renewed, change = lifecycle.renewed(meta, begin)
    await storage.apply(change)
    return renewed
