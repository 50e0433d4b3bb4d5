"""The next invocations of a key's inbox, which run in the session of the key's owner."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import dropwhile

from adapter.engine.execution import Execution
from adapter.engine.known_key import Key
from adapter.engine.preparation import INBOX_PAGE, Preparation
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.runtime import Runtime

MIN_BATCH_TIME = 2_000
"""Milliseconds that have to be left to run more invocations of a key's inbox in the same session."""

MAX_HOSTED = 1000
"""The most invocations that run in one session. Then a new one begins, so that a session's memory stays bounded."""


class Batches:
    """Finds the invocations of an inbox that can run in a session."""

    def __init__(
        self, runtime: Runtime, preparation: Preparation, root: Execution, executions: Mapping[str, Execution]
    ) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._storage = runtime.storage
        self._preparation = preparation
        self._root = root
        self._executions = executions

    def allowed(self, hosted: int, client_waits: bool) -> bool:
        """Return True if further invocations of an inbox may run here after the key's owner.

        Args:
            hosted: The number of invocations that run or ran here.
            client_waits: True if a client gets its answer only when all executions here have ended.
        """
        if self._runtime.always_replay or self._process.remaining() < MIN_BATCH_TIME or hosted > MAX_HOSTED:
            return False
        return not client_waits or (self._root.meta.live and hosted <= INBOX_PAGE)

    async def read(self, key: Key) -> None:
        """Read the first invocations of a key's inbox that can run here."""
        await self._preparation.read_front(key)
        owner = key.live.owner if key.live is not None else None
        front = list(dropwhile(lambda entry: entry.ref != owner, key.front or ()))[:INBOX_PAGE]
        records: dict[str, Meta] = {}
        with suppress(Unreadable):  # the owner completes all the same: each of them is then read on its own
            records = await self._storage.peek_all([entry.ref.id for entry in front]) if front else {}
        key.next.clear()
        for entry in front:
            meta = records.get(entry.ref.id)
            execution = self._next_execution(meta) if meta is not None and meta.ref == entry.ref else None
            if execution is None or execution.meta.ticket != entry.ticket:
                break
            key.next[entry.ref] = execution

    def _next_execution(self, meta: Meta) -> Execution | None:
        """Return a waiting invocation if it can run here: it is of this deployment, and has no notifications."""
        spec = self._runtime.deployment.handler(meta.target)
        untouched = meta.status is Status.QUEUED and meta.outcome is None and meta.epoch <= 1 and not meta.segments
        # A message runs on the current deployment. An attempt that resumes may run on a former one.
        current = not meta.deployment and self._root.meta.epoch <= 1
        here = spec is not None and (current or meta.deployment == self._runtime.deployment.id)
        if not untouched or not here or meta.notifications or meta.input is None or meta.id in self._executions:
            return None
        return Execution(meta, meta.input, spec, stored=True)
