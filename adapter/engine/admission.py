"""Admit executions to their keys: read a key's head and inbox, and find the execution that runs as its owner."""

from __future__ import annotations

from functools import partial

from adapter.engine.batches import Batches
from adapter.engine.commit_log import CommitLog
from adapter.engine.events import LOADING, Event, Events
from adapter.engine.execution import Execution
from adapter.engine.keys import UNKNOWN
from adapter.engine.known_key import Key
from adapter.engine.records import Ref
from adapter.engine.residents import Residents
from adapter.engine.runtime import Runtime
from adapter.engine.under_way import Load
from adapter.engine.work import Work
from adapter.frozen import replace


class Admission:
    """The keys of one session's executions.

    Args:
        runtime: What the session shares with others.
        log: The session's commit log.
        work: Reads in the background.
        batches: Finds the invocations of an inbox that can run here.
        executions: The executions that run, by their ids.
        residents: The invocations that run in the session.
        root: The invocation that the session begins with.
        client_waits: True if a client gets its answer only when all executions here have ended.
        events: Where it is posted that a head or an inbox was read.

    Attributes:
        hosted: The ids of the invocations that run or ran here, and were not created here.
        batched: The invocations of an inbox that run here and have to complete at once.
    """

    def __init__(
        self,
        runtime: Runtime,
        log: CommitLog,
        work: Work,
        batches: Batches,
        executions: dict[str, Execution],
        residents: Residents,
        root: Execution,
        client_waits: bool,
        events: Events,
    ) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._storage = runtime.storage
        self._log = log
        self._work = work
        self._batches = batches
        self._executions = executions
        self._residents = residents
        self._client_waits = client_waits
        self._events = events
        self.hosted = {root.meta.id}
        self.batched: set[Ref] = set()

    def load(self, key: Key) -> None:
        """Read a key's head, and grant the key after that."""
        if not self._work.reads((str(key.key), LOADING)):
            self._work.read((str(key.key), LOADING), Load(key), partial(self._read_head, key))

    def next_to_start(self, key: Key) -> Execution | None:
        """Return the key's owner if it is to run here and does not run yet.

        If only the inbox tells which invocation that is, and it may run here, read the inbox first.
        """
        if key.live is None or key.head is None or key.live.owner is None:
            return None
        if key.live.owner == UNKNOWN and self._may_run_next():
            if not self._work.reads((str(key.key), LOADING)):
                self._work.read((str(key.key), LOADING), Load(key), partial(self._read_inbox, key))
            return None
        execution = self._executions.get(key.live.owner.id) or self._begin_next(key, key.live.owner)
        if execution is None or execution.ref != key.live.owner or execution.attempt is not None:
            return None
        if key.head.owner != execution.ref:
            key.ran_uncommitted = True
        return execution

    def _may_run_next(self) -> bool:
        return self._batches.allowed(len(self.hosted), self._client_waits)

    def _begin_next(self, key: Key, owner: Ref) -> Execution | None:
        """Begin to run the next invocation of the inbox, if it was read and there is time."""
        execution = key.next.pop(owner, None) if self._may_run_next() else None
        assert key.head is not None
        if execution is None or owner.id in self._process.active or key.head.owner == owner:  # already handed over
            return None
        execution.meta = replace(execution.meta, deployment=self._runtime.deployment.id)
        self._executions[owner.id] = execution
        self.hosted.add(owner.id)
        self._residents.enter(owner.id)
        self._log.grant_here(execution)
        if self._client_waits:
            self.batched.add(owner)
        return execution

    async def _read_head(self, key: Key) -> None:
        heads = await self._storage.heads([key.key])
        key.head = key.head or heads[key.key]
        self._log.refresh_key(key)
        self._events.post(Event(str(key.key), LOADING))

    async def _read_inbox(self, key: Key) -> None:
        await self._batches.read(key)
        self._events.post(Event(str(key.key), LOADING))
