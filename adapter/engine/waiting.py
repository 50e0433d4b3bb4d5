"""How a client's request waits for an outcome: sessions of this process tell it, and it asks the store about others."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from adapter.engine.listeners import Listener
from adapter.engine.process import Repeat
from adapter.engine.records import Meta, Status
from adapter.engine.requests import LEAVE_AFTER, Patience
from adapter.engine.runtime import Runtime
from adapter.engine.types import Outcome
from adapter.engine.wakeups import Resume

QUEUE_POLL: Final = 1000
"""The longest interval, in milliseconds, at which a request that waits for its key polls."""

OWN_POLL: Final = 250
"""The longest interval, in milliseconds, at which a request leaves it to its own session to say that it is over."""

POLLS: Final = 8
"""A request that waits for its key polls each time it has waited for another eighth of its wait."""


class Waiting:
    """Waits for outcomes.

    Args:
        runtime: What the process's sessions share.
        resume: Continues an invocation in this process.
    """

    def __init__(self, runtime: Runtime, resume: Resume) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._storage = runtime.storage
        self._resume = resume

    async def attached(self, id: str, patience: Patience) -> Outcome | None:
        """Wait for the outcome of an invocation. See `outcome`."""
        with self._runtime.listeners.listen(id, patience) as listener:
            try:
                return await self.outcome(listener)
            finally:
                self._process.answer()

    async def outcome(self, listener: Listener, session: asyncio.Task[Any] | None = None) -> Outcome | None:
        """Wait for an outcome. Return ``None`` if there is none for as long as the client waits.

        Args:
            listener: Listens to the invocation.
            session: The session that runs it.
        """
        id, future, patience = listener.id, listener.future, listener.patience
        interval = self._runtime.poll
        began = ran_at = self._process.now()
        while not future.done():
            now = self._process.now()
            if now >= patience.until:
                return None
            await self._process.first(future, min(patience.until, now + interval))
            if future.done():
                break
            if id in self._process.active or (session is not None and not session.done() and interval < OWN_POLL):
                interval = min(interval * 2, 1000)
                ran_at = self._process.now()
                continue
            meta = await self._storage.read(lambda: self._storage.store.peek(id), patient=False)
            if meta is not None and not meta.live:
                return await self._storage.result(meta)
            if meta is not None and meta.status is Status.PAUSED:
                return None
            if meta is not None and self._can_run(meta):
                self._process.spawn(self._resume(id, fresh=meta.epoch == 0), repeated_by=Repeat.DISPATCH)
            elif meta is not None and patience.leaves and self._is_left(meta, ran_at):
                return None
            if meta is not None and meta.status is Status.QUEUED:
                interval = min(max(self._runtime.poll, (now - began) // POLLS), QUEUE_POLL)
            else:
                interval = min(round(interval * 1.6), 1000)
        return future.result()

    def _can_run(self, meta: Meta) -> bool:
        """Return True if an invocation has its key, or its result. The process that was sent to run it may have to
        start first; this one runs already."""
        return (meta.status is Status.READY or meta.resolved) and self._runtime.deployment.runs(meta)

    def _is_left(self, meta: Meta, ran_at: int) -> bool:
        """Return True if a client that leaves waits no longer for an invocation that last ran here at a time."""
        now = self._process.now()
        return now - ran_at >= LEAVE_AFTER or (meta.rests_until or 0) - now > LEAVE_AFTER
